"""Routes of /v1, authentication, and errors in the caller's format."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from kernel.adb import PASSING
from kernel.api.context import set_request_id
from kernel.errors import (
    InternalError,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    ParleyError,
    Unavailable,
    without_frames,
)
from providers.gateway.anthropic import AnthropicErrors, Messages, count_tokens, speaks_anthropic
from providers.gateway.batches import cancel_batch, create_batch, list_batches, retrieve_batch
from providers.gateway.completions import complete
from providers.gateway.files import delete_file, list_files, read_content, retrieve_file, upload_file
from providers.gateway.http import ClientGone, Receive, Request, Responder, Scope
from providers.gateway.models import list_models, retrieve_model
from providers.gateway.openai import ChatCompletions, Embeddings, OpenAIErrors, TextCompletions
from providers.gateway.responses import create_response, delete_response, list_input_items, retrieve_response
from providers.gateway.stalls import Send
from providers.gateway.surface import ErrorFormat
from providers.measure import request_answered
from tenants.credentials import authenticate, confirm_now
from tenants.principals import Principal

log = structlog.get_logger(__name__)

Handler = Callable[[Request, Responder, Principal], Awaitable[None]]

OPENAI_ERRORS = OpenAIErrors()
ANTHROPIC_ERRORS = AnthropicErrors()
CHAT = ChatCompletions()
MESSAGES = Messages()
TEXT = TextCompletions()
EMBEDDINGS = Embeddings()


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a method of a path, the permission it needs, and the format of its errors.

    One that `admits` does nothing for its caller but run the pipeline, whose limit stage confirms them in the round trip that
    it makes anyway."""

    permission: str
    handler: Handler
    errors: ErrorFormat = OPENAI_ERRORS
    admits: bool = False


Methods = Mapping[str, Route]

ROUTES: dict[str, Methods] = {
    "/v1/chat/completions": {"POST": Route("models.use", partial(complete, surface=CHAT), CHAT, admits=True)},
    "/v1/completions": {"POST": Route("models.use", partial(complete, surface=TEXT), TEXT, admits=True)},
    "/v1/embeddings": {"POST": Route("models.use", partial(complete, surface=EMBEDDINGS), EMBEDDINGS, admits=True)},
    "/v1/responses": {"POST": Route("models.use", create_response)},
    "/v1/responses/{}/input_items": {"GET": Route("models.use", list_input_items)},
    "/v1/responses/{}": {
        "GET": Route("models.use", retrieve_response),
        "DELETE": Route("models.use", delete_response),
    },
    "/v1/files": {"GET": Route("models.use", list_files), "POST": Route("models.use", upload_file)},
    "/v1/files/{}/content": {"GET": Route("models.use", read_content)},
    "/v1/files/{}": {"GET": Route("models.use", retrieve_file), "DELETE": Route("models.use", delete_file)},
    "/v1/batches": {"GET": Route("models.use", list_batches), "POST": Route("models.use", create_batch)},
    "/v1/batches/{}/cancel": {"POST": Route("models.use", cancel_batch)},
    "/v1/batches/{}": {"GET": Route("models.use", retrieve_batch)},
    "/v1/messages": {"POST": Route("models.use", partial(complete, surface=MESSAGES), MESSAGES, admits=True)},
    "/v1/messages/count_tokens": {"POST": Route("models.use", count_tokens, ANTHROPIC_ERRORS)},
    "/v1/models": {"GET": Route("models.use", list_models)},
    "/v1/models/{}": {"GET": Route("models.use", retrieve_model)},
}
"""Path → method → route. `{}` stands for one id, which may hold slashes where it ends the path."""


def _pattern(path: str) -> re.Pattern[str]:
    start, _, end = path.partition("{}")
    return re.compile(re.escape(start) + ("[^/]+" if end else ".+") + re.escape(end))


_PATTERNS = tuple((_pattern(path), methods) for path, methods in ROUTES.items() if "{}" in path)


_SPELLED = tuple((path, _pattern(path)) for path in ROUTES if "{}" in path)


class _WrongMethod(MethodNotAllowed):
    """Says, as RFC 9110 wants it, which methods there are."""

    def __init__(self, path: str, methods: Iterable[str]) -> None:
        self._allowed = ", ".join(method for name in methods for method in (name, *(["HEAD"] * (name == "GET"))))
        super().__init__(f"{path[:200]} takes {self._allowed}.")

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": self._allowed}


async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app. Never raises: what goes wrong is answered, or, once a stream has begun, ends it."""
    request = Request.from_scope(scope, receive)
    responder = Responder(send, request_id=request.id)
    said_id = str(request.id)
    set_request_id(said_id)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=said_id)
    methods = _methods(request.path)
    errors = next(iter(methods.values())).errors if methods else OPENAI_ERRORS
    if errors is OPENAI_ERRORS and speaks_anthropic(request):
        errors = ANTHROPIC_ERRORS
    try:
        await _answer(request, responder, methods)
    except ClientGone:
        log.info("client_gone", path=request.path)
    except ParleyError as error:
        if error.status >= 500:
            log.warning("request_failed", path=request.path, code=error.code, status=error.status)
        await answer_error(responder, without_frames(error), errors)
    except PASSING:
        # It went away, took too long or took no writes, in the middle of something.
        log.exception("request_failed", path=request.path)
        await answer_error(responder, Unavailable("The database can't be asked at the moment."), errors)
    except Exception:
        log.exception("request_failed", path=request.path)
        await answer_error(responder, InternalError(), errors)
    finally:
        request_answered(surface=_surface(request.path), status=responder.status, cache_status=responder.cache_status)


def _surface(path: str) -> str:
    """The path as the routes spell it: one of few."""
    if path in ROUTES:
        return path
    return next((spelled for spelled, pattern in _SPELLED if pattern.fullmatch(path)), "other")


def _methods(path: str) -> Methods | None:
    known = ROUTES.get(path)
    if known is not None:
        return known
    return next((methods for pattern, methods in _PATTERNS if pattern.fullmatch(path)), None)


async def _answer(request: Request, responder: Responder, methods: Methods | None) -> None:
    if methods is None:
        raise NotFound(f"There is no {request.path[:200]} here.")
    if request.method == "OPTIONS":
        await responder.preflight(methods)
        return
    # Of an answer to HEAD the server sends no body.
    route = methods.get("GET" if request.method == "HEAD" else request.method)
    if route is None:
        raise _WrongMethod(request.path, methods)
    principal = await authenticate(_credential(request), address=request.address, confirmed=not route.admits)
    if not principal.may(route.permission):
        principal = await confirm_now(principal)
    structlog.contextvars.bind_contextvars(
        tenant_id=str(principal.tenant_id), membership_id=str(principal.membership_id)
    )
    principal.require(route.permission)
    await route.handler(request, responder, principal)


async def answer_error(responder: Responder, error: ParleyError, errors: ErrorFormat = OPENAI_ERRORS) -> None:
    """Answer with an error in the format of the API that was asked. A response that has begun can't be changed."""
    if responder.started:
        return
    status, body, headers = errors.error(error, request_id=responder.request_id)
    await responder.whole(status, body, headers=headers)


def _credential(request: Request) -> str:
    """The bearer token or, as Anthropic's clients send it, the key in `x-api-key`."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credential.strip():
        return credential.strip()
    if key := request.headers.get("x-api-key", "").strip():
        return key
    raise NotAuthenticated("An API key or access token is needed: `Authorization: Bearer …`.")
