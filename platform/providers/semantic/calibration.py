"""Where the score's weights and cuts come from, and the one calibration that is shipped.

Weights are fitted by logistic regression. A cut is the lowest score from which on wrong hits were few enough among the
served that the upper 95 % bound of their share (Clopper–Pearson) is no more than the stated rate; where no cut is,
nothing is served."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from providers.semantic import guard, score
from providers.semantic.binomial import CONFIDENCE, at_most, upper_bound
from providers.semantic.errors import BadCalibration
from providers.semantic.judge import barred_for, nearest_of, objections_to
from providers.semantic.values import Calibration, Candidate, Cut, Features, Stratum

Matrix = npt.NDArray[np.float64]

RATES = (0.005, 0.01, 0.02, 0.05)
"""The rates that a calibration is made for."""
MIN_QUESTIONS = 200
"""With fewer no cut could be certified for any useful rate."""
MIN_OF_LANGUAGE = 50
"""Of a language with fewer among them, what was measured says nothing."""
_SHIPPED = Path(__file__).parent / "data" / "calibration.json"
_RIDGE = 5.0
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """A labelled question: for each answer that could have been served, its measures and whether it would have been
    right. Without any it counts as asked and never served."""

    options: tuple[tuple[tuple[float, ...], bool], ...]
    language: str = "en"


def asked(features: Features, candidates: Sequence[Candidate], right: Callable[[Candidate], bool]) -> Asked:
    """The labelled question of these features with the nearest entries of its scope."""
    nearest = nearest_of(candidates)
    objections = objections_to(features, nearest)
    found = score.cases(features, nearest, objections, barred=barred_for(features, nearest, objections))
    return Asked(tuple((measured, right(candidate)) for candidate, measured in found), features.language)


def pair(question: Features, stored: Features, cosine: float, *, same_answer: bool) -> Asked:
    """A labelled pair: the stored question is all that the scope holds."""
    only = Candidate(id=UUID(int=1), features=stored, cosine=cosine, cluster=UUID(int=1))
    return asked(question, [only], lambda _: same_answer)


def fit(
    questions: Iterable[Asked],
    *,
    version: str,
    embedder: str,
    data: str,
    rates: Sequence[float] = RATES,
    certify_on: Iterable[Asked] | None = None,
    by_stratum: bool = False,
) -> Calibration:
    """The calibration of labelled questions. `certify_on` are those that the cuts are chosen on, if not the same: traffic
    as it will come, with as many questions that nothing is stored for. `by_stratum` needs some thousands.

    Raises BadCalibration if there are fewer than `MIN_QUESTIONS`, or all that could be served was right, or wrong."""
    learned = list(questions)
    certified = learned if certify_on is None else list(certify_on)
    if min(len(learned), len(certified)) < MIN_QUESTIONS:
        raise BadCalibration(f"A calibration needs at least {MIN_QUESTIONS} labelled questions.")
    options = [option for question in learned for option in question.options[:3]]
    if len({right for _, right in options}) < 2:
        raise BadCalibration("A calibration needs questions with a right stored answer, and some with none.")
    measured = np.array([values for values, _ in options])
    right = np.array([label for _, label in options], dtype=np.float64)
    weights, bias = _logistic(measured, right)
    counts = Counter(question.language for question in certified)
    languages = tuple(sorted(language for language, count in counts.items() if count >= MIN_OF_LANGUAGE))
    draft = Calibration(version, embedder, guard.VERSION, score.NAMES, weights, bias, (), data, languages=languages)
    if not by_stratum:
        cuts = _cuts([outcome for _, outcome in _outcomes(certified, draft)], len(certified), rates)
        return replace(draft, cuts=cuts)
    names = np.array([score.stratum_of(values) for values, _ in options])
    draft = replace(draft, strata=tuple(_stratum(name, measured, right, names, draft) for name in score.STRATA))
    outcomes: dict[str, list[tuple[float, bool]]] = {name: [] for name in score.STRATA}
    for name, outcome in _outcomes(certified, draft):
        outcomes[name].append(outcome)
    strata = tuple(replace(one, cuts=_cuts(outcomes[one.name], len(certified), rates)) for one in draft.strata)
    return replace(draft, strata=strata, cuts=_sums(strata, len(certified), rates))


def tightened(held: Calibration, questions: Iterable[Asked], *, version: str, data: str) -> Calibration:
    """A calibration with its cuts raised to where these questions, which were asked although it would have served them, hold
    each rate; a rate that they can't certify has none. The weights stay: what scores lower was never seen.

    Raises BadCalibration if there are fewer than `MIN_QUESTIONS`, or none was wrong."""
    audited = list(questions)
    if len(audited) < MIN_QUESTIONS:
        raise BadCalibration(f"A calibration needs at least {MIN_QUESTIONS} audits.")
    outcomes = [outcome for _, outcome in _outcomes(audited, held)]
    if all(right for _, right in outcomes):
        raise BadCalibration("Audits of which none was wrong teach nothing.")
    rates = sorted({cut.rate for cuts in (held.cuts, *(one.cuts for one in held.strata)) for cut in cuts})
    found = {cut.rate: cut for cut in _cuts(outcomes, len(audited), rates)}
    return replace(
        held,
        version=version,
        data=data,
        cuts=_raised(held.cuts, found),
        strata=tuple(replace(stratum, cuts=_raised(stratum.cuts, found)) for stratum in held.strata),
    )


def recertified(
    held: Calibration, questions: Iterable[Asked], *, rates: Sequence[float], version: str, data: str
) -> Calibration:
    """A calibration whose cuts for these rates hold on these questions, too, stratum by stratum: raised where they have to be. A
    stratum that can't certify a rate on them has no cut for it. Weights and other rates stay.

    Raises BadCalibration if there are fewer than `MIN_QUESTIONS`."""
    asked_now = list(questions)
    if len(asked_now) < MIN_QUESTIONS:
        raise BadCalibration(f"A calibration needs at least {MIN_QUESTIONS} labelled questions.")
    outcomes: dict[str, list[tuple[float, bool]]] = {one.name: [] for one in held.strata}
    for name, outcome in _outcomes(asked_now, held):
        outcomes[name].append(outcome)
    strata = []
    for one in held.strata:
        found = {cut.rate: cut for cut in _cuts(outcomes[one.name], len(asked_now), rates)}
        strict = _raised([cut for cut in one.cuts if cut.rate in rates], found)
        strata.append(replace(one, cuts=(*strict, *(cut for cut in one.cuts if cut.rate not in rates))))
    sums = _sums(strata, len(asked_now), rates)
    cuts = (*sums, *(cut for cut in held.cuts if cut.rate not in rates))
    return replace(held, version=version, data=data, strata=tuple(strata), cuts=cuts)


def _raised(cuts: Sequence[Cut], found: Mapping[float, Cut]) -> tuple[Cut, ...]:
    return tuple(replace(found[cut.rate], cut=max(cut.cut, found[cut.rate].cut)) for cut in cuts if cut.rate in found)


def _stratum(name: str, measured: Matrix, right: Matrix, names: npt.NDArray[np.str_], all_of: Calibration) -> Stratum:
    """A stratum without cuts. Its weights are from what is in it if that is enough and of both kinds, else those of all."""
    inside = names == name
    if inside.sum() >= MIN_QUESTIONS and 0 < right[inside].sum() < inside.sum():
        return Stratum(name, *_logistic(measured[inside], right[inside]), cuts=())
    return Stratum(name, all_of.weights, all_of.bias, ())


def _outcomes(questions: Iterable[Asked], calibration: Calibration) -> Iterator[tuple[str, tuple[float, bool]]]:
    """Of each question that something could be served for: the stratum of what would be, its score, whether it is right."""
    for question in questions:
        scored = []
        for measured, right in question.options:
            name = score.stratum_of(measured)
            scored.append((score.score(measured, calibration.stratum(name)), name, right))
        if scored:
            # As `score.best` does: of equals the first.
            likely, name, right = max(scored, key=lambda one: one[0])
            yield name, (likely, right)


def _sums(strata: Sequence[Stratum], questions: int, rates: Sequence[float]) -> tuple[Cut, ...]:
    """What the strata serve together, for each rate that one of them has a cut for."""
    found = []
    for rate in rates:
        cuts = [cut for stratum in strata for cut in stratum.cuts if cut.rate == rate]
        if cuts:
            served, wrong = sum(cut.served for cut in cuts), sum(cut.wrong for cut in cuts)
            lowest = min(cut.cut for cut in cuts)
            found.append(Cut(rate, lowest, questions, served, wrong, upper_bound(wrong, served)))
    return tuple(found)


def _logistic(measured: Matrix, right: Matrix) -> tuple[tuple[float, ...], float]:
    """Weights and bias of the logistic regression with a ridge, by Newton's method, for the measures as they are."""
    means, spreads = measured.mean(axis=0), measured.std(axis=0) + 1e-9
    rows = np.hstack([(measured - means) / spreads, np.ones((len(measured), 1))])
    ridge = np.append(np.full(measured.shape[1], _RIDGE), 1e-3)
    weights = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (chance - right) + ridge * weights
        step = np.linalg.solve((rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(ridge), slope)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    plain = weights[:-1] / spreads
    return tuple(float(weight) for weight in plain), float(weights[-1] - plain @ means)


def _cuts(outcomes: Sequence[tuple[float, bool]], questions: int, rates: Sequence[float]) -> tuple[Cut, ...]:
    """For each rate the cut that serves most, if there is one."""
    ordered = sorted(outcomes, key=lambda outcome: (-outcome[0], outcome[1]))
    # Before a wrong one is where a cut serves most for as many wrong.
    ends = [
        place
        for place in range(1, len(ordered) + 1)
        if place == len(ordered) or (not ordered[place][1] and ordered[place][0] < ordered[place - 1][0])
    ]
    failed = np.cumsum([not right for _, right in ordered])
    found = []
    for rate in rates:
        for served in reversed(ends):
            wrong = int(failed[served - 1])
            if wrong <= served * rate and at_most(wrong, served, rate) <= 1 - CONFIDENCE:
                cut = ordered[served - 1][0]
                found.append(Cut(rate, cut, questions, served, wrong, upper_bound(wrong, served)))
                break
    return tuple(found)


@cache
def shipped() -> Calibration:
    """The calibration that comes with Parley, for the default embedder."""
    return read(_SHIPPED.read_bytes())


def read(content: bytes) -> Calibration:
    """A calibration from its JSON. Raises BadCalibration."""
    try:
        made = msgspec.json.decode(content, type=Calibration)
    except msgspec.DecodeError as error:
        raise BadCalibration(f"This is no calibration: {error}") from error
    if any(len(weights) != len(made.features) for weights in (made.weights, *(one.weights for one in made.strata))):
        raise BadCalibration("A calibration has one weight for each of its features.")
    return made


def write(calibration: Calibration) -> bytes:
    """The JSON that `read` reads."""
    return msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"
