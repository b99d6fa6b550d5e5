"""The verdict: whether one of the candidates' answers may be given, and which.

The candidates fall into clusters of one answer. Of the cluster that the score prefers, the answer is served from the
nearest entry that the guard has nothing against; if the guard has something against them all, nothing is served. The
other clusters stay in view as what the question might have meant instead.

A question that was asked before in the same words needs no score: its own answer is served, however near others are."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from providers.semantic import guard, score
from providers.semantic.values import Calibration, Candidate, Features, Question, Verdict

CANDIDATES = score.NEAREST
"""How many of the nearest entries the score was made for; further ones aren't looked at."""


def judge(question: Question, candidates: Sequence[Candidate], *, calibration: Calibration, rate: float) -> Verdict:
    """The verdict on a question, for the nearest entries of its scope and a stated rate of wrong hits (0.01: one of a
    hundred).

    `candidates` come in any order, from one scope; those of another guard's version are never served."""
    if is_certified(calibration, rate) and (same := _in_the_same_words(question, candidates)) is not None:
        return Verdict(same, 1.0, "accepted", "the same words")
    return verdict(question.features, candidates, calibration=calibration, rate=rate)


def is_certified(calibration: Calibration, rate: float) -> bool:
    """Whether anything may be served by a calibration, at a stated rate."""
    return (
        calibration.cut_for(rate) is not None
        and calibration.guard_version == guard.VERSION
        and calibration.features == score.NAMES
    )


def verdict(asked: Features, candidates: Sequence[Candidate], *, calibration: Calibration, rate: float) -> Verdict:
    """`judge`, of the question's features alone."""
    if not candidates:
        return Verdict(None, 0.0, "no_candidate")
    if not is_certified(calibration, rate):
        return Verdict(None, 0.0, "uncalibrated")
    if asked.language not in calibration.languages:
        return Verdict(None, 0.0, "uncalibrated", "language")
    nearest = nearest_of(candidates)
    objections = objections_to(asked, nearest)
    barred = barred_for(asked, nearest, objections)
    best, likely, stratum = score.best(asked, nearest, objections, calibration, barred=barred)
    if best is None or stratum is None:
        return Verdict(None, 0.0, "guard", guard.disagreement(asked, nearest[0].features) or "")
    cut = stratum.cut_for(rate)
    if cut is None or likely < cut.cut:
        return Verdict(None, likely, "uncalibrated" if cut is None else "score")
    return Verdict(best, likely, "accepted")


def _in_the_same_words(question: Question, candidates: Sequence[Candidate]) -> Candidate | None:
    words = _words(question.text)
    same = next((one for one in nearest_of(candidates) if _words(one.text) == words), None)
    return same if same is not None and guard.disagreement(question.features, same.features) is None else None


def _words(text: str) -> str:
    """The words of a text; of several lines all that is in it, as code says something by its lines and how they begin."""
    stripped = text.strip()
    return stripped if "\n" in stripped else " ".join(stripped.split())


def nearest_of(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that are looked at, the nearest first."""
    return sorted(candidates, key=lambda candidate: -candidate.cosine)[:CANDIDATES]


def objections_to(asked: Features, nearest: Sequence[Candidate]) -> dict[UUID, str | None]:
    """What the guard has against each candidate, for the score to weigh."""
    return {candidate.id: guard.weighed_disagreement(asked, candidate.features) for candidate in nearest}


def barred_for(asked: Features, nearest: Sequence[Candidate], objections: Mapping[UUID, str | None]) -> frozenset[UUID]:
    """Of the candidates that the guard has nothing else against, those that may not be served."""
    return frozenset(
        one.id
        for one in nearest
        if objections[one.id] is None and guard.barring_disagreement(asked, one.features) is not None
    )
