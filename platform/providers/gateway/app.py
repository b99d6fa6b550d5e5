"""Routes of /v1, authentication, and errors in the caller's format."""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from kernel.api.context import set_request_id
from kernel.errors import InternalError, MethodNotAllowed, NotAuthenticated, NotFound, ParleyError
from providers.adapters.openai.errors import encode_error
from providers.gateway.chat import create_chat_completion
from providers.gateway.http import ClientGone, Receive, Request, Responder, Scope, Send
from providers.gateway.models import list_models, retrieve_model
from tenants.credentials import authenticate
from tenants.principals import Principal

log = structlog.get_logger(__name__)

Handler = Callable[[Request, Responder, Principal], Awaitable[None]]

ROUTES: dict[str, dict[str, tuple[str, Handler]]] = {
    "/v1/chat/completions": {"POST": ("models.use", create_chat_completion)},
    "/v1/models": {"GET": ("models.use", list_models)},
}
"""Path → method → the permission it needs, and what answers. `/v1/models/{alias}` is matched apart."""

MODEL_PREFIX = "/v1/models/"
_MODEL_ROUTE: dict[str, tuple[str, Handler]] = {"GET": ("models.use", retrieve_model)}

_CLIENT_ERRORS_THAT_RETRYING_WONT_MEND = frozenset({402})


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
    set_request_id(str(request.id))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=str(request.id))
    try:
        await _answer(request, responder)
    except ClientGone:
        log.info("client_gone", path=request.path)
    except ParleyError as error:
        if error.status >= 500:
            log.warning("request_failed", path=request.path, code=error.code, status=error.status)
        await answer_error(responder, error)
    except Exception:
        log.exception("request_failed", path=request.path)
        await answer_error(responder, InternalError())


async def _answer(request: Request, responder: Responder) -> None:
    methods = _MODEL_ROUTE if request.path.startswith(MODEL_PREFIX) else ROUTES.get(request.path)
    if methods is None:
        raise NotFound(f"There is no {request.path[:200]} here.")
    # Of an answer to HEAD the server sends no body.
    method = "GET" if request.method == "HEAD" else request.method
    if method not in methods:
        raise _WrongMethod(request.path, methods)
    permission, handler = methods[method]
    principal = await authenticate(_credential(request), address=request.address)
    structlog.contextvars.bind_contextvars(
        tenant_id=str(principal.tenant_id), membership_id=str(principal.membership_id)
    )
    principal.require(permission)
    await handler(request, responder, principal)


async def answer_error(responder: Responder, error: ParleyError) -> None:
    """Answer with an error in OpenAI's format. A response that has begun can't be changed any more."""
    if responder.started:
        return
    headers = dict(error.headers)
    if error.status in _CLIENT_ERRORS_THAT_RETRYING_WONT_MEND:
        # The official clients obey this before their own rules.
        headers["x-should-retry"] = "false"
    await responder.whole(error.status, encode_error(error), headers=headers)


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise NotAuthenticated("An API key or access token is needed: `Authorization: Bearer …`.")
    return credential.strip()
