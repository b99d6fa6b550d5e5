"""The text of an answer while it grows, counted in code points."""

from chat.bounds import ANSWER_CHARS_MAX

_HIGH = range(0xD800, 0xDC00)
_REPLACEMENT = "\ufffd"


class GrowingText:
    """Pieces as a provider sends them, made whole.

    A surrogate pair that was cut between two pieces is joined, a lone surrogate and NUL, which no store can keep, are
    replaced. `taken` marks how far the text was handed on.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._pending: list[str] = []
        self._half = ""
        self._length = 0
        self._pending_length = 0

    def add(self, piece: str) -> None:
        """Append what came."""
        piece = self._half + piece
        self._half = ""
        if piece and ord(piece[-1]) in _HIGH:
            piece, self._half = piece[:-1], piece[-1]
        self._append(piece)

    def finish(self) -> None:
        """No more comes: half a pair stays half."""
        if self._half:
            self._append(self._half)
            self._half = ""

    @property
    def pending(self) -> bool:
        """Whether there is text that wasn't taken."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether the text is as long as it may become."""
        return self._length + self._pending_length >= ANSWER_CHARS_MAX

    @property
    def taken_length(self) -> int:
        """Code points taken."""
        return self._length

    def peek(self) -> str:
        """The text not yet taken."""
        if len(self._pending) > 1:
            self._pending = ["".join(self._pending)]
        return self._pending[0] if self._pending else ""

    def take(self, length: int) -> None:
        """Mark the first `length` code points of the pending text as taken."""
        text = self.peek()
        self._pieces.append(text[:length])
        self._length += length
        self._pending_length -= length
        self._pending = [text[length:]] if length < len(text) else []

    def taken(self) -> str:
        """All that was taken."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def whole(self) -> str:
        """All of it."""
        return self.taken() + self.peek()

    def _append(self, piece: str) -> None:
        piece = _storable(piece)[: ANSWER_CHARS_MAX - self._length - self._pending_length]
        if piece:
            self._pending.append(piece)
            self._pending_length += len(piece)


def _storable(text: str) -> str:
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Pairs that came as two escapes become one character, lone ones the replacement character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
