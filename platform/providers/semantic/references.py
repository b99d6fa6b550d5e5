"""Whether what a text points at is in the text: "my card was stolen, can I block it?" is whole, "can I block it?" is not.

There is no parser here. A pronoun for a thing needs a noun phrase in an earlier clause; one for a person needs someone
to be named or described before it. What these rules can't see is taken to be missing."""

import re

from providers.semantic.lexicon import lexicon

_TOKENS = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|\d+|[.?!;:,()]")
_POSSIBLE = (
    r"(?:possible|safe|free|ok|okay|necessary|legal|illegal|normal|true|better|best|worth|easy|hard|difficult|common|"
    r"important|allowed|required|mandatory|been|time|right|wrong|that)"
)
_EMPTY = re.compile(
    rf"\b(?:is|was|would|could|can|may|might|does|did|has|do|if) it (?:not )?(?:{_POSSIBLE}|take|cost|mean|matter|hurt)\b"
    rf"|\bit (?:is |was |will be |would be )?(?:not )?{_POSSIBLE}\b"
    r"|\bit (?:takes?|took|costs?|seems?|seemed|looks?|looked|appears?|turns out|to take)\b"
    r"|\bthat is why\b|\b(?:like|of) that\b"
)
"""Where the pronoun points at nothing in particular."""
_THINGS = frozenset(("it", "its", "they", "them", "their", "theirs", "this", "these", "those", "itself", "themselves"))
_PERSONS = frozenset(("he", "she", "him", "his", "her", "hers", "himself", "herself"))
_FIRST_WORDS = re.compile(r"(?:^|[.?!]\s+)\S+")


def resolved(text: str, low: str) -> bool:
    """Whether each pronoun of a text (plain, and folded as `low`) has something before it that it may point at, and
    whether there is a content word at all."""
    known = lexicon()
    someone = _names_someone(text)
    phrase = earlier_phrase = described = False
    content = 0
    words = _TOKENS.findall(_EMPTY.sub(" so ", low))
    for index, word in enumerate(words):
        if not word[0].isalpha() or word in known.joins:
            earlier_phrase, phrase = earlier_phrase or phrase, False
            if word == "that" and _points(words, index) and not earlier_phrase:
                return False
        elif word in _PERSONS:
            if not (someone or described):
                return False
        elif word in _THINGS:
            if not earlier_phrase:
                return False
        elif word not in known.function_words and len(word) > 1:
            content += 1
            described = described or word.removesuffix("s") in known.persons
            phrase = phrase or (index > 0 and words[index - 1] in known.determiners) or content >= 2
    return content >= 1


def _points(words: list[str], index: int) -> bool:
    """Whether the "that" at `index` points at something, rather than begins a clause."""
    before = words[index - 1] if index else ""
    after = words[index + 1] if index + 1 < len(words) else ""
    known = lexicon()
    joins = before in known.takes_that or (before not in known.function_words and before[:1].isalpha())
    return not after[:1].isalpha() or not joins


def _names_someone(text: str) -> bool:
    """Whether a word that begins no sentence is written as names are."""
    return bool(re.search(r"\b[A-Z][a-z]+\b", _FIRST_WORDS.sub(" ", text)))
