"""The verdict, the score, the clusters of answers, and where cuts come from."""

import random
from dataclasses import replace
from uuid import UUID

import msgspec
import numpy as np
import pytest

from providers.semantic import calibration, guard, score
from providers.semantic.binomial import at_most, upper_bound
from providers.semantic.calibration import Asked
from providers.semantic.clusters import SAME_ANSWER, Known, agree, cluster_of
from providers.semantic.errors import BadCalibration
from providers.semantic.judge import CANDIDATES, judge
from providers.semantic.values import Calibration, Candidate, Cut, Question, Verdict

pytestmark = pytest.mark.no_database

ASKED = "How do I activate my card?"
ALIKE = ["How can I activate my card?", "What are the steps to activate a card?", "I want to activate my card"]
OTHER = ["Where do I see the fees?", "When does the shop open?", "Why is the sky blue?"]
BY_COSINE = Calibration(
    "test",
    "fake",
    guard.VERSION,
    score.NAMES,
    tuple(20.0 if name == "cosine" else 0.0 for name in score.NAMES),
    -16.0,
    (Cut(0.01, 0.5, 1000, 500, 1, 0.0094), Cut(0.05, 0.2, 1000, 700, 20, 0.04)),
    "made up",
)
"""Accepts what has a cosine of 0.8 and more at 1 %."""


def entry(number: int, text: str, cosine: float, cluster: int) -> Candidate:
    return Candidate(UUID(int=number), guard.features_of(text), cosine, UUID(int=cluster))


def asked(text: str, *candidates: Candidate, rate: float = 0.01, by: Calibration = BY_COSINE) -> Verdict:
    question = Question(text, guard.features_of(text), b"")
    return judge(question, candidates, calibration=by, rate=rate)


def test_the_nearest_entry_is_served_if_the_score_is_past_the_cut() -> None:
    found = asked(ASKED, entry(1, ALIKE[0], 0.85, 1), entry(2, ALIKE[1], 0.9, 1))
    assert found.candidate is not None
    assert found.candidate.id == UUID(int=2)
    assert found.reason == "accepted"
    assert found.score > 0.5
    assert asked(ASKED, entry(1, ALIKE[0], 0.75, 1)).reason == "score"
    assert asked(ASKED, entry(1, ALIKE[0], 0.75, 1), rate=0.05).reason == "accepted"


def test_the_same_words_are_answered_by_their_own_entry_however_near_others_are() -> None:
    """Among very like questions no score is sure of any; and the most likely answer may be another's."""
    same = msgspec.structs.replace(entry(1, ASKED, 0.79, 1), text=f" {ASKED}\n")
    others = [entry(2, ALIKE[0], 0.95, 2), entry(3, ALIKE[1], 0.94, 2)]
    for near in ([same], [same, *others]):
        found = asked(ASKED, *near)
        assert (found.candidate, found.reason, found.score) == (same, "accepted", 1.0)
    # Other letters may be another word, and without a certificate nothing is served.
    assert asked(ASKED.upper(), same).candidate is None
    assert asked(ASKED, same, rate=0.009).reason == "uncalibrated"


def test_with_no_candidate_no_cut_or_another_guard_nothing_is_served() -> None:
    near = entry(1, ALIKE[0], 0.99, 1)
    assert asked(ASKED).reason == "no_candidate"
    assert asked(ASKED, near, rate=0.009).reason == "uncalibrated"
    assert (
        asked(ASKED, near, by=msgspec.structs.replace(BY_COSINE, guard_version=guard.VERSION - 1)).reason
        == "uncalibrated"
    )
    assert asked(ASKED, near, by=msgspec.structs.replace(BY_COSINE, features=("cosine",))).reason == "uncalibrated"
    older = msgspec.structs.replace(near, features=msgspec.structs.replace(near.features, version=guard.VERSION - 1))
    assert asked(ASKED, older).reason == "guard"


def test_an_entry_that_the_guard_objects_to_is_passed_over_for_one_of_the_same_answer() -> None:
    denied = entry(1, "How do I not activate my card?", 0.99, 1)
    assert asked(ASKED, denied) == Verdict(None, 0.0, "guard", "negation")
    found = asked(ASKED, denied, entry(2, ALIKE[1], 0.85, 1))
    assert found.candidate is not None
    assert found.candidate.id == UUID(int=2)


def test_a_question_in_a_language_that_nothing_was_measured_in_is_answered_in_its_own_words_alone() -> None:
    """The default embedder reads English: to it, most questions in Chinese are the same."""
    stored = "\u5982\u4f55\u53d6\u6d88\u8ba2\u5355\uff1f"
    other = msgspec.structs.replace(entry(1, stored, 1.0, 1), text=stored)
    question = "\u732b\u53ef\u4ee5\u5403\u8461\u8404\u5417\uff1f"
    assert asked(question, other) == Verdict(None, 0.0, "uncalibrated", "language")
    assert (
        asked("Warum kann ich hier nicht bezahlen?", entry(2, "Warum kann ich hier bezahlen?", 0.99, 1)).candidate
        is None
    )
    assert asked(stored, other).reason == "accepted"
    measured_in_both = msgspec.structs.replace(BY_COSINE, languages=("de", "en"))
    german = entry(2, "Wie kann ich meine Karte aktivieren?", 0.99, 1)
    assert asked("Wie kann ich meine Karte denn aktivieren?", german, by=measured_in_both).reason == "accepted"


def test_rules_that_only_forbid_change_no_score() -> None:
    barred = entry(1, "How must I activate my card?", 0.99, 1)
    plain = entry(2, ALIKE[0], 0.9, 1)
    with_it, without = asked(ASKED, barred, plain), asked(ASKED, entry(1, ALIKE[0], 0.99, 1), plain)
    assert with_it.candidate is not None
    assert with_it.candidate.id == UUID(int=2)
    assert without.candidate is not None


def test_lines_of_code_are_told_apart_by_how_they_begin() -> None:
    inside, outside = "Explain\nif a:\n  b()\n  c()", "Explain\nif a:\n  b()\nc()"
    stored = msgspec.structs.replace(entry(1, inside, 1.0, 1), text=inside)
    assert asked(outside, stored).candidate is None
    assert asked(f"{inside}\n", stored).reason == "accepted"


def measured(*candidates: Candidate) -> dict[str, float]:
    features = guard.features_of(ASKED)
    nearest = sorted(candidates, key=lambda candidate: -candidate.cosine)
    options = score.cases(features, nearest, dict.fromkeys((candidate.id for candidate in nearest), None))
    return dict(zip(score.NAMES, options[0][1], strict=True))


def test_the_margin_is_to_the_nearest_entry_with_another_answer() -> None:
    values = measured(entry(1, ALIKE[0], 0.9, 1), entry(2, ALIKE[1], 0.88, 1), entry(3, OTHER[0], 0.8, 2))
    assert values["margin"] == pytest.approx(0.1)
    assert values["count"] == pytest.approx(2 / CANDIDATES)
    assert values["overlap"] > 0.9
    assert measured(entry(1, ALIKE[0], 0.9, 1))["margin"] == pytest.approx(0.25)
    crowd = measured(*(entry(number, ALIKE[0], 0.9 - number / 100, 1) for number in range(CANDIDATES)))
    assert crowd["margin"] == pytest.approx(0.07)


def test_strata_follow_how_many_of_the_nearest_have_the_answer_and_how_near_another_is() -> None:
    def stratum(*clusters: int, gap: float) -> str:
        near = [
            entry(number + 1, ALIKE[0], 0.9 - (0 if cluster == 1 else gap), cluster)
            for number, cluster in enumerate(clusters)
        ]
        return score.stratum_of(tuple(measured(*near).values()))

    assert stratum(1, gap=0) == "clear"
    assert stratum(1, 2, gap=0.2) == "clear"
    assert stratum(1, 2, gap=0.1) == "lone"
    assert stratum(1, 1, 2, gap=0.1) == "few"
    assert stratum(*[1] * 5, 2, gap=0.1) == "some"
    assert stratum(*[1] * 8, gap=0.1) == "many"


def test_an_answer_joins_the_cluster_of_the_one_most_like_it_or_begins_its_own() -> None:
    def known(cluster: int, *vector: float) -> Known:
        return Known(UUID(int=cluster), np.array(vector, dtype=np.float32))

    answer = np.array([1, 0], dtype=np.float32)
    side = (1 - 0.95**2) ** 0.5
    assert cluster_of(answer, []) is None
    assert cluster_of(answer, [known(1, 0.95, side), known(2, 1, 0), known(3, 0, 1)]) == UUID(int=2)
    assert cluster_of(answer, [known(3, SAME_ANSWER - 0.01, 0)]) is None
    assert agree(answer, np.array([0.95, side], dtype=np.float32))
    assert not agree(answer, np.array([0, 1], dtype=np.float32))


@pytest.mark.parametrize(
    ("count", "among", "bound"),
    [(0, 300, 0.009936), (1, 100, 0.04656), (8, 1000, 0.01438), (3, 3, 1.0)],
)
def test_the_upper_bound_is_that_of_clopper_and_pearson(count: int, among: int, bound: float) -> None:
    assert upper_bound(count, among) == pytest.approx(bound, rel=2e-3)
    if count < among:
        assert at_most(count, among, upper_bound(count, among)) == pytest.approx(0.05, rel=1e-6)


def labelled(count: int, seed: int = 1) -> list[Asked]:
    """Questions whose one option is right with a chance that is its cosine's."""
    chance = random.Random(seed)
    question, stored = guard.features_of(ASKED), guard.features_of(ALIKE[0])
    questions = []
    for _ in range(count):
        cosine = chance.random()
        right = chance.random() < 1 / (1 + 2.718 ** (-25 * (cosine - 0.6)))
        questions.append(calibration.pair(question, stored, cosine, same_answer=right))
    return questions


@pytest.mark.parametrize("by_stratum", [False, True])
def test_cuts_hold_on_questions_that_were_not_fitted_on(by_stratum: bool) -> None:
    made = calibration.fit(labelled(3000), version="t", embedder="fake", data="made up", by_stratum=by_stratum)
    assert [cut.rate for cut in made.cuts] == [0.01, 0.02, 0.05] or len(made.cuts) == 4
    for cut in made.cuts:
        assert cut.upper_bound <= cut.rate
        assert cut.upper_bound == pytest.approx(upper_bound(cut.wrong, cut.served))
    strict, loose = made.cuts[0], made.cuts[-1]
    assert strict.cut >= loose.cut
    assert strict.served <= loose.served
    again = labelled(3000, seed=2)
    stratum = made.stratum(score.stratum_of(again[0].options[0][0]))
    cut = stratum.cut_for(0.05)
    assert cut is not None
    served = [right for one in again for values, right in one.options if score.score(values, stratum) >= cut.cut]
    assert len(served) > 500
    assert served.count(False) / len(served) <= 0.06
    assert calibration.read(calibration.write(made)) == made


def test_rates_that_are_to_hold_with_other_traffic_too_have_higher_cuts() -> None:
    """Of the other traffic more is wrong where it looks right."""
    held = calibration.fit(labelled(3000), version="t", embedder="fake", data="", by_stratum=True)
    other = [
        replace(one, options=tuple((values, right and number % 60 != 0) for values, right in one.options))
        for number, one in enumerate(labelled(3000, seed=3))
    ]
    made = calibration.recertified(held, other, rates=(0.01, 0.02), version="s", data="both")
    assert (made.version, made.data, made.weights) == ("s", "both", held.weights)
    raised = 0
    for before, after in zip(held.strata, made.strata, strict=True):
        assert after.cut_for(0.05) == before.cut_for(0.05)
        for cut in after.cuts:
            was = next(one for one in before.cuts if one.rate == cut.rate)
            assert cut.cut >= was.cut
            raised += cut.cut > was.cut
    lost = {cut.rate for one in held.strata for cut in one.cuts} - {cut.rate for one in made.strata for cut in one.cuts}
    assert raised or lost
    assert lost <= {0.01, 0.02}
    assert {cut.rate for cut in made.cuts} == {cut.rate for one in made.strata for cut in one.cuts}
    with pytest.raises(BadCalibration, match="at least"):
        calibration.recertified(held, other[:10], rates=(0.01,), version="s", data="")


def test_a_calibration_holds_for_the_languages_it_was_made_from() -> None:
    some = [replace(one, language="fr") if number % 30 == 0 else one for number, one in enumerate(labelled(600))]
    assert calibration.fit(some, version="t", embedder="fake", data="").languages == ("en",)
    half = [replace(one, language="fr") if number % 2 else one for number, one in enumerate(labelled(600))]
    assert calibration.fit(half, version="t", embedder="fake", data="").languages == ("en", "fr")


def test_too_little_or_one_sided_data_is_refused() -> None:
    with pytest.raises(BadCalibration, match="at least"):
        calibration.fit(labelled(calibration.MIN_QUESTIONS - 1), version="t", embedder="fake", data="")
    features = guard.features_of(ASKED)
    alike = [calibration.pair(features, features, 1.0, same_answer=True)] * calibration.MIN_QUESTIONS
    with pytest.raises(BadCalibration, match="some with none"):
        calibration.fit(alike, version="t", embedder="fake", data="")
    for broken in (b"{", b"{}", calibration.write(msgspec.structs.replace(BY_COSINE, weights=(1.0,)))):
        with pytest.raises(BadCalibration):
            calibration.read(broken)


def test_the_shipped_calibration_is_for_this_guard_this_score_and_the_default_embedder() -> None:
    made = calibration.shipped()
    assert made.guard_version == guard.VERSION
    assert made.features == score.NAMES
    assert made.embedder == "all-MiniLM-L6-v2-int8"
    assert tuple(stratum.name for stratum in made.strata) == score.STRATA
    assert made.cut_for(0.01) is not None
    assert made.cut_for(0.004) is None
    for cut in (*made.cuts, *(cut for stratum in made.strata for cut in stratum.cuts)):
        assert cut.upper_bound <= cut.rate
        assert upper_bound(cut.wrong, cut.served) == pytest.approx(cut.upper_bound)
