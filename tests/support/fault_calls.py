"""Requests of the three APIs as plain HTTP, read without mercy: what isn't said as the API says it doesn't count."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
MAX_TOKENS = 1_000

Ended = Literal["complete", "refused", "error frame", "cut", "unread"]


@dataclass
class Heard:
    """What a caller heard. `ended`: by the end of the answer; by an HTTP status other than 200; by an error in the
    stream; by nothing of the kind; or it could not be read at all, and `error` says why."""

    ended: Ended = "cut"
    status: int = 0
    request_id: str = ""
    error: str = ""
    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    tokens: tuple[int, int] | None = None
    took_s: float = 0.0


async def call(
    session: aiohttp.ClientSession, *, api: str, model: str, prompt: str, stream: bool, patience_s: float
) -> Heard:
    """Ask, and hear it out, for `patience_s` at most."""
    heard = Heard()
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience_s):
            async with session.post(PATHS[api], json=_body(api, model, prompt, stream=stream)) as response:
                heard.status = response.status
                heard.request_id = response.headers.get("x-request-id", "")
                if response.status != 200:
                    said = (await response.json())["error"]
                    heard.ended, heard.error = "refused", f"{said.get('code') or said['type']}: {said['message']}"
                elif stream:
                    await _STREAMED[api](response, heard)
                else:
                    _WHOLE[api](await response.json(), heard)
    except TimeoutError:
        heard.ended, heard.error = "unread", "no end in time"
    except (aiohttp.ClientError, ValueError, KeyError, TypeError, IndexError) as error:
        heard.ended, heard.error = "unread", repr(error)
    heard.took_s = time.monotonic() - began
    return heard


def _body(api: str, model: str, prompt: str, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "stream": stream}
    if api == "responses":
        return body | {"input": prompt, "store": False}
    body["messages"] = [{"role": "user", "content": prompt}]
    if api == "messages":
        return body | {"max_tokens": MAX_TOKENS}
    return body | ({"stream_options": {"include_usage": True}} if stream else {})


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield line[6:].decode().rstrip("\n")


async def _chat_stream(response: aiohttp.ClientResponse, heard: Heard) -> None:
    calls: dict[int, list[str]] = {}
    finished = False
    async for data in _events(response):
        if data == "[DONE]":
            heard.ended = "complete" if finished else "cut"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            heard.ended, heard.error = "error frame", chunk["error"]["code"]
            return
        if chunk.get("usage"):
            heard.tokens = (chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"])
        for choice in chunk["choices"]:
            finished = finished or choice["finish_reason"] is not None
            heard.text += choice["delta"].get("content") or ""
            for piece in choice["delta"].get("tool_calls") or ():
                known = calls.setdefault(piece["index"], ["", ""])
                known[0] += piece["function"].get("name") or ""
                known[1] += piece["function"].get("arguments") or ""
    heard.calls = [(name, json.loads(arguments)) for name, arguments in calls.values()] if finished else []


def _chat_whole(body: Any, heard: Heard) -> None:
    (choice,) = body["choices"]
    message = choice["message"]
    heard.text = message["content"] or ""
    called = [call["function"] for call in message.get("tool_calls") or ()]
    heard.calls = [(function["name"], json.loads(function["arguments"])) for function in called]
    heard.tokens = (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
    heard.ended = "complete" if choice["finish_reason"] else "cut"


async def _responses_stream(response: aiohttp.ClientResponse, heard: Heard) -> None:
    async for data in _events(response):
        event = json.loads(data)
        if event["type"] == "response.output_text.delta":
            heard.text += event["delta"]
        elif event["type"] == "response.failed":
            heard.ended, heard.error = "error frame", event["response"]["error"]["code"]
        elif event["type"] == "response.completed":
            pieces = heard.text
            _responses_whole(event["response"], heard)
            if pieces != heard.text:
                heard.ended, heard.error = "unread", f"the pieces said {pieces!r}, the whole {heard.text!r}"


def _responses_whole(body: Any, heard: Heard) -> None:
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    heard.text = "".join(part["text"] for part in parts)
    called = [item for item in body["output"] if item["type"] == "function_call"]
    heard.calls = [(item["name"], json.loads(item["arguments"])) for item in called]
    heard.tokens = (body["usage"]["input_tokens"], body["usage"]["output_tokens"])
    heard.ended = "complete" if body["status"] == "completed" else "cut"


async def _messages_stream(response: aiohttp.ClientResponse, heard: Heard) -> None:
    arguments: dict[int, list[str]] = {}
    usage: dict[str, int] = {}
    async for data in _events(response):
        event = json.loads(data)
        match event["type"]:
            case "message_start":
                usage |= event["message"]["usage"]
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                arguments[event["index"]] = [event["content_block"]["name"], ""]
            case "content_block_delta":
                heard.text += event["delta"].get("text", "")
                if event["index"] in arguments:
                    arguments[event["index"]][1] += event["delta"].get("partial_json", "")
            case "message_delta":
                usage |= event["usage"]
            case "message_stop":
                heard.ended = "complete"
            case "error":
                heard.ended, heard.error = "error frame", event["error"]["type"]
                return
    if heard.ended == "complete":
        heard.calls = [(name, json.loads(said)) for name, said in arguments.values()]
        heard.tokens = (usage["input_tokens"], usage["output_tokens"])


def _messages_whole(body: Any, heard: Heard) -> None:
    heard.text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    heard.calls = [(block["name"], block["input"]) for block in body["content"] if block["type"] == "tool_use"]
    heard.tokens = (body["usage"]["input_tokens"], body["usage"]["output_tokens"])
    heard.ended = "complete" if body["stop_reason"] else "cut"


_STREAMED = {"chat": _chat_stream, "responses": _responses_stream, "messages": _messages_stream}
_WHOLE = {"chat": _chat_whole, "responses": _responses_whole, "messages": _messages_whole}
