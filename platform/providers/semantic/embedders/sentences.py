"""Any model that `sentence-transformers` can load, by name or folder, with its torch or ONNX backend. An extra.

    pip install torch==2.13.0 sentence-transformers

Reimers and Gurevych, "Sentence-BERT" (2019). The name says nothing about the weights' digest: who names a model vouches for
it."""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from providers.semantic.embedders.base import Batcher, Vectors, normalised
from providers.semantic.errors import EmbedderMissing

Backend = Literal["torch", "onnx"]
PREFIX = "sentence-transformers:"
DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
HOW = "Install the extra: pip install torch==2.13.0 sentence-transformers"


class SentenceTransformers:
    """`device` is torch's name of one (`cpu`, `cuda`); None lets the library choose. The model is loaded at the first
    use, or by asking for `dimensions`. Texts are cut at the model's own `max_seq_length`."""

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        backend: Backend = "torch",
        device: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.name = f"{PREFIX}{model}" if backend == "torch" else f"{PREFIX}{model}@{backend}"
        self._model_name, self._backend, self._device = model, backend, device
        self._loading = threading.Lock()
        self._model: Any = None
        self._batcher = Batcher(self.encode, name=self.name, timeout_s=timeout_s)

    @property
    def dimensions(self) -> int:
        """Numbers in a vector. Raises EmbedderMissing."""
        model = self._load()
        read = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
        return int(read())

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1. Raises EmbedderMissing, EmbedderBusy."""
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        return await self._batcher.run(texts)

    def encode(self, texts: list[str]) -> Vectors:
        """The same in the calling thread."""
        rows = self._load().encode(texts, batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False)
        return normalised(np.asarray(rows, dtype=np.float32))

    def _load(self) -> Any:
        with self._loading:
            if self._model is None:
                try:
                    from sentence_transformers import SentenceTransformer
                except ImportError:
                    raise EmbedderMissing(f"The package sentence-transformers is not installed. {HOW}") from None
                try:
                    self._model = SentenceTransformer(self._model_name, backend=self._backend, device=self._device)
                except (OSError, ValueError, ImportError) as error:
                    # Not found, no network to find it in, no such format, or the ONNX backend's packages are missing.
                    raise EmbedderMissing(f"The model {self._model_name} can't be loaded.") from error
        return self._model
