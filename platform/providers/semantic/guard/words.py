"""Words, their stems, and one word for those that mean the same."""

import re
from functools import cache, lru_cache

from providers.semantic.lexicon import lexicon

WORD = re.compile(r"[^\W\d_]+(?:\+\+|#)?|\d+(?:[.,:/]\d+)*|[%$€£¥₹°]")
_NON = re.compile(r"\bnon[- ](?=[^\W\d_]{3})")
_POSSESSIVE = re.compile(r"'s?\b")


def joined(low: str) -> str:
    """A folded text with known phrases as one word ("turn on" is "enable")."""
    text = _NON.sub("non", low)
    for pattern, word in lexicon().phrases:
        text = pattern.sub(lambda found, word=word: " ".join(filter(None, (word, *found.groups()))), text)  # type: ignore[misc]
    return _POSSESSIVE.sub(" ", text)


@lru_cache(maxsize=50_000)
def is_phrase(word: str) -> bool:
    """Whether a folded word alone stands for another ("2fa")."""
    return joined(word) != word


def words_of(text: str) -> list[str]:
    """The words, numbers and signs of a text from `joined`, in order."""
    return WORD.findall(text)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A word without the endings that make plurals, tenses and adverbs, roughly: it need not be a word."""
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@lru_cache(maxsize=50_000)
def canonical(word: str) -> str:
    """The one form of a word and of those that mean the same."""
    known = lexicon().synonyms
    return known.get(word) or _by_stem().get(stem(word)) or stem(word)


@cache
def _by_stem() -> dict[str, str]:
    return {stem(word): name for word, name in lexicon().synonyms.items()}
