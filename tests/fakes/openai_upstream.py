"""An upstream that speaks OpenAI's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /v1/models                 the models of `models`
    POST /v1/chat/completions       plain and streamed

How it is run and told what to do is described in `upstream`.
"""

from typing import Any, ClassVar
from uuid import uuid4

from aiohttp import web

from tests.fakes.openai_answer import OpenAIAnswer
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in


class OpenAIUpstream(Upstream):
    """The server and its account."""

    root: ClassVar[str] = "/v1"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/v1/chat/completions", self._chat)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            data = [{"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in self.models]
            refused = self.unauthorized(request, OpenAIAnswer)
            return refused or web.json_response({"object": "list", "data": data})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            refused = self.unauthorized(request, OpenAIAnswer)
            if refused is not None:
                return refused
            body = await request.json()
            prompt = _last_prompt(body)
            script = self.script_for(body["model"], prompt)
            read = words_in(message.get("content") for message in body.get("messages", []))
            record = Record(
                id=f"chatcmpl-{uuid4().hex}",
                model=body["model"],
                stream=bool(body.get("stream")),
                prompt=prompt,
                body=body,
                headers=dict(request.headers),
                prompt_tokens=read if script.prompt_tokens is None else script.prompt_tokens,
            )
            return await self.answered(request, OpenAIAnswer(request, script, record), record)


def _last_prompt(body: dict[str, Any]) -> str:
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content or [])
    return ""


if __name__ == "__main__":
    main(OpenAIUpstream)
