"""An upstream that speaks Ollama's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /api/tags      the models of `models`
    POST /api/chat      plain and streamed: lines of JSON
    POST /api/embed     vectors

How it is run and told what to do is described in `upstream`.
"""

from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.fakes.answer import Answer
from tests.fakes.ollama_answer import OllamaAnswer, OllamaVectors
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in


class OllamaUpstream(Upstream):
    """The server and its account."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/tags", self._models)
        router.add_post("/api/chat", self._chat)
        router.add_post("/api/embed", self._embed)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            found = [{"name": name, "model": name, "size": 1, "details": {"family": "fake"}} for name in self.models]
            return self.unauthorized(request, OllamaAnswer) or web.json_response({"models": found})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = [message for message in body["messages"] if message["role"] == "user"]
        prompt = said[-1]["content"] if said else ""
        read = words_in(message["content"] for message in body["messages"])
        return await self._answer(request, OllamaAnswer, body, prompt, read, stream=body.get("stream", True))

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
        return await self._answer(request, OllamaVectors, body, inputs[-1], words_in(iter(inputs)), stream=False)

    async def _answer(
        self, request: web.Request, kind: type[Answer], body: dict[str, Any], prompt: str, read: int, *, stream: bool
    ) -> web.StreamResponse:
        with self.counted(request):
            refused = self.unauthorized(request, OllamaAnswer)
            if refused is not None:
                return refused
            script = self.script_for(body["model"], prompt)
            record = Record(
                id=uuid4().hex,
                model=body["model"],
                stream=stream,
                prompt=prompt,
                body=body,
                headers=dict(request.headers),
                prompt_tokens=read if script.prompt_tokens is None else script.prompt_tokens,
                path=request.path_qs,
            )
            return await self.answered(request, kind(request, script, record), record)


if __name__ == "__main__":
    main(OllamaUpstream)
