"""Texts to vectors, behind one interface: `get(name)`."""

from functools import cache

from providers.semantic.embedders.base import Embedder, Vectors
from providers.semantic.embedders.fake import NAME as FAKE
from providers.semantic.embedders.fake import Fake
from providers.semantic.embedders.minilm import NAME as DEFAULT
from providers.semantic.embedders.minilm import MiniLM
from providers.semantic.embedders.sentences import PREFIX, SentenceTransformers
from providers.semantic.errors import EmbedderMissing

__all__ = ["DEFAULT", "FAKE", "Embedder", "Vectors", "get"]


@cache
def get(name: str = DEFAULT) -> Embedder:
    """The embedder of that name, one a process: `DEFAULT`, `FAKE`, or `sentence-transformers:MODEL` (`…@onnx` for that
    backend).

    Nothing is loaded before the first text. Raises EmbedderMissing for a name that nobody has."""
    if name == DEFAULT:
        return MiniLM()
    if name == FAKE:
        return Fake()
    if name.startswith(PREFIX):
        model = name.removeprefix(PREFIX)
        if model.endswith("@onnx"):
            return SentenceTransformers(model.removesuffix("@onnx"), backend="onnx")
        return SentenceTransformers(model)
    raise EmbedderMissing(f"There is no embedder named {name}.")
