"""How likely the answer of a candidate is the right one: a logistic score over what can be measured of the neighbourhood.

Every measure is made of cosines and of words' rarity in the language, and means the same for any data and any number of
entries. How many of the nearest entries have the same answer, and how near another is, says which *stratum* a candidate
is in: what a cosine is worth depends on it, so each has its own weights, and its own certificate."""

import math
from collections.abc import Mapping, Sequence, Set
from itertools import compress
from uuid import UUID

from providers.semantic.rarity import rarity
from providers.semantic.values import Calibration, Candidate, Features, Stratum

NAMES = (
    "cosine", "mean of three", "margin", "margin unopposed", "support", "count", "overlap", "cover", "words margin", "unshared",
    "length", "agreement", "farthest", "words", "cosine squared", "cosine by margin", "cosine by count",
)  # fmt: skip
"""The measures. The margins are to the nearest entry with another answer (unopposed: that the guard has nothing
against); `support` is the share of the answer in a soft vote of the nearest; `overlap`, `cover` and `unshared` weigh
words by rarity."""
STRATA = ("lone", "clear", "few", "some", "many")
"""Kinds of neighbourhood, by how many of the nearest entries have the answer: one, one with nothing unopposed close to
it, two or three, four to six, seven or eight."""
NEAREST = 8
_SOFTNESS = 0.05
_MAX_MARGIN, _MIN_MARGIN = 0.25, -0.2
_MAX_WORDS = 12
_CLEAR = 0.15
_COUNT, _UNOPPOSED = NAMES.index("count"), NAMES.index("margin unopposed")


def stratum_of(measured: Sequence[float]) -> str:
    """The stratum of a candidate with these measures."""
    count = round(measured[_COUNT] * NEAREST)
    if count <= 1:
        return "clear" if measured[_UNOPPOSED] >= _CLEAR else "lone"
    return "few" if count <= 3 else "some" if count <= 6 else "many"


def best(
    asked: Features,
    nearest: Sequence[Candidate],
    objections: Mapping[UUID, str | None],
    calibration: Calibration,
    *,
    barred: Set[UUID] = frozenset(),
) -> tuple[Candidate | None, float, Stratum | None]:
    """The likeliest candidate without an objection that isn't barred, its score, and its stratum; none if there is no
    such. `nearest` is in order, the nearest first."""
    found: tuple[Candidate | None, float, Stratum | None] = (None, 0.0, None)
    for candidate, measured in cases(asked, nearest, objections, barred=barred):
        stratum = calibration.stratum(stratum_of(measured))
        likely = score(measured, stratum)
        if found[0] is None or likely > found[1]:
            found = candidate, likely, stratum
    return found


def cases(
    asked: Features,
    nearest: Sequence[Candidate],
    objections: Mapping[UUID, str | None],
    *,
    barred: Set[UUID] = frozenset(),
) -> list[tuple[Candidate, tuple[float, ...]]]:
    """Of each cluster the nearest candidate without an objection that isn't barred, with its measures."""
    tried: dict[UUID, Candidate] = {}
    for candidate in nearest:
        if objections[candidate.id] is None and candidate.id not in barred:
            tried.setdefault(candidate.cluster, candidate)
    return [(candidate, measures(asked, candidate, nearest, objections)) for candidate in tried.values()]


def score(measured: Sequence[float], stratum: Stratum) -> float:
    """The chance, by the stratum's weights, that a candidate with these measures is right."""
    total = stratum.bias + sum(weight * value for weight, value in zip(stratum.weights, measured, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def measures(
    asked: Features, candidate: Candidate, nearest: Sequence[Candidate], objections: Mapping[UUID, str | None]
) -> tuple[float, ...]:
    """The measures named in `NAMES`."""
    mine = [other.cluster == candidate.cluster for other in nearest]
    same = list(compress(nearest, mine))
    others = [other for other, is_mine in zip(nearest, mine, strict=True) if not is_mine]
    cosine, farthest, count = (
        same[0].cosine,
        nearest[-1].cosine if len(nearest) >= NEAREST else 0.0,
        len(same) / NEAREST,
    )
    # With no other answer in sight, the margin is at least that to the farthest; in a small scope it is as large as counts.
    beyond = farthest if len(nearest) >= NEAREST else cosine - _MAX_MARGIN
    margin = _margin(cosine, [other.cosine for other in others], beyond)
    unopposed = _margin(cosine, [other.cosine for other in others if objections[other.id] is None], beyond)
    votes = [math.exp((other.cosine - nearest[0].cosine) / _SOFTNESS) for other in nearest]
    words, stored = set(asked.words), set[str]().union(*(other.features.words for other in same))
    overlap = max(_overlap(words, other.features) for other in same)
    lengths = sorted((len(asked.words) or 1, len(candidate.features.words) or 1))
    return (
        cosine,
        sum(other.cosine for other in same[:3]) / len(same[:3]),
        margin,
        unopposed,
        sum(compress(votes, mine)) / sum(votes),
        count,
        overlap,
        _weight(words & stored) / (_weight(words) or 1),
        overlap - max((_overlap(words, other.features) for other in others), default=0.0),
        max(map(rarity, words - stored), default=0.0),
        lengths[0] / lengths[1],
        sum(objections[other.id] is None for other in same) / len(same),
        farthest,
        min(len(words), _MAX_WORDS) / _MAX_WORDS,
        cosine * cosine,
        cosine * margin,
        cosine * count,
    )  # fmt: skip


def _margin(cosine: float, others: Sequence[float], beyond: float) -> float:
    return min(_MAX_MARGIN, max(_MIN_MARGIN, cosine - max(others, default=beyond)))


def _overlap(words: set[str], features: Features) -> float:
    """Jaccard's share of words in common, by rarity."""
    stored = set(features.words)
    return _weight(words & stored) / (_weight(words | stored) or 1)


def _weight(words: set[str]) -> float:
    return sum(map(rarity, words))
