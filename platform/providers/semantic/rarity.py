"""How rare a word is in English, without a corpus.

The vocabulary of BERT uncased lists its whole words by how often they were seen in what it was trained on, so a word's
place is its rank; a word that isn't in it is among the rarest. By Zipf's law the logarithm of the rank stands for that
of the frequency."""

import math
from functools import lru_cache

from providers.semantic.embedders.minilm import vocabulary

_FIRST, _LAST = 1996, 30_522
"""Where whole words begin, and where the vocabulary ends."""


@lru_cache(maxsize=50_000)
def rarity(word: str) -> float:
    """From 0 (the most frequent) to 1 (not known)."""
    rank = vocabulary().get(word, 0) - _FIRST + 1
    return min(1.0, math.log(rank) / math.log(_LAST - _FIRST)) if rank > 0 else 1.0
