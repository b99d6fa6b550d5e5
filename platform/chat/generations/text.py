"""The text of an answer while it grows, counted in code points."""

from chat.bounds import ANSWER_CHARS_MAX, ANSWER_PARTS_MAX
from chat.parts import Kind, Part, Parts

_HIGH = range(0xD800, 0xDC00)
_REPLACEMENT = "\ufffd"


class GrowingText:
    """Pieces as a provider sends them, made whole.

    A surrogate pair that was cut between two pieces is joined, a lone surrogate and NUL, which no store can keep, are
    replaced. `taken` marks how far the text was handed on.
    """

    def __init__(self, *, chars_max: int = ANSWER_CHARS_MAX) -> None:
        self._chars_max = chars_max
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
        return self.length >= self._chars_max

    @property
    def length(self) -> int:
        """Code points, taken and pending."""
        return self._length + self._pending_length

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
        piece = storable(piece)[: self._chars_max - self.length]
        if piece:
            self._pending.append(piece)
            self._pending_length += len(piece)


class GrowingAnswer:
    """The parts of an answer while they grow: a piece of another kind than the last begins a new one."""

    def __init__(self) -> None:
        self._parts: list[tuple[Kind, GrowingText]] = []

    def add(self, kind: Kind, piece: str) -> None:
        """Append what came. The last of `ANSWER_PARTS_MAX` parts is text: what else would come after it is left out."""
        if not piece:
            return
        if not self._parts or self._parts[-1][0] != kind:
            if len(self._parts) >= ANSWER_PARTS_MAX - (kind != "text"):
                return
            if self._parts:
                self._parts[-1][1].finish()
            left = ANSWER_CHARS_MAX - sum(text.length for _, text in self._parts)
            self._parts.append((kind, GrowingText(chars_max=left)))
        self._parts[-1][1].add(piece)

    def finish(self) -> None:
        """No more comes."""
        for _, text in self._parts:
            text.finish()

    @property
    def pending(self) -> tuple[int, Kind, GrowingText] | None:
        """The first part with text that wasn't taken: its number, its kind and its text."""
        return next(((number, kind, text) for number, (kind, text) in enumerate(self._parts) if text.pending), None)

    @property
    def full(self) -> bool:
        """Whether it is as long as it may become."""
        return bool(self._parts) and self._parts[-1][1].full

    @property
    def taken_length(self) -> int:
        """Code points taken, of all parts."""
        return sum(text.taken_length for _, text in self._parts)

    def taken(self) -> Parts:
        """All that was taken."""
        return tuple(Part(kind, text.taken()) for kind, text in self._parts if text.taken_length)

    def whole(self) -> Parts:
        """All of it."""
        return tuple(Part(kind, text.whole()) for kind, text in self._parts if text.length)


def storable(text: str) -> str:
    """What a model said, as a store can keep it: without NUL and halves of characters."""
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Pairs that came as two escapes become one character, lone ones the replacement character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
