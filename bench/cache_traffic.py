"""Traffic for a semantic cache, from questions whose intent is known, through the product's own modules.

A store is filled question by question: each entry has its features, its vector and its answer's cluster, which
`clusters.cluster_of` finds among the answers of the 8 nearest entries, as it would be. Then other questions are asked:
the 8 nearest entries are their candidates. For want of real answers, the answer of an intent is its name."""

import csv
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt

from providers.semantic import clusters, eligibility, guard
from providers.semantic.calibration import Asked, asked
from providers.semantic.embedders.minilm import MiniLM
from providers.semantic.score import NEAREST
from providers.semantic.values import Candidate, Features

Vectors = npt.NDArray[np.float32]

OUT_OF_SCOPE = frozenset(("oos", "out_of_scope", "out-of-scope", "ood"))
"""Categories of questions that no answer is stored for."""
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Questions:
    """Labelled questions, with what the judgement makes of each."""

    texts: tuple[str, ...]
    intents: tuple[str, ...]
    vectors: Vectors
    features: tuple[Features, ...]
    eligible: tuple[bool, ...]
    answers: dict[str, Vectors]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that is asked of a store: its number among the questions, whether its intent is in the store, its
    candidates (none if it isn't eligible), and the nearest entries all the same."""

    number: int
    in_scope: bool
    candidates: tuple[Candidate, ...]
    everything: tuple[Candidate, ...]
    right: Callable[[Candidate], bool]


def embed(texts: Sequence[str], *, folder: Path | None, threads: int) -> Vectors:
    """The texts' vectors by the default embedder, from `folder` if they were made before."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    kept = folder / f"{digest}.npy" if folder else None
    if kept and kept.exists():
        found: Vectors = np.load(kept)
        return found
    model = MiniLM(threads=threads)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    vectors: Vectors = np.zeros((len(texts), model.dimensions), dtype=np.float32)
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        vectors[part] = model.encode([texts[index] for index in part])
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, vectors)
    return vectors


def load(path: Path, *, folder: Path | None, threads: int) -> Questions:
    """The questions of a CSV file with the columns `text` and `category`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(row["text"].strip(), row["category"].strip()) for row in csv.DictReader(file)]
    texts, intents = tuple(text for text, _ in rows), tuple(intent for _, intent in rows)
    names = sorted(set(intents))
    answers = embed([name.replace("_", " ") for name in names], folder=folder, threads=threads)
    return Questions(
        texts,
        intents,
        embed(texts, folder=folder, threads=threads),
        tuple(guard.features_of(text) for text in texts),
        tuple(eligibility.why_not(text) is None for text in texts),
        dict(zip(names, answers, strict=True)),
    )


def halves(questions: Questions) -> tuple[frozenset[str], frozenset[str]]:
    """The intents for calibrating, and those for measuring; out-of-scope questions belong to both by halves of their
    number."""
    intents = sorted(set(questions.intents) - OUT_OF_SCOPE)
    random.Random(5).shuffle(intents)
    middle = (len(intents) + 1) // 2
    return frozenset(intents[:middle]), frozenset(intents[middle:])


def traffic(
    questions: Questions,
    intents: frozenset[str],
    *,
    per_intent: int | None,
    left_out: float = 0.0,
    folds: int = 5,
    seed: int = 1,
) -> Iterator[Ask]:
    """Every question of the intents is asked once, of a store of `per_intent` others of each intent (None: all others,
    four fifths).

    The share `left_out` of the intents isn't stored at all; with each fold it is others. Questions of `OUT_OF_SCOPE`
    are asked too."""
    of_intent: dict[str, list[int]] = {}
    for number, intent in enumerate(questions.intents):
        of_intent.setdefault(intent, []).append(number)
    for fold in range(folds):
        chance = random.Random(seed * 1000 + fold)
        names = sorted(intents)
        chance.shuffle(names)
        absent = set(names[: int(len(names) * left_out)])
        store, ask = [], []
        for name in sorted(intents) + sorted(OUT_OF_SCOPE & of_intent.keys()):
            numbers = sorted(of_intent[name], key=lambda number: hashlib.sha256(f"{seed}{number}".encode()).digest())
            mine = numbers[fold::folds]
            ask += mine
            if name not in absent and name not in OUT_OF_SCOPE:
                others = sorted(set(numbers) - set(mine))
                chance.shuffle(others)
                store += others[:per_intent]
        yield from _asked_of(questions, store, ask, chance)


def _asked_of(questions: Questions, store: list[int], ask: list[int], chance: random.Random) -> Iterator[Ask]:
    chance.shuffle(store)
    entries = _entries(questions, store)
    stored = {questions.intents[number] for number in store}
    kept = questions.vectors[store]
    for number in ask:
        near = _nearest(kept @ questions.vectors[number])
        candidates = tuple(
            Candidate(UUID(int=store[place] + 1), questions.features[store[place]], cosine, entries[place])
            for place, cosine in near
        )
        intent = questions.intents[number]
        yield Ask(
            number,
            intent in stored,
            candidates if questions.eligible[number] else (),
            candidates,
            lambda candidate, intent=intent: questions.intents[candidate.id.int - 1] == intent,  # type: ignore[misc]
        )


def _entries(questions: Questions, store: list[int]) -> list[UUID]:
    """The cluster of each entry, found as entries are written one after the other."""
    found: list[UUID] = []
    kept = questions.vectors[store]
    answers = np.stack([questions.answers[questions.intents[number]] for number in store])
    for place in range(len(store)):
        near = _nearest(kept[:place] @ kept[place]) if place else []
        known = [clusters.Known(found[other], answers[other]) for other, _ in near]
        found.append(clusters.cluster_of(answers[place], known) or UUID(int=place + 1))
    return found


def _nearest(cosines: Vectors) -> list[tuple[int, float]]:
    count = min(NEAREST, len(cosines))
    near = np.argpartition(-cosines, count - 1)[:count]
    return [(int(place), float(cosines[place])) for place in near[np.argsort(-cosines[near])]]


def labelled(questions: Questions, asks: Sequence[Ask]) -> list[Asked]:
    """The asks, as `calibration.fit` wants them."""
    return [
        asked(questions.features[ask.number], ask.candidates, ask.right) if ask.candidates else Asked(())
        for ask in asks
    ]


def tiny_scopes(questions: Questions, intents: frozenset[str], *, count: int, seed: int = 9) -> Iterator[Ask]:
    """`count` questions, each asked of a store of its own that holds one to three entries; of half of them no answer is
    stored."""
    chance = random.Random(seed)
    names = sorted(intents)
    of_intent: dict[str, list[int]] = {name: [] for name in names}
    for number, intent in enumerate(questions.intents):
        if intent in of_intent and questions.eligible[number]:
            of_intent[intent].append(number)
    for _ in range(count):
        drawn = chance.sample(names, chance.randint(1, 3))
        store = [chance.choice(of_intent[name]) for name in drawn]
        asked_of = chance.choice(drawn) if chance.random() < 0.5 else chance.choice(names)
        number = chance.choice(of_intent[asked_of])
        if number not in store:
            yield from _asked_of(questions, store, [number], chance)
