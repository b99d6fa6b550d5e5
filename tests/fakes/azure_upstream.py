"""An upstream that speaks OpenAI's format the way Azure does: the model is a deployment in the path, the API's version
must be in the query, the key goes by a header of its own, and what the filters found in the question comes first."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.answer import frame
from tests.fakes.openai_answer import OpenAIAnswer
from tests.fakes.openai_upstream import OpenAIUpstream

VERSIONS = ("2024-10-21", "2025-01-01-preview")
PROMPT_FILTER_RESULTS = [
    {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
]
ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "content_policy": (
        400,
        {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
        },
    ),
    "429": (
        429,
        {
            "code": "429",
            "message": "Requests have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry "
            "after 6 seconds. To increase the default rate limit see the page on quota increases.",
        },
    ),
    "404": (404, {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}),
    "401": (401, {"code": "401", "message": "Access denied due to invalid subscription key."}),
}


class AzureAnswer(OpenAIAnswer):
    """A chat completion."""

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return super().refusal(fault, headers)
        status, error = ERRORS[fault]
        return web.json_response({"error": error}, status=status, headers=headers)

    def body(self) -> dict[str, Any]:
        return {**super().body(), "prompt_filter_results": PROMPT_FILTER_RESULTS}

    def opening(self) -> Iterator[bytes]:
        first = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
        yield frame({**first, "prompt_filter_results": PROMPT_FILTER_RESULTS})
        yield from super().opening()


class AzureUpstream(OpenAIUpstream):
    """The server and its account. A record's model is the deployment."""

    root: ClassVar[str] = ""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/openai/models", self._listed)
        below = "/openai/deployments/{deployment}"
        router.add_post(f"{below}/chat/completions", self.chat)
        router.add_post(f"{below}/completions", self.text)
        router.add_post(f"{below}/embeddings", self.embeddings)

    def signed(self, request: web.Request) -> bool:
        return request.headers.get("api-key") == self.api_key

    def model_of(self, request: web.Request, body: dict[str, Any]) -> str:
        return request.match_info["deployment"]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self.answer_in(request, AzureAnswer)

    async def answer_in(self, request: web.Request, kind: type[OpenAIAnswer]) -> web.StreamResponse:
        if request.query.get("api-version") not in VERSIONS:
            return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)
        return await super().answer_in(request, kind)

    async def _listed(self, request: web.Request) -> web.StreamResponse:
        with self.counted(request):
            return web.json_response({"object": "list", "data": [{"id": name} for name in self.models]})
