"""In which language a text is, and what its question is after: a reason, a way, a time, a place, a person, an amount."""

import re
from collections import Counter

from providers.semantic.lexicon import lexicon

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_FOREIGN = re.compile(r"[^\W\d_a-zA-Z\u00aa-\u024f\u1e00-\u1eff]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_BEGIN = (
    r"(?:^|[.?!,;:] ?|\b(?:and|but|so|please|hi|hello|know|tell me|explain|say|wondering|wonder|ask|understand|sure|"
    r"idea|clear) )"
)
_SIZES = r"(?:big|large|tall|high|deep|wide|heavy|fast|quickly|hot|cold|strong|small|thick|loud|far|soon|late|early)"
_START = r"(?:^|[.?!,;:] ?|\b(?:please|hi|hello) )"
_ASKS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (
            "how much",
            r"\bhow much\b|\bwhat (?:do|does|did|would|will)\b.*\bcost\b|"
            r"\bwhat (?:is |are |would be )?(?:the )?(?:price|cost|fee|amount)s?\b|\bprice of\b",
        ),
        ("how many", r"\bhow many\b"),
        ("how long", r"\b(?:for )?how (?:much )?long(?:er)?\b|\bduration of\b|\bfor how many\b"),
        ("how often", r"\bhow often\b|\bhow frequently\b|\bhow many times\b"),
        ("how", r"\bhow (?:old|young)\b"),
        (
            "how big",
            rf"\bhow {_SIZES}\b",
        ),
        (
            "why",
            r"\bwhy\b|\bhow come\b|\bwhat (?:is|was|are|could be) the (?:reason|cause)s?\b|"
            r"\bwhat (?:makes|causes|caused|made)\b|\bfor what reason\b",
        ),
        (
            "when",
            rf"{_BEGIN}when\b|\bat what (?:point|time)\b|\bwhat (?:time|date|day|year)\b|"
            rf"\bwhat is the deadline\b|\bright moment\b|\bsince when\b",
        ),
        (
            "where",
            rf"{_BEGIN}where\b|\b(?:in|at|to|from) (?:what|which) (?:place|country|city|location)\b|"
            rf"\bin which (?:place|country)\b",
        ),
        ("who", rf"{_BEGIN}(?:who|whom|whose)\b|\b(?:what|which) person\b|\bby whom\b|\bto whom\b"),
        (
            "how",
            r"\bhow\b|\bwhat (?:are|is) the (?:\w+ )?(?:way|steps?|method|procedure|process)\b|"
            r"\bwhat steps\b|\bsteps (?:to|for)\b|\bwhat is needed (?:to|for)\b|"
            r"\bwhat do i (?:need|have) to do to\b|\bexplain the procedure\b|\bguide me\b",
        ),
        ("what", rf"{_BEGIN}(?:what|which)\b|\bto what\b|\bin what\b"),
        ("whether", rf"{_START}(?:is|are|was|were|do|does|did|has|have|had|will|would|should|am|may|might)\b"),
    )
)
_AMOUNTS = frozenset(("how much", "how many", "how long", "how often", "how big"))
POINTED = frozenset(("amount", "how", "why", "when", "where", "who"))
"""Questions of two of these kinds never ask the same; all amounts are of one."""


def language(low: str) -> str:
    """The ISO 639-1 code of the language that a folded text seems to be in; English if nothing speaks against it."""
    counts = Counter({code: len(pattern.findall(low)) for code, pattern in _SCRIPTS})
    code, letters = counts.most_common(1)[0]
    if letters * 2 > len("".join(_LETTERS.findall(low))):
        return "ja" if counts["ja"] else code
    words = _LETTERS.findall(low)
    heard = {code: sum(word in stops for word in words) for code, stops in lexicon().languages.items()}
    best = max(heard, key=lambda code: (heard[code], code == "en"))
    return best if heard[best] or low.isascii() is False else "en"


def foreign(low: str, language: str) -> tuple[str, ...]:
    """The words of a folded text in a script other than its language's, sorted: an embedder may see nothing of them."""
    is_latin = all(code != language for code, _ in _SCRIPTS)
    return tuple(sorted(_FOREIGN.findall(low))) if is_latin else ()


def asks(low: str) -> str:
    """What the question of a folded text is after: the first of `_ASKS` that it says, or nothing for a statement or a
    wish."""
    sentences = re.split(r"(?<=[.?!]) ", low)
    questions = [one for one in sentences if one.endswith("?")] or sentences
    for sentence in questions:
        places = [
            (found.start(), rank, kind)
            for rank, (kind, pattern) in enumerate(_ASKS)
            if (found := pattern.search(sentence))
        ]
        if places:
            return min(places)[2]
    return ""


def differ(kind: str, other: str) -> bool:
    """Whether both are pointed, at different things."""
    one, two = (("amount" if either in _AMOUNTS else either) for either in (kind, other))
    return one != two and one in POINTED and two in POINTED
