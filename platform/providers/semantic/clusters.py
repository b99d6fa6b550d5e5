"""Which stored answers are the same answer.

Entries form clusters: an entry belongs to that of an entry whose answer it was served from or agreed with, or whose answer
embeds alike. The judge looks for the nearest question with *another* answer, so two answers held for one cost a margin that
was never there, and one held for two costs hits only: the bound here errs to that side."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from providers.semantic.embedders.base import Vectors

SAME_ANSWER = 0.9
"""The cosine from which two answers are one. Answers of a model to one question asked twice are mostly above it,
answers to two questions of one topic below."""


@dataclass(frozen=True, slots=True)
class Known:
    """An entry near the new one's question: its cluster, and its answer's vector (of length 1)."""

    cluster: UUID
    answer: Vectors


def cluster_of(answer: Vectors, existing: Sequence[Known]) -> UUID | None:
    """The cluster of the known answer most like this one (a vector of length 1), or None: it is a new answer.

    `existing` are the entries of the same scope whose questions are near, of the same embedder."""
    if not existing:
        return None
    likeness = np.stack([known.answer for known in existing]) @ answer
    best = int(np.argmax(likeness))
    return existing[best].cluster if likeness[best] >= SAME_ANSWER else None


def agree(answer: Vectors, other: Vectors) -> bool:
    """Whether two answers, by their vectors of length 1, are the same: what an audit asks."""
    return float(np.dot(answer, other)) >= SAME_ANSWER
