"""An embedder of no model: the words of a text, hashed into a vector. For tests and demonstrations."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from providers.semantic.embedders.base import Vectors, normalised

NAME = "fake"
DIMENSIONS = 384
_WORD = re.compile(r"\w+")


class Fake:
    """The same text always has the same vector, and texts are the more alike the more words they share."""

    name = NAME
    dimensions = DIMENSIONS

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1."""
        rows: Vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in _WORD.findall(text.casefold()) or [text]:
                digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                row[int.from_bytes(digest[:4]) % DIMENSIONS] += 1 if digest[4] & 1 else -1
        return normalised(rows)
