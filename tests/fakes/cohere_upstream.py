"""An upstream that speaks Cohere's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /v1/models     the models of `models`, a page at a time
    POST /v2/chat       plain and streamed
    POST /v2/embed      vectors; what a call must say is missed when it doesn't

How it is run and told what to do is described in `upstream`.
"""

from typing import Any
from uuid import uuid4

from aiohttp import web

from tests.fakes.answer import Answer
from tests.fakes.cohere_answer import CohereAnswer, CohereVectors
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in


class CohereUpstream(Upstream):
    """The server and its account."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/v2/chat", self._chat)
        router.add_post("/v2/embed", self._embed)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 20)
            found = [{"name": name, "endpoints": ["chat"]} for name in self.models[start : start + size]]
            page: dict[str, Any] = {"models": found}
            if start + size < len(self.models):
                page["next_page_token"] = str(start + size)
            return self.unauthorized(request, CohereAnswer) or web.json_response(page)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = [_text(message) for message in body["messages"] if message["role"] == "user"]
        read = words_in(_text(message) for message in body["messages"])
        stream = bool(body.get("stream"))
        return await self._answer(request, CohereAnswer, body, said[-1] if said else "", read, stream=stream)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not (body.get("input_type") and body.get("embedding_types")):
            return web.json_response({"message": "invalid request: input_type is required"}, status=400)
        texts: list[str] = body["texts"]
        return await self._answer(request, CohereVectors, body, texts[-1], words_in(iter(texts)), stream=False)

    async def _answer(
        self, request: web.Request, kind: type[Answer], body: dict[str, Any], prompt: str, read: int, *, stream: bool
    ) -> web.StreamResponse:
        with self.counted(request):
            refused = self.unauthorized(request, CohereAnswer)
            if refused is not None:
                return refused
            script = self.script_for(body["model"], prompt)
            record = Record(
                id=str(uuid4()),
                model=body["model"],
                stream=stream,
                prompt=prompt,
                body=body,
                headers=dict(request.headers),
                prompt_tokens=read if script.prompt_tokens is None else script.prompt_tokens,
                path=request.path_qs,
            )
            return await self.answered(request, kind(request, script, record), record)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


if __name__ == "__main__":
    main(CohereUpstream)
