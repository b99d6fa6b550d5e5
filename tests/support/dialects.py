"""The official clients behind one face: what is asked is the same for each, and so is the form of what they parsed."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = "weather"
TOOL_TEXT = "The weather of a city."
CAP_TOKENS = 500


@dataclass(frozen=True)
class Call:
    """A tool call, as a client parsed it."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True)
class Said:
    """An answer, as a client parsed it. `turn` is what its caller sends back as the assistant's turn."""

    text: str
    calls: tuple[Call, ...]
    ended: str
    tokens: tuple[int, int]
    turn: Any


class Client(ABC):
    """One client. Answers come whole, or are put together from a stream by the client's own means."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @abstractmethod
    def ask(self, model: str, prompt: str, *, system: str, stream: bool, tools: bool = False) -> Said:
        """The answer to a prompt."""

    @abstractmethod
    def answer_calls(self, model: str, prompt: str, said: Said, results: Sequence[str], *, stream: bool) -> Said:
        """What is said when the calls of `said` have these results."""


class ChatClient(Client):
    """`openai`, by chat completions."""

    def ask(self, model: str, prompt: str, *, system: str, stream: bool, tools: bool = False) -> Said:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return self._send(model, messages, stream=stream, tools=tools)

    def answer_calls(self, model: str, prompt: str, said: Said, results: Sequence[str], *, stream: bool) -> Said:
        answers = [
            {"role": "tool", "tool_call_id": call.id, "content": result}
            for call, result in zip(said.calls, results, strict=True)
        ]
        return self._send(model, [{"role": "user", "content": prompt}, said.turn, *answers], stream=stream, tools=True)

    def _send(self, model: str, messages: list[Any], *, stream: bool, tools: bool) -> Said:
        function = {"name": TOOL, "description": TOOL_TEXT, "parameters": SCHEMA}
        asked: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": CAP_TOKENS}
        if tools:
            asked["tools"] = [{"type": "function", "function": function}]
        if stream:
            with self._client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                answer = events.until_done().get_final_completion()
        else:
            answer = self._client.chat.completions.create(**asked)
        (choice,) = answer.choices
        called = choice.message.tool_calls or ()
        return Said(
            text=choice.message.content or "",
            calls=tuple(Call(c.id, c.function.name, json.loads(c.function.arguments)) for c in called),
            ended=choice.finish_reason,
            tokens=(answer.usage.prompt_tokens, answer.usage.completion_tokens),
            turn=choice.message,
        )


class ResponsesClient(Client):
    """`openai`, by responses that nobody keeps."""

    def ask(self, model: str, prompt: str, *, system: str, stream: bool, tools: bool = False) -> Said:
        asked = [{"role": "user", "content": prompt}]
        return self._send(model, asked, stream=stream, tools=tools, instructions=system)

    def answer_calls(self, model: str, prompt: str, said: Said, results: Sequence[str], *, stream: bool) -> Said:
        answers = [
            {"type": "function_call_output", "call_id": call.id, "output": result}
            for call, result in zip(said.calls, results, strict=True)
        ]
        return self._send(model, [{"role": "user", "content": prompt}, *said.turn, *answers], stream=stream, tools=True)

    def _send(self, model: str, asked: list[Any], *, stream: bool, tools: bool, **fields: Any) -> Said:
        fields |= {"model": model, "input": asked, "store": False, "max_output_tokens": CAP_TOKENS}
        if tools:
            function = {"name": TOOL, "description": TOOL_TEXT, "parameters": SCHEMA, "strict": False}
            fields["tools"] = [{"type": "function", **function}]
        if stream:
            with self._client.responses.stream(**fields) as events:
                answer = events.until_done().get_final_response()
        else:
            answer = self._client.responses.create(**fields)
        calls = [item for item in answer.output if item.type == "function_call"]
        return Said(
            text=answer.output_text,
            calls=tuple(Call(c.call_id, c.name, json.loads(c.arguments)) for c in calls),
            ended=answer.status,
            tokens=(answer.usage.input_tokens, answer.usage.output_tokens),
            turn=answer.output,
        )


class MessagesClient(Client):
    """`anthropic`."""

    def ask(self, model: str, prompt: str, *, system: str, stream: bool, tools: bool = False) -> Said:
        asked = {"system": system, "messages": [{"role": "user", "content": prompt}]}
        return self._send(model, asked, stream=stream, tools=tools)

    def answer_calls(self, model: str, prompt: str, said: Said, results: Sequence[str], *, stream: bool) -> Said:
        answers = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in zip(said.calls, results, strict=True)
        ]
        turns = [{"role": "user", "content": prompt}, said.turn, {"role": "user", "content": answers}]
        return self._send(model, {"messages": turns}, stream=stream, tools=True)

    def _send(self, model: str, asked: dict[str, Any], *, stream: bool, tools: bool) -> Said:
        asked = {"model": model, "max_tokens": CAP_TOKENS, **asked}
        if tools:
            asked["tools"] = [{"name": TOOL, "description": TOOL_TEXT, "input_schema": SCHEMA}]
        if stream:
            with self._client.messages.stream(**asked) as events:
                answer = events.get_final_message()
        else:
            answer = self._client.messages.create(**asked)
        blocks = [block.model_dump(exclude_none=True, include=_KEPT) for block in answer.content]
        return Said(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            calls=tuple(Call(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"),
            ended=answer.stop_reason,
            tokens=(answer.usage.input_tokens, answer.usage.output_tokens),
            turn={"role": "assistant", "content": answer.content},
        )


_KEPT = {"type", "text", "id", "name", "input"}

CLIENTS: dict[str, type[Client]] = {"chat": ChatClient, "responses": ResponsesClient, "messages": MessagesClient}
"""By the API that they call."""


@contextmanager
def connected(api: str, url: str, api_key: str) -> Iterator[Client]:
    """The client of an API, at the platform of this URL. It never retries by itself."""
    kind = CLIENTS[api]
    if kind is MessagesClient:
        with anthropic.Anthropic(base_url=url, api_key=api_key, max_retries=0) as client:
            yield kind(client)
    else:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0) as client:
            yield kind(client)
