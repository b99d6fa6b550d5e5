"""What small words say: of duty and leave, of then and later, for or against.

They are compared where two texts have the same content words, and so differ in nothing else. Of one's own affairs some are
used loosely ("why was my card declined", "why is my card declined"), and say nothing there."""

import re

_MARKS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "duty",
            r"(?:^|[.?!,;:] ?|\b(?:what|when|where|who|which|how|why) )must\b|\b(?:do|does|did) \w+ (?:have|need) to\b",
        ),
        ("leave", r"(?:^|[.?!,;:] ?|\b(?:what|when|where|who|which|how|why) )(?:may|might)\b"),
        ("some", r"^(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)\b.{0,20}\bsome\b"),
        ("often", r"\bhow (?:often|frequently)\b"),
        ("if i", r"\bif (?:i|we)\b"),
        ("if you", r"\bif you\b"),
        ("against", r"\bagainst\b"),
        ("off", r"\boff\b"),
    )
)
_OF_OTHERS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("must", r"\b(?:must|shall)\b"),
        ("advice", r"\b(?:should|ought)\b"),
        ("everything", r"\beverything\b"),
        ("before", r"\bbefore\b"),
        ("since", r"\bsince\b"),
        ("under", r"\bunder\b"),
        ("between", r"\bbetween\b"),
        ("within", r"\bwithin\b"),
        ("past", r"\b(?:was|were|did|had|used to)\b"),
        ("future", r"^(?!.*\b(?:when|how long)\b).*\b(?:will|shall|going to)\b"),
    )
)
_ONESELF = re.compile(r"\b(?:i|me|my|mine|we|us|our|ours)\b")
_OWN = re.compile(r"\b(?:my|mine|our|ours)\b")


def is_own(low: str) -> bool:
    """Whether a folded text is about something of whoever asks."""
    return _OWN.search(low) is not None


def marks(low: str) -> tuple[str, ...]:
    """The marks in a folded text."""
    known = _MARKS if _ONESELF.search(low) else (*_MARKS, *_OF_OTHERS)
    return tuple(name for name, pattern in known if pattern.search(low))
