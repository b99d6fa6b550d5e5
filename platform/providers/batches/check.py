"""Before the first line of a batch: is its input one, and which lines of it are wrong?"""

import asyncio
from collections.abc import Iterator
from itertools import islice

from django.conf import settings

from kernel.errors import InvalidRequest, ParleyError
from providers.batches import leases, results
from providers.batches.bounds import REFUSALS_PAGE
from providers.batches.leases import Claimed
from providers.batches.lines import Line, custom_id_of, is_object, read_line, read_lines
from providers.batches.objects import opened
from providers.batches.results import Result, refused


class BadInput(InvalidRequest):
    """The input is no batch at all. `details.line` says where."""

    code = "invalid_input_file"


class _Check:
    """Goes through an input once. The lines that can't be asked are its refusals."""

    def __init__(self, batch: Claimed) -> None:
        self._batch = batch
        self._seen: set[str] = set()
        self.total = 0
        self._objects = 0

    def refusals(self) -> Iterator[Result]:
        """What is wrong, line by line. Raises `BadInput`, and FileNotFoundError."""
        with opened(self._batch.tenant_id, self._batch.input_file_id) as content:
            for line in read_lines(content):
                self.total = line.number
                if self.total > settings.BATCH_LINES_MAX:
                    raise BadInput(f"A batch has at most {settings.BATCH_LINES_MAX} lines.")
                problem = self._problem(line)
                if problem is None:
                    self._objects += 1
                    continue
                self._objects += is_object(line)
                yield refused(
                    self._batch.id,
                    line.number,
                    custom_id=custom_id_of(line),
                    code=problem.code,
                    message=problem.message,
                    param=(problem.details or {}).get("param"),
                )
        if not self._objects:
            raise BadInput("The file has no line that is a JSON object.")

    def _problem(self, line: Line) -> ParleyError | None:
        try:
            custom_id = read_line(line, endpoint=self._batch.endpoint).custom_id
        except ParleyError as error:
            return error
        if custom_id in self._seen:
            return InvalidRequest("Another line has this `custom_id` already.", details={"param": "custom_id"})
        self._seen.add(custom_id)
        return None


async def check_input(batch: Claimed) -> None:
    """Write down what is wrong with which line, and let the others begin. May be repeated. Raises `BadInput`,
    FileNotFoundError and `leases.LeaseLost`."""
    check = _Check(batch)
    refusals = check.refusals()
    while page := await asyncio.to_thread(lambda: list(islice(refusals, REFUSALS_PAGE))):
        await results.keep(batch.tenant_id, batch.id, batch.owner, page)
    await leases.begin(batch, total=check.total)
