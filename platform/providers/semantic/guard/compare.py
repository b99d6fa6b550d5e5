"""The comparison of two texts' features."""

from collections.abc import Callable

from providers.semantic.guard import asks, roles, runs
from providers.semantic.guard.version import VERSION
from providers.semantic.lexicon import lexicon
from providers.semantic.values import Features

_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti")
_MAX_REPLACED = 2
"""So many words of each text in place of as many of the other's, with the rest alike, are a replacement."""


def disagreement(one: Features, other: Features) -> str | None:
    """The name of the first thing in which two texts differ, or None. Features of another version than this guard's
    differ."""
    return weighed_disagreement(one, other) or barring_disagreement(one, other)


def weighed_disagreement(one: Features, other: Features) -> str | None:
    """The same by the rules that the score's measures were fitted with."""
    return next((name for name, differ in _RULES if differ(one, other)), None)


def barring_disagreement(one: Features, other: Features) -> str | None:
    """The same by the other rules, which only forbid, so that no calibration serves more because of them."""
    return next((name for name, differ in _BARS if differ(one, other)), None)


def _version(one: Features, other: Features) -> bool:
    return one.version != VERSION or other.version != VERSION


def _field(name: str) -> Callable[[Features, Features], bool]:
    return lambda one, other: getattr(one, name) != getattr(other, name)


def _told(name: str) -> Callable[[Features, Features], bool]:
    """Whether the field differs, or what is only spoken of (marked ~: "for weeks", "this morning") has nothing in
    common."""

    def differ(one: Features, other: Features) -> bool:
        (mine, spoken), (theirs, too) = _told_apart(getattr(one, name)), _told_apart(getattr(other, name))
        return mine != theirs or bool(spoken and too and not spoken & too)

    return differ


def _told_apart(units: tuple[str, ...]) -> tuple[set[str], set[str]]:
    spoken = {unit for unit in units if unit.startswith("~")}
    return set(units) - spoken, spoken


def _negation(one: Features, other: Features) -> bool:
    """One denies and the other doesn't, or denies by a word of its own what the other says ("fails", "does not fail")."""
    mine, theirs = _denied(one), _denied(other)
    if bool(mine) != bool(theirs) and not (one.negated and other.negated):
        return True
    # Where both deny, what is denied can't be told without a parser ("isn't the card working", "the card does not work").
    if mine and theirs:
        return False
    return bool(mine & set(other.words) or theirs & set(one.words))


def _denied(features: Features) -> set[str]:
    return {word for word in features.negated if not word.startswith("~")}


def _antonyms(one: Features, other: Features) -> bool:
    mine, theirs = _axes(one), _axes(other)
    weak = set(lexicon().weak_sides.values())
    for axis in mine.keys() & theirs.keys():
        if f"{axis}+" in weak:
            if not mine[axis] & theirs[axis]:
                return True
        elif mine[axis] != theirs[axis]:
            return True
    first, second = set(one.words), set(other.words)
    return _opposed(first - second, second) or _opposed(second - first, first)


def _axes(features: Features) -> dict[str, set[str]]:
    axes: dict[str, set[str]] = {}
    for side in features.sides:
        axes.setdefault(side[:-1], set()).add(side[-1])
    return axes


def _opposed(words: set[str], others: set[str]) -> bool:
    """Whether a word is one of the others' with a prefix that denies it."""
    return any(word.startswith(prefix) and word[len(prefix) :] in others for word in words for prefix in _PREFIXES)


def _names(one: Features, other: Features) -> bool:
    mine, theirs = set(one.names), set(other.names)
    return not (mine <= theirs | set(other.words) and theirs <= mine | set(one.words))


def _question_word(one: Features, other: Features) -> bool:
    if one.asks == other.asks or not (one.asks and other.asks):
        return False
    return asks.differ(one.asks, other.asks) or set(one.words) == set(other.words)


def _replaced(one: Features, other: Features) -> bool:
    """Whether a word or two stand in place of others, and all else is the same: that two words mean the same must be known
    (`lexicon.synonyms`), not guessed."""
    first, second = set(one.words), set(other.words)
    mine, theirs, shared = first - second, second - first, first & second
    return (
        0 < len(mine) <= _MAX_REPLACED
        and 0 < len(theirs) <= _MAX_REPLACED
        and len(shared) >= 2 * max(len(mine), len(theirs))
    )


def _replaced_in_few(one: Features, other: Features) -> bool:
    """The same of two words, of which one is another's: "who wrote the Odyssey", "who translated the Odyssey". What people
    say of their own affairs has more ways ("my card was refused", "my card was rejected") than things to say."""
    if one.own or other.own:
        return False
    first, second = set(one.words), set(other.words)
    return len(first) == len(second) == 2 and len(first & second) == 1


def _unsaid(one: Features, other: Features) -> bool:
    """Features of a text with words that were made before `said` was among them."""
    return any(features.words and not features.said for features in (one, other))


def _marks(one: Features, other: Features) -> bool:
    return one.marks != other.marks and set(one.words) == set(other.words)


_RULES: tuple[tuple[str, Callable[[Features, Features], bool]], ...] = (
    ("version", _version),
    ("language", _field("language")),
    ("numbers", _field("numbers")),
    ("units", _told("units")),
    ("dates", _told("dates")),
    ("versions", _field("versions")),
    ("negation", _negation),
    ("quantifiers", _field("quantifiers")),
    ("comparatives", _field("comparatives")),
    ("antonyms", _antonyms),
    ("names", _names),
    ("question word", _question_word),
    ("roles", roles.disagree),
    ("replaced words", _replaced),
)
_BARS: tuple[tuple[str, Callable[[Features, Features], bool]], ...] = (
    ("signs", _field("signs")),
    ("foreign words", _field("foreign")),
    ("marks", _marks),
    ("replaced words", _replaced_in_few),
    ("added words", runs.added),
    ("small words", runs.exchanged),
    ("version", _unsaid),
)
