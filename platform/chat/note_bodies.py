"""What notes say, by their kind: ids and numbers, never text. docs/websocket.md says when each comes."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from billing.watched import Balance

Ended = Literal["complete", "failed"]


class Invited(msgspec.Struct, frozen=True):
    """The membership `by` let the member into a room."""

    room: uuid.UUID
    by: uuid.UUID


class Mentioned(msgspec.Struct, frozen=True):
    """A message of the membership `by` names the member."""

    room: uuid.UUID
    message: uuid.UUID
    by: uuid.UUID


class Unread(msgspec.Struct, frozen=True):
    """So many messages of others in a room are beyond what the member has seen."""

    room: uuid.UUID
    unread: Annotated[int, Meta(ge=1)]


class BudgetAlert(msgspec.Struct, frozen=True):
    """`percent` of a budget is used; None: a request was refused."""

    budget: uuid.UUID
    alert: uuid.UUID
    percent: Annotated[int, Meta(ge=1)] | None


class ExportDone(msgspec.Struct, frozen=True):
    """An export that the member asked for has ended."""

    export: uuid.UUID
    state: Ended


class ImportDone(msgspec.Struct, frozen=True):
    """An import that the member asked for has ended."""

    import_: uuid.UUID = msgspec.field(name="import")
    state: Ended


StoredBody = Invited | Mentioned | Unread | BudgetAlert | ExportDone | ImportDone
"""The bodies of notes that are kept: all but `balance`, of which only the newest counts."""

NOTES: Mapping[str, type[Any]] = {
    "invited": Invited,
    "mentioned": Mentioned,
    "unread": Unread,
    "balance": Balance,
    "budget_alert": BudgetAlert,
    "export_done": ExportDone,
    "import_done": ImportDone,
}
"""What the body of each kind of note is."""

_KINDS = {body: kind for kind, body in NOTES.items()}


def kind_of(body: StoredBody) -> str:
    """The kind of the note that has such a body."""
    return _KINDS[type(body)]
