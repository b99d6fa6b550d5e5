"""Who does what to whom, and what goes from where to where."""

from collections.abc import Sequence

from providers.semantic.guard.words import canonical
from providers.semantic.lexicon import lexicon
from providers.semantic.values import Features

_WAYS = {"from": "from", "to": "to", "into": "to", "onto": "to", "than": "than", "against": "against", "by": "by"}
_EQUAL = frozenset(("and", "or", "vs", "versus", "between"))
_BE = frozenset(("is", "are", "was", "were", "be", "been", "being", "get", "gets", "got"))
_ALIKE = 0.5
"""The share of words in common from which the order of words may be held against a text."""


def roles(words: Sequence[str]) -> tuple[str, ...]:
    """What follows "from", "to", "than", …: "from:postgres"; and what is listed side by side, whose order means
    nothing: "=:x y"."""
    known = lexicon()
    found = set()
    for index, word in enumerate(words):
        content = [
            canonical(next_word) for next_word in words[index + 1 : index + 6] if next_word not in known.function_words
        ]
        if word in _WAYS and content:
            found.add(f"{_WAYS[word]}:{content[0]}")
        if word in _EQUAL and 0 < index < len(words) - 1:
            found.add(f"=:{_pair(canonical(words[index - 1]), canonical(words[index + 1]))}")
    return tuple(sorted(found))


def _pair(one: str, other: str) -> str:
    return " ".join(sorted((one, other)))


def passive(words: Sequence[str]) -> bool:
    """Whether something is done *by* someone."""
    return any(
        word == "by" and any(before in _BE for before in words[max(0, index - 8) : index])
        for index, word in enumerate(words)
    )


def disagree(one: Features, other: Features) -> bool:
    """Whether the same words play other parts in one text than in the other."""
    first, second = set(one.words), set(other.words)
    if _trade_ways(one, other, first, second):
        return True
    shared = first & second
    if len(shared) < 2 or len(shared) / len(first | second) < _ALIKE:
        return False
    order = [word for word in dict.fromkeys(one.words) if word in shared]
    again = [word for word in dict.fromkeys(other.words) if word in shared]
    listed = {role[2:] for role in (*one.roles, *other.roles) if role.startswith("=:")}
    if one.passive != other.passive:
        by = _after(one if one.passive else other, "by")
        return bool(by) and any(_same_order(order, again, word) for word in by if word in shared)
    if order == again:
        return False
    return _reversed_around(order, again, listed) or (first == second and _traded(order, again, listed))


def _after(features: Features, way: str) -> set[str]:
    return {role.split(":", 1)[1] for role in features.roles if role.startswith(f"{way}:")}


def _trade_ways(one: Features, other: Features, first: set[str], second: set[str]) -> bool:
    """What comes after "to" in one text is elsewhere in the other, and the other way round."""
    for way in ("to", "from", "than", "against"):
        mine, theirs = _after(one, way), _after(other, way)
        if (mine - theirs) & second and (theirs - mine) & first:
            return True
    swapped = _after(one, "from") & _after(other, "to") or _after(one, "to") & _after(other, "from")
    return bool(swapped) and not (_after(one, "from") & _after(other, "from"))


def _same_order(order: Sequence[str], again: Sequence[str], agent: str) -> bool:
    """Whether someone who does it in the passive text (last) is last in the active one too."""
    before = set(order[: order.index(agent)]) & set(again[: again.index(agent)])
    # What is before the agent in both texts is what it is done to in one, and who does it in the other.
    return len(before) >= 2


def _reversed_around(order: Sequence[str], again: Sequence[str], listed: set[str]) -> bool:
    """Whether two words trade places around a third that is between them and next to both."""
    backwards = set(zip(again[2:], again[1:], again, strict=False))
    return any(
        three in backwards and not {three[0], three[2]} <= listed
        for three in zip(order, order[1:], order[2:], strict=False)
    )


def _traded(order: Sequence[str], again: Sequence[str], listed: set[str]) -> bool:
    """Whether the same words stand in the same places but for two, which trade theirs."""
    moved = [index for index, (word, other) in enumerate(zip(order, again, strict=True)) if word != other]
    return len(moved) == 2 and _pair(*(order[index] for index in moved)) not in listed
