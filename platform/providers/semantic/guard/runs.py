"""A text word for word, and whether another is the same but for one run of words.

Of two texts that agree in all else, a run that one has more ("cancel a trial", "cancel a free trial"), or a small word in
place of another ("pay for a voucher", "pay with a voucher"), makes another question: that it doesn't must be known, not
guessed. What people say of their own affairs is put in more ways than there are things to say, and is let pass."""

from collections.abc import Sequence

from providers.semantic.guard.words import canonical
from providers.semantic.lexicon import lexicon
from providers.semantic.values import Features

_ASKING = frozenset(("how", "what", "why", "when", "where", "who", "which", "whose"))
_LANGUAGE = "en"
_MAX_RUN = 4
_MAX_SMALL = 2


def said(words: Sequence[str]) -> tuple[str, ...]:
    """The canonical words of a text in order, without those that add nothing: fillers, what leads up to a question ("can you
    tell me"), and who does it after "how" ("how do I", "how to")."""
    known = lexicon()
    begin = next((index for index, word in enumerate(words) if word in _ASKING), 0)
    if any(word not in known.function_words for word in words[:begin]):
        begin = 0
    found: list[str] = []
    is_after_how = False
    for word in words[begin:]:
        if (is_after_how and word in known.after_how) or word in known.fillers:
            continue
        is_after_how = word == "how"
        one = known.small_synonyms.get(word) or (word if word in known.function_words else canonical(word))
        if found[-1:] != [one]:
            found.append(one)
    return tuple(found)


def added(one: Features, other: Features) -> bool:
    """Whether one text is the other with a few words more, which say something."""
    mine, theirs = _runs(one, other)
    run = mine or theirs
    if not run or (mine and theirs):
        return False
    known = lexicon()
    if all(word in known.function_words for word in run):
        return not known.telling.isdisjoint(run)
    return any(word not in known.function_words and word not in known.kinds for word in run)


def exchanged(one: Features, other: Features) -> bool:
    """Whether a small word or two stand in place of others, and all else is the same."""
    mine, theirs = _runs(one, other)
    small = lexicon().function_words | lexicon().kinds
    return (
        0 < len(mine) <= _MAX_SMALL
        and 0 < len(theirs) <= _MAX_SMALL
        and small.issuperset((*mine, *theirs))
        and _ASKING.isdisjoint((*mine, *theirs))
    )


def _runs(one: Features, other: Features) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The one run of words in which two texts differ, as either has it; nothing for texts that differ in more, are the same, are
    about someone's own affairs, or in a language whose small words aren't known."""
    mine, theirs = one.said, other.said
    shorter = min(len(mine), len(theirs))
    start = end = 0
    while start < shorter and mine[start] == theirs[start]:
        start += 1
    while end < shorter - start and mine[-1 - end] == theirs[-1 - end]:
        end += 1
    first, second = mine[start : len(mine) - end], theirs[start : len(theirs) - end]
    longest = max(len(first), len(second))
    if one.own or other.own or one.language != _LANGUAGE or longest > min(_MAX_RUN, start + end):
        return (), ()
    return first, second
