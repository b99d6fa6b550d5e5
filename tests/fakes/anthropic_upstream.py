"""An upstream that speaks Anthropic's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /v1/models                   the models of `models`, in pages
    POST /v1/messages                 plain and streamed
    POST /v1/messages/count_tokens    a token per word, counted in `counts`

Of a script, `reasoning` comes as a thinking block with `signature`; "redacted" as a redacted one whose data that is.
How it is run and told what to do is described in `upstream`.
"""

from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.fakes.anthropic_answer import AnthropicAnswer
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in


class AnthropicUpstream(Upstream):
    """The server and its account. `counts` are the bodies whose tokens were asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.counts: list[dict[str, Any]] = []

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/v1/messages", self._messages)
        router.add_post("/v1/messages/count_tokens", self._count)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("x-api-key") == self.api_key

    def reset(self) -> None:
        super().reset()
        self.counts.clear()

    def _refused(self, request: web.Request) -> web.Response | None:
        """The answer to a request that carries the wrong key, or doesn't say which version of the API it speaks."""
        known = request.headers.get("anthropic-version") == "2023-06-01"
        return self.unauthorized(request, AnthropicAnswer) if known else AnthropicAnswer.refusal("400", {})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            limit = int(request.query.get("limit", "20"))
            after = request.query.get("after_id")
            start = 0 if after is None else self.models.index(after) + 1
            page = self.models[start : start + limit]
            data = [{"type": "model", "id": name, "display_name": name} for name in page]
            more = start + limit < len(self.models)
            body = {"data": data, "has_more": more, "first_id": page[0], "last_id": page[-1]}
            return self._refused(request) or web.json_response(body)

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            refused = self._refused(request)
            if refused is not None:
                return refused
            body = await request.json()
            if "max_tokens" not in body:
                return web.json_response({"type": "error", "error": {"type": "invalid_request_error"}}, status=400)
            prompt = _last_prompt(body)
            script = self.script_for(body["model"], prompt)
            record = Record(
                id=f"msg_{uuid4().hex}",
                model=body["model"],
                stream=bool(body.get("stream")),
                prompt=prompt,
                body=body,
                headers=dict(request.headers),
                prompt_tokens=_words_read(body) if script.prompt_tokens is None else script.prompt_tokens,
            )
            return await self.answered(request, AnthropicAnswer(request, script, record), record)

    async def _count(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            refused = self._refused(request)
            if refused is not None:
                return refused
            body = await request.json()
            script = self.script_for(body["model"], _last_prompt(body))
            if script.fault is not None and (said := AnthropicAnswer.refusal(script.fault, {})) is not None:
                return said
            self.counts.append(body)
            read = _words_read(body) if script.prompt_tokens is None else script.prompt_tokens
            return web.json_response({"input_tokens": read})


def _last_prompt(body: dict[str, Any]) -> str:
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content or [])
    return ""


def _words_read(body: dict[str, Any]) -> int:
    said = (message.get("content") for message in body.get("messages", []))
    return words_in(said) + words_in(iter([body.get("system", "")]))


if __name__ == "__main__":
    main(AnthropicUpstream)
