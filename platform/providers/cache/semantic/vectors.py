"""Lists of numbers, as PostgreSQL reads and stores them."""

from collections.abc import Sequence

import numpy as np

from providers.semantic.embedders.base import Vectors

_write = "%.7g".__mod__


def as_vector(row: Vectors) -> str:
    """The literal of pgvector's type."""
    return f"[{','.join(map(_write, row.tolist()))}]"


def as_reals(row: Vectors) -> str:
    """The literal of `real[]`."""
    return f"{{{','.join(map(_write, row.tolist()))}}}"


def from_reals(numbers: Sequence[float]) -> Vectors:
    """What a `real[]` holds."""
    return np.asarray(numbers, dtype=np.float32)
