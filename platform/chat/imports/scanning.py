"""A JSON document of any size, element by element: only the one that is being read is in memory."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from chat.imports.bounds import CONVERSATION_BYTES_MAX, DEPTH_MAX, VALUES_MAX

_MARKS = re.compile(rb'["\\{}\[\],]')
_QUOTE, _ESCAPE, _OPEN_LIST, _OPEN, _COMMA = b'"'[0], b"\\"[0], b"["[0], b"{"[0], b","[0]


class Element(msgspec.Struct, frozen=True):
    """An object of the list: its bytes, or why they aren't given."""

    data: bytes
    problem: str = ""


class Damaged(Exception):
    """This is no list of objects, or it ends in the middle."""


class Scanner:
    """Finds the objects in a list, or the one object that the document is, in pieces of bytes. Whether each is JSON is for
    its reader to see: here, only strings and brackets count."""

    def __init__(self) -> None:
        self._depth, self._level = 0, -1
        self._in_string = False
        self._skip = 0
        self._kept: bytearray | None = None
        self._problem = ""
        self._values = 0

    def elements(self, pieces: Iterable[bytes]) -> Iterator[Element]:
        """The objects in order. Raises `Damaged`."""
        for piece in pieces:
            yield from self._feed(piece)
        if self._level < 0 or self._depth != 0 or self._in_string:
            raise Damaged

    def _feed(self, piece: bytes) -> Iterator[Element]:
        start = 0 if self._kept is not None else -1
        for mark in _MARKS.finditer(piece):
            at = mark.start()
            if at < self._skip:
                continue
            byte = piece[at]
            if self._in_string:
                if byte == _ESCAPE:
                    self._skip = at + 2
                elif byte == _QUOTE:
                    self._in_string = False
            elif byte == _QUOTE:
                self._in_string = True
            elif byte in (_OPEN, _OPEN_LIST):
                if self._opened(byte):
                    start = at
                self._count()
            elif byte == _COMMA:
                self._count()
            elif byte != _ESCAPE and self._closed():
                self._keep(piece[start : at + 1])
                yield self._taken()
                start = -1
        self._skip = max(0, self._skip - len(piece))
        if start >= 0:
            self._keep(piece[start:])

    def _opened(self, byte: int) -> bool:
        """Whether an element begins here."""
        if self._level < 0:
            self._level = 1 if byte == _OPEN_LIST else 0
        elif self._depth == 0:
            raise Damaged
        self._depth += 1
        if self._depth > self._level + DEPTH_MAX:
            self._problem = "too_deep"
        begins = byte == _OPEN and self._depth == self._level + 1
        if begins:
            self._kept, self._problem, self._values = bytearray(), "", 0
        return begins

    def _count(self) -> None:
        """One value more. In memory it may take thirty times what it takes here."""
        self._values += 1
        if self._values > VALUES_MAX:
            self._problem = self._problem or "too_large"

    def _closed(self) -> bool:
        """Whether an element ends here."""
        self._depth -= 1
        if self._depth < 0:
            raise Damaged
        return self._kept is not None and self._depth == self._level

    def _keep(self, piece: bytes) -> None:
        if self._kept is None or self._problem:
            return
        if len(self._kept) + len(piece) > CONVERSATION_BYTES_MAX:
            self._problem = "too_large"
            self._kept = bytearray()
        else:
            self._kept += piece

    def _taken(self) -> Element:
        element = Element(data=b"" if self._problem else bytes(self._kept or b""), problem=self._problem)
        self._kept, self._problem = None, ""
        return element
