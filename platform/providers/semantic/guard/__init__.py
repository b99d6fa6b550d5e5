"""What two questions must agree in, however alike they are: the guard, and it fails closed.

    features_of    a text's features, stored with the entry
    disagreement   the first thing in which two texts' features differ, or None
    weighed_disagreement   the same by the rules that calibrations know
    barring_disagreement   the same by the rules that only forbid

The rules know words (`data/lexicon.toml`) and patterns, no grammar. A rule that takes two ways of asking one thing for two
questions costs a hit; the other mistake gives a wrong answer: where a rule must err, it errs to the first side."""

import re
from collections.abc import Mapping

from providers.semantic.guard import asks, marks, names, quantities, roles, runs, signs
from providers.semantic.guard.compare import barring_disagreement, disagreement, weighed_disagreement
from providers.semantic.guard.version import VERSION
from providers.semantic.guard.words import canonical, joined, words_of
from providers.semantic.lexicon import lexicon
from providers.semantic.text import folded, plain
from providers.semantic.values import Features

__all__ = ["VERSION", "barring_disagreement", "disagreement", "features_of", "weighed_disagreement"]


def features_of(text: str) -> Features:
    """The features of a text."""
    known = lexicon()
    written, low = plain(text), folded(text)
    versions, rest = quantities.versions(low)
    dates, rest = quantities.dates(rest)
    whole = joined(low)
    words = words_of(whole)
    language = asks.language(low)
    counted, units = quantities.numbers(words_of(joined(rest)))
    counting = words_of(known.no_quantifiers.sub(" ", whole))
    return Features(
        version=VERSION,
        language=language,
        asks=asks.asks(low),
        words=tuple(canonical(word) for word in words if word not in known.function_words),
        numbers=counted,
        units=units,
        dates=dates,
        versions=versions,
        negated=_negated(words),
        quantifiers=_found(counting, known.quantifiers) + _bounds(whole),
        comparatives=_found(words, known.comparatives),
        sides=tuple(sorted({side for word in words if (side := _side(word))})),
        names=names.names(written),
        roles=roles.roles(words),
        passive=roles.passive(words),
        signs=signs.signs(text),
        marks=marks.marks(low),
        foreign=asks.foreign(low, language),
        own=marks.is_own(low),
        said=runs.said(words),
    )


def _found(words: list[str], known: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({known[word] for word in words if word in known}))


def _bounds(text: str) -> tuple[str, ...]:
    return tuple(
        name
        for name, pattern in (("least", r"\bat least\b"), ("most", r"\b(?:at most|up to)\b"))
        if re.search(pattern, text)
    )


def _side(word: str) -> str | None:
    known = lexicon()
    return known.sides.get(word) or known.sides.get(canonical(word)) or known.weak_sides.get(word)


def _negated(words: list[str]) -> tuple[str, ...]:
    """What is denied: for each negation the content word after it, and ~ for a word that denies by itself."""
    known = lexicon()
    found = []
    for index, word in enumerate(words):
        if word in known.negations:
            after = (canonical(later) for later in words[index + 1 : index + 6] if later not in known.function_words)
            found.append(next(after, "-"))
        elif word in known.failures:
            found.append(f"~{canonical(word)}")
    return tuple(sorted(found))
