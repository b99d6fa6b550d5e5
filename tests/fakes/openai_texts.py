"""Answers of the fake upstream in OpenAI's formats other than chat: legacy completions and embeddings."""

import base64
import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.fakes.answer import frame
from tests.fakes.openai_answer import OpenAIAnswer
from tests.fakes.script import Record, Script

DIMENSIONS = 8


def vector_of(item: str | list[int], dimensions: int = DIMENSIONS) -> tuple[float, ...]:
    """The vector of an input: the same for the same one, different for others, numbers that a float32 holds."""
    key = json.dumps(item).encode()
    digests = (hashlib.sha256(key + bytes([number])).digest()[:2] for number in range(dimensions))
    return tuple(int.from_bytes(digest, signed=True) / 32_768 for digest in digests)


class EmbeddingsAnswer(OpenAIAnswer):
    """Vectors, in the encoding that was asked for, the last one first: their numbers tell whose they are."""

    def __init__(self, request: web.Request, script: Script, record: Record) -> None:
        super().__init__(request, script, record)
        self._pieces = []

    def body(self) -> dict[str, Any]:
        asked = self._record.body
        given = asked["input"]
        inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        data = [
            {"object": "embedding", "index": number, "embedding": self._encoded(item)}
            for number, item in enumerate(inputs)
        ]
        body: dict[str, Any] = {"object": "list", "data": data[::-1], "model": self._record.model}
        if self._script.usage != "never":
            tokens = self._record.prompt_tokens
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
            self._record.reported = True
        return body

    def _encoded(self, item: str | list[int]) -> str | tuple[float, ...]:
        vector = vector_of(item, self._record.body.get("dimensions", DIMENSIONS))
        if self._record.body.get("encoding_format") != "base64":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class TextAnswer(OpenAIAnswer):
    """A legacy completion, plain or streamed, of `n` choices or several prompts that all say the same."""

    def __init__(self, request: web.Request, script: Script, record: Record) -> None:
        super().__init__(request, script, record)
        body = record.body
        text = script.text if script.text is not None else f" and so on{body.get('suffix') or ''}"
        if body.get("echo"):
            text = record.prompt + text
        self._pieces = [text[i : i + script.chunk] for i in range(0, len(text), script.chunk)]
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        self._choices = body.get("n", 1) * (1 if isinstance(prompts[0], int) else len(prompts))

    def body(self) -> dict[str, Any]:
        choices = [self._choice(index, self._record.text, "stop") for index in range(self._choices)]
        return {**self._head(choices), "usage": self._usage()}

    def opening(self) -> Iterator[bytes]:
        yield from ()

    def piece(self, text: str) -> bytes:
        return b"".join(frame(self._head([self._choice(index, text, None)])) for index in range(self._choices))

    def ending(self) -> Iterator[bytes]:
        for index in range(self._choices):
            yield frame(self._head([self._choice(index, "", "stop")]))
        if self._script.usage == "always" or self._asked_for_usage():
            yield frame({**self._head([]), "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def _head(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._record.id, "object": "text_completion", "created": 1, "model": self._record.model}
        return {**head, "choices": choices}

    def _choice(self, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
        logprobs = None
        if self._record.body.get("logprobs") is not None and text:
            logprobs = {
                "tokens": [text],
                "token_logprobs": [-0.5],
                "top_logprobs": [{text: -0.5}],
                "text_offset": [0],
            }
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


class FillAnswer(OpenAIAnswer):
    """What stands between a prompt and a suffix, in the shape of a chat completion."""

    def __init__(self, request: web.Request, script: Script, record: Record) -> None:
        super().__init__(request, script, record)
        text = script.text if script.text is not None else f" and so on{record.body.get('suffix') or ''}"
        self._pieces = [text[i : i + script.chunk] for i in range(0, len(text), script.chunk)]
