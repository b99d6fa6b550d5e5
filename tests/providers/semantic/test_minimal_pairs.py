"""Questions that look alike and aren't, and questions that look different and are the same: both sets as they were frozen."""

from collections import Counter
from uuid import UUID

import numpy as np
import pytest

from bench import minimal_pairs
from bench.minimal_pairs import Pair
from providers.semantic import guard
from providers.semantic.calibration import shipped
from providers.semantic.embedders.minilm import MiniLM
from providers.semantic.judge import verdict
from providers.semantic.values import Candidate

pytestmark = pytest.mark.no_database

RATE = 0.01
STEP = 4
"""One pair of so many is looked at here; `bench/cache_quality.py` looks at all."""


def test_the_pairs_are_those_that_were_frozen_before_anything_was_tuned_to_them() -> None:
    frozen = minimal_pairs.frozen()
    pairs, same = minimal_pairs.minimal_pairs(), minimal_pairs.paraphrases()
    assert minimal_pairs.digest(pairs) == frozen["minimal_pairs"]
    assert minimal_pairs.digest(same) == frozen["paraphrases"]
    assert len(pairs) >= 1_500
    assert len(same) == 500
    assert min(Counter(pair.kind for pair in pairs).values()) >= 70
    assert max(minimal_pairs.overlap(pair.stored, pair.asked) for pair in same) <= 0.6


def test_at_one_cut_at_most_one_pair_of_200_is_served_and_half_of_the_paraphrases() -> None:
    model = MiniLM()
    pairs = minimal_pairs.minimal_pairs()[::STEP]
    # Nothing that the guard objects to is ever served, so what is left to embed are those it lets through.
    through = [pair for pair in pairs if not objection(pair)]
    assert len(through) <= 0.005 * len(pairs), through
    assert sum(is_served(model, pair) for pair in through) <= 0.005 * len(pairs)
    same = minimal_pairs.paraphrases()[:: STEP * 2]
    assert sum(is_served(model, pair) for pair in same) >= 0.5 * len(same)


def objection(pair: Pair) -> str | None:
    return guard.disagreement(guard.features_of(pair.stored), guard.features_of(pair.asked))


def is_served(model: MiniLM, pair: Pair) -> bool:
    """Whether the asked question is answered from a store that holds the stored one alone, by the shipped calibration."""
    vectors = model.encode([pair.stored, pair.asked])
    entry = Candidate(UUID(int=1), guard.features_of(pair.stored), float(np.dot(*vectors)), UUID(int=2))
    return verdict(guard.features_of(pair.asked), [entry], calibration=shipped(), rate=RATE).candidate is not None
