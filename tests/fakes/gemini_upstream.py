"""An upstream that speaks Gemini's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /v1beta/models                             the models of `models`, a page at a time
    POST /v1beta/models/{m}:generateContent
    POST /v1beta/models/{m}:streamGenerateContent   with alt=sse; without, it is refused, as nothing here wants it
    POST /v1beta/models/{m}:batchEmbedContents      vectors

A key in the address is no key. How it is run and told what to do is described in `upstream`.
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import uuid4

from aiohttp import web

from tests.fakes.answer import Answer
from tests.fakes.gemini_answer import GeminiAnswer, GeminiVectors
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in

ANSWERS: dict[str, type[Answer]] = {
    "generateContent": GeminiAnswer,
    "streamGenerateContent": GeminiAnswer,
    "batchEmbedContents": GeminiVectors,
}


class GeminiUpstream(Upstream):
    """The server and its account."""

    root: ClassVar[str] = "/v1beta"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1beta/models", self._models)
        router.add_post("/v1beta/models/{model}:{verb}", self._generate)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("x-goog-api-key") == self.api_key

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            start, size = int(request.query.get("pageToken") or 0), int(request.query.get("pageSize") or 50)
            names = self.models[start : start + size]
            page: dict[str, Any] = {"models": [{"name": f"models/{name}", "displayName": name} for name in names]}
            if start + size < len(self.models):
                page["nextPageToken"] = str(start + size)
            return self.unauthorized(request, GeminiAnswer) or web.json_response(page)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            model, verb = request.match_info["model"], request.match_info["verb"]
            stream = verb == "streamGenerateContent"
            refused = self.unauthorized(request, GeminiAnswer)
            if refused is not None:
                return refused
            if verb not in ANSWERS or (stream and request.query.get("alt") != "sse"):
                return GeminiAnswer.refusal("404", {}) or web.Response(status=404)
            body = await request.json()
            texts = list(_texts(body))
            script = self.script_for(model, _last_prompt(body))
            record = Record(
                id=uuid4().hex,
                model=model,
                stream=stream,
                prompt=_last_prompt(body),
                body=body,
                headers=dict(request.headers),
                prompt_tokens=words_in(iter(texts)) if script.prompt_tokens is None else script.prompt_tokens,
                path=request.path_qs,
            )
            return await self.answered(request, ANSWERS[verb](request, script, record), record)


def _texts(body: dict[str, Any]) -> Iterator[str]:
    """Every text that is read, in order."""
    contents = [body.get("systemInstruction"), *body.get("contents", [])]
    contents += [asked["content"] for asked in body.get("requests", [])]
    for content in contents:
        for part in (content or {}).get("parts", []):
            if "text" in part:
                yield part["text"]


def _last_prompt(body: dict[str, Any]) -> str:
    for content in reversed(body.get("contents", [])):
        texts = [part["text"] for part in content["parts"] if "text" in part]
        if content.get("role", "user") == "user" and texts:
            return "".join(texts)
    return ""


if __name__ == "__main__":
    main(GeminiUpstream)
