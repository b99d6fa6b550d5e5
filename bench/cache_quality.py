"""How many questions the semantic cache answers, and how many of them wrongly.

    python -m bench.cache_quality PATH                     # measure, by the shipped calibration and by one of the data's own
    python -m bench.cache_quality PATH --all               # data the shipped calibration has not seen: measure on all of it
    python -m bench.cache_quality PATH --ship              # make the shipped calibration anew, from half of the intents
    python -m bench.cache_quality PATH --strict            # choose its cuts for low rates anew, with more intents left out
    python -m bench.cache_quality PATH --figure docs/images/cache-quality.png

PATH is a CSV file with the columns `text` and `category`; categories `oos` and `out_of_scope` are questions that
nothing is stored for. Two questions of one category can share an answer. A question is served right if the stored one
has its category. The intents are split in two: what is measured was not calibrated on. Beside it: the minimal pairs and
paraphrases of `bench.minimal_pairs`."""

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from bench import minimal_pairs
from bench.cache_traffic import OUT_OF_SCOPE, Ask, Questions, embed, halves, labelled, load, tiny_scopes, traffic
from providers.semantic import calibration, eligibility, guard
from providers.semantic.binomial import at_most, upper_bound
from providers.semantic.embedders.minilm import NAME
from providers.semantic.judge import verdict
from providers.semantic.values import Calibration, Candidate

DENSITIES = (None, 100, 20, 5)
"""Entries an intent that are measured; None: four fifths of all questions."""
RATES = (0.01, 0.02, 0.05)
CURVE = (0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1)
SHIP = Path(calibration.__file__).parent / "data" / "calibration.json"
_TINY = 15_000
_PER_INTENT = (None, 20, 5, 1)
ABSENT, ABSENT_WHERE_STRICT = 0.1, 0.25
"""What part of the intents is left out of the stores that cuts are chosen on. Whoever states a low rate wants it kept with
traffic, too, of which more is about something else than what this was made of."""
STRICT = (0.005, 0.01)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of some traffic: questions asked, those that something was stored for, served, and served wrongly."""

    asked: int
    in_scope: int
    served: int
    wrong: int

    @property
    def bound(self) -> float:
        """The upper 95 % bound of wrong hits."""
        return upper_bound(self.wrong, self.served) if self.served else 1.0

    def line(self) -> str:
        """The outcome as cells of a table."""
        share = (self.served - self.wrong) / self.in_scope
        return f"{self.served / self.asked:6.1%} | {share:6.1%} | {self.wrong:4} of {self.served:5} | {self.bound:7.2%}"


def judged(questions: Questions, asks: Sequence[Ask], made: Calibration, rate: float) -> Outcome:
    """What the product makes of the asks."""
    served = wrong = 0
    for ask in asks:
        chosen = verdict(questions.features[ask.number], ask.candidates, calibration=made, rate=rate).candidate
        if chosen is not None:
            served, wrong = served + 1, wrong + (not ask.right(chosen))
    return Outcome(len(asks), sum(ask.in_scope for ask in asks), served, wrong)


def nearest(asks: Sequence[Ask]) -> list[tuple[float, bool]]:
    """Of each ask the cosine of what is nearest, and whether that is wrong; the most alike first."""
    found = [max(ask.everything, key=lambda candidate: candidate.cosine) for ask in asks]
    return sorted(
        ((best.cosine, not ask.right(best)) for ask, best in zip(asks, found, strict=True)), key=lambda one: -one[0]
    )


def by_cosine(asks: Sequence[Ask], rates: Iterable[float]) -> dict[float, Outcome]:
    """What the best fixed threshold on the cosine serves at each bound, chosen with hindsight on these very asks."""
    in_scope = sum(ask.in_scope for ask in asks)
    found = nearest(asks)
    failed = np.cumsum([wrong for _, wrong in found])
    outcomes = {}
    for rate in rates:
        outcomes[rate] = Outcome(len(asks), in_scope, 0, 0)
        for served in range(len(found), 0, -1):
            wrong = int(failed[served - 1])
            if wrong <= served * rate and at_most(wrong, served, rate) <= 0.05:
                outcomes[rate] = Outcome(len(asks), in_scope, served, wrong)
                break
    return outcomes


def by_chosen_cosine(taught: Sequence[Ask], asks: Sequence[Ask], rate: float) -> Outcome:
    """What the threshold serves that is the best for others, as a calibration is: without hindsight."""
    served = by_cosine(taught, (rate,))[rate].served
    threshold = nearest(taught)[served - 1][0] if served else 2.0
    wrongs = [wrong for cosine, wrong in nearest(asks) if cosine >= threshold]
    return Outcome(len(asks), sum(ask.in_scope for ask in asks), len(wrongs), sum(wrongs))


def ship(questions: Questions, intents: frozenset[str], path: Path) -> Calibration:
    """The calibration of the intents, over dense and sparse stores of which a tenth of the intents is left out, and
    scopes of one to three entries."""
    tiny = labelled(questions, list(tiny_scopes(questions, intents, count=_TINY)))
    with_absent, without = [], []
    for per_intent in _PER_INTENT:
        with_absent += labelled(questions, list(traffic(questions, intents, per_intent=per_intent, left_out=ABSENT)))
        without += labelled(questions, list(traffic(questions, intents, per_intent=per_intent)))
    made = calibration.fit(
        with_absent + without + tiny,
        version=f"1-{NAME}-{guard.VERSION}",
        embedder=NAME,
        data=(
            f"{path.parent.name}, {len(intents)} of its intents: every question asked once of stores with four fifths of "
            f"the others, 20, 5 and 1 an intent, a tenth of the intents left out; and {_TINY} questions of stores with 1 "
            "to 3 entries, half of them with no answer stored"
        ),
        certify_on=with_absent + tiny,
        by_stratum=True,
    )
    return strict(questions, intents, made)


def strict(questions: Questions, intents: frozenset[str], made: Calibration) -> Calibration:
    """A calibration whose cuts for low rates hold with a quarter of the intents left out. It is shipped."""
    asks = labelled(questions, list(tiny_scopes(questions, intents, count=_TINY)))
    for per_intent in _PER_INTENT:
        left_out = list(traffic(questions, intents, per_intent=per_intent, left_out=ABSENT_WHERE_STRICT))
        asks += labelled(questions, left_out)
    made = calibration.recertified(
        made,
        asks,
        rates=STRICT,
        version=f"2-{NAME}-{guard.VERSION}",
        data=f"{made.data}. Rates up to {max(STRICT):.0%}: the same, a quarter of the intents left out",
    )
    SHIP.write_bytes(calibration.write(made))
    return made


def pairs_served(made: Calibration, rate: float, options: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """How many minimal pairs and paraphrases are served, of how many: the one question is stored, the other asked."""
    found = {}
    for name, pairs in (("minimal_pairs", minimal_pairs.minimal_pairs()), ("paraphrases", minimal_pairs.paraphrases())):
        if minimal_pairs.digest(pairs) != minimal_pairs.frozen()[name]:
            raise SystemExit(f"The {name} are not those that were frozen.")
        vectors = embed(
            [text for pair in pairs for text in (pair.stored, pair.asked)],
            folder=options.vectors,
            threads=options.threads,
        )
        served = 0
        for pair, stored, asked in zip(pairs, vectors[::2], vectors[1::2], strict=True):
            if eligibility.why_not(pair.stored) or eligibility.why_not(pair.asked):
                continue
            entry = Candidate(UUID(int=1), guard.features_of(pair.stored), float(stored @ asked), UUID(int=1))
            served += verdict(guard.features_of(pair.asked), [entry], calibration=made, rate=rate).candidate is not None
        found[name] = served, len(pairs)
    return found


def draw(questions: Questions, learned: frozenset[str], measured: frozenset[str], path: Path) -> None:
    """The curves of hits over the bound of wrong ones, for each density, beside a fixed cosine threshold's."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for per_intent, colour in zip(DENSITIES, ("#1f4e79", "#2e8b57", "#c77f00", "#a03050"), strict=True):
        teach = labelled(questions, list(traffic(questions, learned, per_intent=per_intent)))
        own = calibration.fit(teach, version="own", embedder=NAME, data="", rates=CURVE)
        asks = list(traffic(questions, measured, per_intent=per_intent))
        name = "all" if per_intent is None else str(per_intent)
        outcomes = [judged(questions, asks, own, rate) for rate in CURVE if own.cut_for(rate)]
        axes.plot(
            [100 * one.bound for one in outcomes],
            [100 * (one.served - one.wrong) / one.in_scope for one in outcomes],
            "o-",
            color=colour,
            label=f"Parley, {name} entries an intent",
        )
        plain = by_cosine(asks, CURVE)
        axes.plot(
            [100 * one.bound for one in plain.values() if one.served],
            [100 * (one.served - one.wrong) / one.in_scope for one in plain.values() if one.served],
            "--",
            color=colour,
            alpha=0.6,
            label=f"cosine, {name} entries",
        )
    axes.set(xlim=(0, 8), ylim=(0, 100), xlabel="wrong hits, upper 95 % bound [%]", ylabel="questions served right [%]")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--all", action="store_true", help="the shipped calibration, on all intents")
    parser.add_argument("--ship", action="store_true", help="make the shipped calibration from half of the intents")
    parser.add_argument("--strict", action="store_true", help="choose the shipped cuts for low rates anew")
    parser.add_argument("--figure", type=Path, help="where to draw the curves")
    parser.add_argument("--vectors", type=Path, help="a folder to keep vectors in between runs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    questions = load(options.path, folder=options.vectors, threads=options.threads)
    learned, measured = halves(questions)
    eligible = sum(questions.eligible) / len(questions.eligible)
    print(
        f"{len(questions.texts)} questions of {len(set(questions.intents) - OUT_OF_SCOPE)} intents, {eligible:.1%} eligible"
    )
    made = calibration.shipped()
    if options.ship:
        made = ship(questions, learned, options.path)
    elif options.strict:
        made = strict(questions, learned, made)
    report(questions, made, learned, learned | measured if options.all else measured, only_shipped=options.all)
    for rate in RATES:
        found = pairs_served(made, rate, options)
        print(f"at {rate:.1%}: " + ", ".join(f"{served} of {among} {name}" for name, (served, among) in found.items()))
    if options.figure:
        draw(questions, learned, measured, options.figure)
    print(f"{time.monotonic() - began:.0f} s")


def report(
    questions: Questions, made: Calibration, learned: frozenset[str], measured: frozenset[str], *, only_shipped: bool
) -> None:
    """The table: for each density, with all intents stored and with a quarter left out, at each rate."""
    print("entries | left out | rate | by                 | served | of in-scope, right | wrong | bound")
    for per_intent in DENSITIES:
        own, taught = None, list[Ask]()
        if not only_shipped:
            taught = list(traffic(questions, learned, per_intent=per_intent))
            own = calibration.fit(labelled(questions, taught), version="own", embedder=NAME, data="")
        for left_out in (0.0, 0.1):
            asks = list(traffic(questions, measured, per_intent=per_intent, left_out=left_out))
            plain = by_cosine(asks, RATES)
            head = f"{per_intent or 'all':>7} | {left_out:8.0%}"
            for rate in RATES:
                shipped = judged(questions, asks, made, rate)
                alike = by_cosine(asks, (shipped.bound,))[shipped.bound]
                print(f"{head} | {rate:4.0%} | shipped            | {shipped.line()}", flush=True)
                print(f"{head} | {rate:4.0%} | cosine, its bound  | {alike.line()}", flush=True)
                if own is not None and not left_out:
                    print(
                        f"{head} | {rate:4.0%} | its own            | {judged(questions, asks, own, rate).line()}",
                        flush=True,
                    )
                    print(
                        f"{head} | {rate:4.0%} | cosine, its own    | {by_chosen_cosine(taught, asks, rate).line()}",
                        flush=True,
                    )
                print(f"{head} | {rate:4.0%} | cosine, that rate  | {plain[rate].line()}", flush=True)


if __name__ == "__main__":
    main()
