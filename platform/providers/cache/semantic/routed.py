"""A tenant's model for embeddings as an embedder: asked through the pipeline like any request, so its limits, budgets and
bill are those of whoever asks the question."""

from collections.abc import Sequence

import numpy as np

from kernel.ids import uuid7
from providers.cache.semantic.embedding import ROUTE
from providers.cache.semantic.models import MAX_DIMENSIONS
from providers.pipeline import run
from providers.pipeline.accept import accept
from providers.semantic.embedders.base import MAX_TEXT_CHARS, Vectors, normalised
from providers.semantic.errors import EmbedderMissing
from providers.types import EmbeddingRequest
from tenants.principals import Principal

SURFACE = "cache"


class RouteEmbedder:
    """`providers.semantic.embedders.Embedder` by way of a route, for one caller."""

    def __init__(self, principal: Principal, alias: str) -> None:
        self.name = f"{ROUTE}{alias}"
        self._principal = principal
        self._alias = alias
        self._dimensions = 0

    @property
    def dimensions(self) -> int:
        """Of the vectors that came last; 0 before."""
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1. Raises the ParleyErrors of the pipeline, and EmbedderMissing for what are no vectors."""
        job = await accept(
            principal=self._principal,
            request=EmbeddingRequest(self._alias, tuple(text[:MAX_TEXT_CHARS] for text in texts)),
            request_id=uuid7(),
            surface=SURFACE,
        )
        answering = await run.start(job)
        try:
            answer = await answering.answer()
        finally:
            answering.disconnect()
        rows = [np.frombuffer(vector, dtype="<f4") for vector in answer.vectors]
        if len(rows) != len(texts) or len({len(row) for row in rows}) != 1 or not 0 < len(rows[0]) <= MAX_DIMENSIONS:
            raise EmbedderMissing(f"{self._alias} gave no vectors of one length, up to {MAX_DIMENSIONS} numbers.")
        self._dimensions = len(rows[0])
        return normalised(np.stack(rows).astype(np.float32))
