"""Texts to vectors: the pinned model, its thread, and what happens when something is missing or too much."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from providers.semantic import embedders
from providers.semantic.embedders import integers
from providers.semantic.embedders.base import Batcher, Vectors
from providers.semantic.embedders.minilm import MiniLM
from providers.semantic.errors import EmbedderBusy, EmbedderMissing

pytestmark = pytest.mark.no_database

ASKED = ["How do I activate my card?", "What is the way to activate a card?", "Is the port open?"]


async def test_questions_that_mean_the_same_are_near_and_each_vector_has_length_one() -> None:
    vectors = await embedders.get().embed(ASKED)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.85
    assert vectors[0] @ vectors[2] < 0.3


async def test_a_text_has_the_same_vector_alone_and_among_others() -> None:
    embedder = embedders.get()
    together = await embedder.embed([*ASKED, "a much longer text " * 20])
    alone = np.concatenate([await embedder.embed([text]) for text in ASKED])
    assert np.min(np.sum(together[:3] * alone, axis=1)) > 0.9999


async def test_what_is_past_256_tokens_is_not_seen() -> None:
    long = "word " * 254
    vectors = await embedders.get().embed([long, long + "and then something else entirely"])
    assert vectors[0] @ vectors[1] > 0.99999


async def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "model.onnx"
    wrong.write_bytes(b"something else")
    with pytest.raises(EmbedderMissing, match="not the one that was measured"):
        await MiniLM(model=wrong).embed(["hello"])
    with pytest.raises(EmbedderMissing, match="can't be read"):
        await MiniLM(model=tmp_path / "none").embed(["hello"])


async def test_no_texts_have_no_vectors() -> None:
    assert (await embedders.get().embed([])).shape == (0, 384)


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(EmbedderMissing, match="nobody"):
        embedders.get("nobody")


async def test_the_fake_needs_nothing_and_never_changes() -> None:
    fake = embedders.get(embedders.FAKE)
    vectors = await fake.embed(["open the door", "the door, open!", "something else", ""])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.4
    assert np.array_equal(
        vectors, await embedders.get(embedders.FAKE).embed(["open the door", "the door, open!", "something else", ""])
    )


def rows(texts: list[str]) -> Vectors:
    return np.array([[len(text)] for text in texts], dtype=np.float32)


@pytest.mark.parametrize(("waiting", "expected"), [(12, [1, 24]), (4, [1, 2, 2, 2, 2])])
async def test_calls_that_wait_are_done_together_and_each_gets_its_own(waiting: int, expected: list[int]) -> None:
    began, go_on = threading.Event(), threading.Event()
    batches: list[int] = []

    def encode(texts: list[str]) -> Vectors:
        batches.append(len(texts))
        began.set()
        go_on.wait(30)
        return rows(texts)

    batcher = Batcher(encode, name="test")
    first = asyncio.create_task(batcher.run(["a"]))
    await asyncio.to_thread(began.wait, 30)
    others = [asyncio.create_task(batcher.run(["b" * size, "c"])) for size in range(waiting)]
    await asyncio.sleep(0)
    go_on.set()
    assert (await first).tolist() == [[1]]
    assert [found.tolist() for found in await asyncio.gather(*others)] == [[[size], [1]] for size in range(waiting)]
    assert batches == expected


async def test_too_many_waiting_and_too_long_a_wait_are_refused_and_the_thread_goes_on() -> None:
    began, go_on = threading.Event(), threading.Event()

    def encode(texts: list[str]) -> Vectors:
        began.set()
        go_on.wait(30)
        return rows(texts)

    batcher = Batcher(encode, name="test", max_waiting=1, timeout_s=0.05)
    stuck = asyncio.create_task(batcher.run(["a"]))
    await asyncio.to_thread(began.wait, 30)
    waiting = asyncio.create_task(batcher.run(["b"]))
    await asyncio.sleep(0)
    with pytest.raises(EmbedderBusy):
        await batcher.run(["c"])
    for call in (stuck, waiting):
        with pytest.raises(EmbedderBusy, match="too long"):
            await call
    go_on.set()
    patient = Batcher(encode, name="test")
    assert (await patient.run(["dd"])).tolist() == [[2]]


async def test_what_the_model_raises_reaches_each_caller_and_only_them() -> None:
    def encode(texts: list[str]) -> Vectors:
        if "bad" in texts:
            raise ValueError("bad text")
        return rows(texts)

    batcher = Batcher(encode, name="test")
    with pytest.raises(ValueError, match="bad text"):
        await batcher.run(["bad"])
    assert (await batcher.run(["good"])).tolist() == [[4]]


def test_callers_on_several_loops_share_one_thread() -> None:
    threads: set[str] = set()

    def encode(texts: list[str]) -> Vectors:
        threads.add(threading.current_thread().name)
        return rows(texts)

    batcher = Batcher(encode, name="test")
    found: list[list[list[float]]] = []
    callers = [
        threading.Thread(target=lambda: found.append(asyncio.run(batcher.run(["abc"])).tolist())) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert found == [[[3]]] * 3
    assert threads == {"embedder test"}


async def test_a_long_run_of_the_model_leaves_the_event_loop_free() -> None:
    done = asyncio.Event()
    lags: list[float] = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while not done.is_set():
            began = loop.time()
            await asyncio.sleep(0.001)
            lags.append(loop.time() - began - 0.001)

    embedder = embedders.get()
    await embedder.embed(ASKED)
    watching = asyncio.create_task(watch())
    await embedder.embed([f"{text} {number}" for number in range(40) for text in ASKED])
    done.set()
    await watching
    assert len(lags) > 20
    assert sorted(lags)[len(lags) // 2] < 0.005


async def test_products_of_integers_give_the_vectors_that_products_of_floats_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [*ASKED, "No, not card 4,711!", "a much longer text " * 30, "x", "Wie aktiviere ich meine Karte?", "猫"]
    told = await MiniLM().embed(texts)
    monkeypatch.setattr(integers, "adds_up_exactly", lambda: False)
    assert np.min(np.sum(told * await MiniLM().embed(texts), axis=1)) > 0.99999


def test_a_model_without_int8_weights_is_refused() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    model = helper.make_model(helper.make_graph([node], "plain", [x], [y]))
    with pytest.raises(ValueError, match="no int8 weights"):
        integers.with_integer_products(model.SerializeToString())
