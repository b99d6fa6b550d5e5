"""Per request: an id minted here, bound to logs and errors and sent back as `x-request-id`."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from kernel.api.context import set_request_id
from kernel.ids import uuid7

_MAX_CLIENT_ID_CHARS = 128


class RequestIdMiddleware:
    """Mints the request's id. A client's own `x-request-id` is logged beside it and never used."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(uuid7())
        set_request_id(request_id)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if client_id := request.headers.get("x-request-id"):
            structlog.contextvars.bind_contextvars(client_request_id=client_id[:_MAX_CLIENT_ID_CHARS])
        response = self.get_response(request)
        response["x-request-id"] = request_id
        return response
