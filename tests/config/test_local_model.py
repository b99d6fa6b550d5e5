"""The local model, really run: it answers over HTTP, in pieces, and only with the key."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.llama import MODEL_ALIAS, LocalModel, free_port, llama_spec
from config.embedded.testing import run_child, wait_until_ready

pytestmark = pytest.mark.no_database
QUESTION = {"role": "user", "content": "What is the capital of France?"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    """The model's server, running."""
    local = LocalModel(free_port(), "a-key")
    spec = llama_spec(local)
    with run_child(spec, log=tmp_path_factory.mktemp("llama") / "log") as process:
        wait_until_ready(spec, process)
        yield local


def request(model: LocalModel, path: str, body: dict[str, object] | None = None, key: str = "a-key") -> list[bytes]:
    """The lines of the answer."""
    url = f"http://127.0.0.1:{model.port}{path}"
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Authorization": f"Bearer {key}"})) as answer:
        return list(answer)


def tokens_predicted(model: LocalModel) -> float:
    """llama.cpp's own count of the tokens it made."""
    lines = request(model, "/metrics")
    return next(float(line.split()[1]) for line in lines if line.startswith(b"llamacpp:tokens_predicted_total "))


def test_it_answers_in_pieces_and_counts_them(model: LocalModel) -> None:
    before = tokens_predicted(model)
    lines = request(model, "/v1/chat/completions", {"model": MODEL_ALIAS, "stream": True, "messages": [QUESTION]})
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    pieces = [piece for chunk in chunks if (piece := chunk["choices"][0]["delta"].get("content"))]
    assert len(pieces) >= 3
    assert "Paris" in "".join(pieces)
    assert tokens_predicted(model) > before


def test_what_the_caller_leaves_out_is_repeatable(model: LocalModel) -> None:
    answers = set()
    for _ in range(2):
        (line,) = request(model, "/v1/chat/completions", {"model": MODEL_ALIAS, "messages": [QUESTION]})
        answers.add(json.loads(line)["choices"][0]["message"]["content"])
    assert answers == {"The capital of France is Paris."}


@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_nobody_without_the_key_gets_in(model: LocalModel, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        request(model, path, key="guessed")


def test_the_key_is_in_no_command_line(model: LocalModel) -> None:
    assert model.key not in " ".join(llama_spec(model).command)
    assert model.key not in repr(model)
    assert Path(llama_spec(model).command[-2]).suffix == ".gguf"
