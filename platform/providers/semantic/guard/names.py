"""Names: of people, places, products and things, by how they are written and by lists of the most common."""

import re

from providers.semantic.guard.words import canonical, is_phrase
from providers.semantic.lexicon import lexicon

_SENTENCE = re.compile(r"(?<=[.?!:])\s+")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?(?:\+\+|#)?|[^\W_]*\d[^\W_]*")
_QUOTED = re.compile(r'"([^"]{1,80})"')
_CODE = re.compile(r"https?://\S+|\b\S+@\S+\.\w+|[@#$]\w{2,}|\b\w+(?:_\w+)+|\b[a-z]+[A-Z]\w*")
_SHOUTED = 0.6
"""With a larger share of words capitalised (and more than `_FEW`), capitals mean nothing."""
_FEW = 2


def names(text: str) -> tuple[str, ...]:
    """The canonical words of the names in a plain text (case kept), sorted."""
    found = {one.lower() for one in _CODE.findall(text)}
    for quoted in _QUOTED.findall(text):
        found.update(canonical(word.lower()) for word in _WORD.findall(quoted))
    known = lexicon()
    telling = _tells(text)
    for sentence in _SENTENCE.split(text):
        for position, word in enumerate(_WORD.findall(sentence)):
            low = word.lower().removesuffix("'s")
            if is_phrase(low):
                continue
            if low in known.names or (telling and _is_written_as_one(word, position)):
                found.add(canonical(low))
            elif any(letter.isdigit() for letter in word) and any(letter.isalpha() for letter in word):
                found.add(low)
    return tuple(sorted(found))


def _tells(text: str) -> bool:
    """Whether capitals mean something in a text: not where most words have them."""
    rest = [word for sentence in _SENTENCE.split(text) for word in _WORD.findall(sentence)[1:]]
    capitals: int = sum(word[0].isupper() for word in rest)
    return capitals <= max(_FEW, _SHOUTED * len(rest))


def _is_written_as_one(word: str, position: int) -> bool:
    low = word.lower().removesuffix("'s")
    known = lexicon()
    if low in known.habits or (low in known.function_words and not (word.isupper() and len(word) > 1)):
        return False
    if word.isupper():
        return len(word) > 1 or (position > 0 and low not in {"i", "a"})
    return position > 0 and word[0].isupper()
