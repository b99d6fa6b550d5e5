"""An upstream that speaks OpenAI's format over real HTTP, misbehaves on request, and keeps its own account.

    GET  /v1/models                 the models of `models`
    POST /v1/chat/completions       plain and streamed
    POST /v1/completions            plain and streamed; a suffix is repeated after the text
    POST /v1/fim/completions        the same, answered as Mistral does: as a chat completion
    POST /v1/embeddings             `vector_of` each input

How it is run and told what to do is described in `upstream`.
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import uuid4

from aiohttp import web

from tests.fakes.openai_answer import OpenAIAnswer
from tests.fakes.openai_texts import EmbeddingsAnswer, FillAnswer, TextAnswer
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream, main, words_in


class OpenAIUpstream(Upstream):
    """The server and its account."""

    root: ClassVar[str] = "/v1"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/v1/chat/completions", self.chat)
        router.add_post("/v1/completions", self.text)
        router.add_post("/v1/fim/completions", self._fill)
        router.add_post("/v1/embeddings", self.embeddings)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {self.api_key}"

    async def _models(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            data = [{"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in self.models]
            refused = self.unauthorized(request, OpenAIAnswer)
            return refused or web.json_response({"object": "list", "data": data})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A chat completion."""
        return await self.answer_in(request, OpenAIAnswer)

    async def text(self, request: web.Request) -> web.StreamResponse:
        """A legacy completion."""
        return await self.answer_in(request, TextAnswer)

    async def _fill(self, request: web.Request) -> web.StreamResponse:
        return await self.answer_in(request, FillAnswer)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Vectors."""
        return await self.answer_in(request, EmbeddingsAnswer)

    def model_of(self, request: web.Request, body: dict[str, Any]) -> str:
        """The model that a request names."""
        model: str = body["model"]
        return model

    async def answer_in(self, request: web.Request, kind: type[OpenAIAnswer]) -> web.StreamResponse:
        """Answer by script, in the shape of one of the API's paths."""
        with self.counted(request):
            refused = self.unauthorized(request, OpenAIAnswer)
            if refused is not None:
                return refused
            body = await request.json()
            model, prompt = self.model_of(request, body), _last_prompt(body)
            script = self.script_for(model, prompt)
            read = words_in(_texts(body))
            record = Record(
                id=f"chatcmpl-{uuid4().hex}",
                model=model,
                stream=bool(body.get("stream")),
                prompt=prompt,
                body=body,
                headers=dict(request.headers),
                prompt_tokens=read if script.prompt_tokens is None else script.prompt_tokens,
            )
            return await self.answered(request, kind(request, script, record), record)


def _texts(body: dict[str, Any]) -> Iterator[Any]:
    for name in ("prompt", "suffix", "input"):
        said = body.get(name)
        if said is not None:
            yield from said if isinstance(said, list) else (said,)
    for message in body.get("messages", []):
        yield message.get("content")


def _last_prompt(body: dict[str, Any]) -> str:
    if isinstance(prompt := body.get("prompt", body.get("input")), str):
        return prompt
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content or [])
    return ""


if __name__ == "__main__":
    main(OpenAIUpstream)
