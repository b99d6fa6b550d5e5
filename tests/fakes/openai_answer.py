"""One answer of the fake upstream, plain or streamed, as its script says."""

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.fakes.openai_script import ERRORS, Record, Script


class Cut(Exception):
    """The connection is to be closed here."""


def error_response(fault: str, retry_after: float | None) -> web.Response:
    status, code, message = ERRORS[fault]
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    kind = "invalid_request_error" if status < 429 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)


class Answer:
    """One answer, plain or streamed."""

    def __init__(self, request: web.Request, script: Script, record: Record) -> None:
        self._request = request
        self._script = script
        self._record = record
        text = script.text if script.text is not None else f"You said: {record.prompt}"
        self._pieces = [text[i : i + script.chunk] for i in range(0, len(text), script.chunk)]

    async def send(self) -> web.StreamResponse:
        fault = self._script.fault
        refused = await self._instead(fault)
        if refused is not None:
            self._record.outcome = "fault"
            return refused
        return await (self._stream() if self._record.stream else self._plain())

    async def _instead(self, fault: str | None) -> web.StreamResponse | None:
        """The answer of a fault that lets no real one begin."""
        if fault in ERRORS:
            return error_response(fault, self._script.retry_after)
        match fault:
            case "500_text":
                return web.Response(status=500, text="<h1>Oops</h1>", content_type="text/html")
            case "redirect":
                return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
            case "status":
                return web.Response(status=self._script.status, body=self._script.body.encode())
            case "garbage_body":
                return web.Response(body=b"{not json", content_type="application/json")
            case "hang_before_headers":
                await asyncio.get_running_loop().create_future()
            case "cut_before_headers":
                raise Cut
        return None

    async def _plain(self) -> web.Response:
        script, record = self._script, self._record
        await asyncio.sleep(((script.first_delay_ms or 0) + script.delay_ms * len(self._pieces)) / 1000)
        if script.fault in ("hang", "hang_before_first_token"):
            await asyncio.get_running_loop().create_future()
        if script.fault == "cut":
            raise Cut
        for piece in self._pieces:
            self._sent(piece)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._pieces) or None}
        if script.reasoning:
            message["reasoning_content"] = script.reasoning
        if script.tool_calls:
            message["tool_calls"] = [_call(call) for call in script.tool_calls]
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason(), "logprobs": None}
        body: dict[str, Any] = {
            "object": "chat.completion",
            "created": 1,
            "model": record.model,
            "choices": [choice],
        }
        if script.id:
            body["id"] = record.id
        if script.usage != "never":
            body["usage"] = self._usage()
        return web.json_response(body)

    async def _stream(self) -> web.StreamResponse:
        script = self._script
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(self._request)
        if script.fault == "hang_before_first_token":
            await asyncio.get_running_loop().create_future()
        if script.role:
            await self._write(response, self._chunk({"role": "assistant", "content": ""}))
        if script.reasoning:
            await self._write(response, self._chunk(self._delta(reasoning_content=script.reasoning)))
        for number, piece in enumerate(self._pieces):
            if await self._ended_here(response, number):
                return response
            first = number == 0 and script.first_delay_ms is not None
            await asyncio.sleep((script.first_delay_ms or 0 if first else script.delay_ms) / 1000)
            if script.comments:
                await self._raw(response, b": PROCESSING\n\n")
            await self._write(response, self._chunk({"content": piece}))
            self._sent(piece)
        if await self._ended_here(response, len(self._pieces)):
            return response
        await self._write_calls(response)
        await self._write_end(response)
        if script.hang_at_end:
            await asyncio.get_running_loop().create_future()
        await response.write_eof()
        return response

    def _sent(self, piece: str) -> None:
        self._record.text += piece
        self._record.chunks += 1
        if self._script.completion_tokens is None:
            self._record.completion_tokens += 1
        else:
            self._record.completion_tokens = self._script.completion_tokens

    async def _ended_here(self, response: web.StreamResponse, sent: int) -> bool:
        """Do what the script's fault does after so many chunks; whether the stream ended properly by it."""
        script = self._script
        if script.fault is None or sent != min(script.fault_after, len(self._pieces)):
            return False
        self._record.outcome = "fault"
        match script.fault:
            case "end":
                await response.write_eof()
                return True
            case "hang":
                self._record.outcome = "open"
                await asyncio.get_running_loop().create_future()
            case "cut":
                await response.write(b'data: {"id":"x","choi')
                raise Cut
            case "garbage":
                await self._raw(response, b"data: {this is not json}\n\n")
            case "error_frame":
                error = {"message": "The server had an error.", "type": "server_error", "code": None}
                await self._write(response, {"error": error})
            case "huge_frame":
                while True:
                    await response.write(b"data: " + b"x" * 65_536)
        raise Cut

    async def _write_calls(self, response: web.StreamResponse) -> None:
        for index, call in enumerate(self._script.tool_calls):
            opening = _call({**call, "arguments": ""}) | {"index": index}
            await self._write(response, self._chunk(self._delta(tool_calls=[opening])))
            arguments = call["arguments"]
            for i in range(0, len(arguments), self._script.chunk):
                piece = {"index": index, "function": {"arguments": arguments[i : i + self._script.chunk]}}
                await self._write(response, self._chunk(self._delta(tool_calls=[piece])))

    async def _write_end(self, response: web.StreamResponse) -> None:
        script = self._script
        reason = self._finish_reason()
        if reason is not None:
            await self._write(response, self._chunk(self._delta(), finish_reason=reason))
        if script.usage == "always" or (script.usage == "asked" and self._asked_for_usage()):
            usage = self._usage()
            await self._write(response, {**self._chunk({}), "choices": [], "usage": usage})
        if script.done:
            await self._raw(response, b"data: [DONE]\n\n")

    def _asked_for_usage(self) -> bool:
        return bool((self._record.body.get("stream_options") or {}).get("include_usage"))

    def _finish_reason(self) -> str | None:
        if self._script.finish_reason == "":
            return "tool_calls" if self._script.tool_calls else "stop"
        return self._script.finish_reason

    def _usage(self) -> dict[str, Any]:
        record, script = self._record, self._script
        record.reported = True
        return {
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "total_tokens": record.prompt_tokens + record.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": script.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        }

    def _delta(self, **fields: Any) -> dict[str, Any]:
        return {"content": None, **fields} if self._script.null_content else fields

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        chunk: dict[str, Any] = {"id": self._record.id} if self._script.id else {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return chunk | {
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self._record.model,
            "choices": [choice],
        }

    async def _write(self, response: web.StreamResponse, frame: dict[str, Any]) -> None:
        data = json.dumps(frame, ensure_ascii=False).encode()
        await self._raw(response, b"data: " + data + b"\n\n")

    async def _raw(self, response: web.StreamResponse, data: bytes) -> None:
        if self._script.crlf:
            data = data.replace(b"\n", b"\r\n")
        step = self._script.split or len(data)
        for i in range(0, len(data), step):
            await response.write(data[i : i + step])
            if self._script.split:
                await asyncio.sleep(0)


def _call(call: dict[str, str]) -> dict[str, Any]:
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": call["name"], "arguments": call["arguments"]},
    }
