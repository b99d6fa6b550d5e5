"""How providers that share OpenAI's format differ, as data."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import parse_qs, quote

from providers.types import ChatRequest

CapField = Literal["max_tokens", "max_completion_tokens"]
AZURE_API_VERSION = "2024-10-21"
"""The latest that is generally available; a connection's base URL may name another, as `?api-version=…`."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between them.

    `cap_field` names the output cap; None sends the name the caller used, or `max_tokens`. `seed_field` names the seed.

    `usage_in_stream` says that `stream_options.include_usage` is understood, so that usage can be asked for.
    `developer_role` says that the role `developer` is known; where not, it is sent as `system`. `top_k` says that this
    is known. `base64` says that vectors may be asked for as base64, which is a third of the size. `call_id_chars` is the
    length that the ids of tool calls must have, all of them letters and digits. `images_in_results` says that messages of
    tools may hold images, as those of users. `max_stops` is how many stop sequences a request may have. `says_prefix`: that an
    answer begins with what the last message, the model's own, says has to be told, by its field `prefix`.

    `text_models` are patterns of the models that continue text, at `text_path`; others are asked as in a chat. `suffix`
    says that these go on up to a suffix.

    `deployments` says that the model is named in the path and the API's version in the query (Azure). `key_header` is
    where the key goes; None sends it as a bearer token.
    """

    cap_field: CapField | None = None
    seed_field: str = "seed"
    usage_in_stream: bool = True
    developer_role: bool = False
    top_k: bool = True
    base64: bool = False
    call_id_chars: int | None = None
    images_in_results: bool = True
    max_stops: int | None = None
    says_prefix: bool = False
    text_models: tuple[str, ...] = ("*",)
    text_path: str = "/completions"
    suffix: bool = True
    deployments: bool = False
    key_header: str | None = None

    def continues_text(self, request: ChatRequest, model: str) -> bool:
        """Whether this is a text to be continued, by a model that can."""
        return request.as_text and any(fnmatchcase(model.lower(), pattern) for pattern in self.text_models)

    def address(self, base_url: str, path: str, model: str) -> tuple[str, str]:
        """The base URL and path of a request. `path` is the one below a plain base URL."""
        if not self.deployments:
            return base_url, path
        base_url, _, query = base_url.partition("?")
        version = parse_qs(query).get("api-version", [AZURE_API_VERSION])[0]
        below = path if path == "/models" else f"/deployments/{quote(model, safe='')}{path}"
        return base_url.rstrip("/").removesuffix("/openai"), f"/openai{below}?api-version={quote(version)}"


# Of OpenAI's own models these alone are served at /completions.
_OPENAI_TEXT = ("*-instruct*", "davinci-*", "babbage-*", "ft:davinci*", "ft:babbage*")

COMPATIBLE = Dialect()
OPENAI = Dialect(
    cap_field="max_completion_tokens",
    developer_role=True,
    top_k=False,
    base64=True,
    images_in_results=False,
    max_stops=4,
    text_models=_OPENAI_TEXT,
)
AZURE = Dialect(
    cap_field="max_completion_tokens",
    developer_role=True,
    top_k=False,
    base64=True,
    images_in_results=False,
    max_stops=4,
    text_models=("*instruct*", "*davinci*", "*babbage*"),
    deployments=True,
    key_header="api-key",
)
OPENROUTER = Dialect(base64=True, suffix=False)
TOGETHER = Dialect(cap_field="max_tokens", suffix=False)
GROQ = Dialect(cap_field="max_completion_tokens", top_k=False, images_in_results=False, max_stops=4, text_models=())
DEEPSEEK = Dialect(cap_field="max_tokens", top_k=False, images_in_results=False, max_stops=16, text_models=())
MISTRAL = Dialect(
    cap_field="max_tokens",
    seed_field="random_seed",
    usage_in_stream=False,
    top_k=False,
    call_id_chars=9,
    says_prefix=True,
    text_models=("codestral*",),
    text_path="/fim/completions",
)
"""Mistral always reports usage with the last chunk, and refuses fields it doesn't know."""
LLAMA_CPP = Dialect(base64=True, suffix=False)
"""The server takes a suffix at a path of its own alone, in a form of its own, and ignores it at this one."""
