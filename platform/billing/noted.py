"""Holds of which the ledger is told only later: until then this process's journal has them."""

import asyncio

import msgspec

from billing.holds import Hold
from billing.journal import Part, journal


class NotedHold(Hold, kw_only=True):
    """A hold that was granted without asking the ledger. `facts` are what it is billed by if its process dies. From when it is
    sent the journal has them, in `part`, and needs them (`is_noted`) until the ledger has the request. From when it `is_written`
    the ledger is being told, and it is a hold like others."""

    facts: msgspec.Raw
    part: Part | None = None
    is_noted: bool = False
    is_written: bool = False

    def line(self) -> bytes:
        """What the journal is to have of it: a line of JSON."""
        return self.facts

    def note(self) -> bool:
        """Note that it is sent. Whether that was possible."""
        self.part = journal().note(self.line())
        self.is_noted = self.part is not None
        return self.is_noted

    def done(self, written: "asyncio.Future[None]") -> None:
        """The ledger has it. What could not be written stays noted."""
        if not written.cancelled() and written.exception() is None:
            self._needs_no_note()

    def take_back(self) -> None:
        """Nothing came of it, and nothing is to be billed: also not by whoever finds the journal."""
        if self.part is not None:
            journal().take_back(self.part, self.request_id)
        self._needs_no_note()

    def _needs_no_note(self) -> None:
        if self.is_noted and self.part is not None:
            self.is_noted = False
            journal().done(self.part)
