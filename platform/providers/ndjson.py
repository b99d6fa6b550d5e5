"""Lines of JSON, read incrementally: bytes may arrive split anywhere, also inside a UTF-8 character."""

MAX_LINE_BYTES = 4 * 1024 * 1024


class LineTooLarge(ValueError):
    """A line grew past the bound before it ended."""


class LineParser:
    """Feed it bytes as they come; it hands back the lines that are complete, blank ones left out."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._partial: list[bytes] = []
        self._partial_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes. Raises LineTooLarge; the parser is of no use after that."""
        *ended, tail = chunk.split(b"\n")
        if ended:
            self._partial.append(ended[0])
            ended[0] = b"".join(self._partial)
            self._partial.clear()
            self._partial_bytes = 0
        if tail:
            self._partial.append(tail)
            self._partial_bytes += len(tail)
            if self._partial_bytes > self._max:
                raise LineTooLarge(f"a line of more than {self._max} bytes")
        return [line for line in map(bytes.strip, ended) if line]

    def rest(self) -> bytes:
        """The last line, when no line end follows it."""
        return b"".join(self._partial).strip()
