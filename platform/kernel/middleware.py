"""Per request: an id minted here, bound to logs and errors and sent back as `x-request-id`; and what logs say of it."""

import logging
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware

from kernel.api.context import set_request_id
from kernel.ids import uuid7
from kernel.net import client_address

_MAX_CLIENT_ID_CHARS = 128


class RequestIdMiddleware:
    """Mints the request's id. A client's own `x-request-id` is logged beside it and never used."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = str(uuid7())
        set_request_id(request_id)
        structlog.contextvars.clear_contextvars()
        forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
        address = client_address(request.META.get("REMOTE_ADDR"), forwarded_for, settings.TRUSTED_PROXIES)
        structlog.contextvars.bind_contextvars(address=address)
        if client_id := request.META.get("HTTP_X_REQUEST_ID"):
            structlog.contextvars.bind_contextvars(client_request_id=client_id[:_MAX_CLIENT_ID_CHARS])
        # From here django-structlog takes the id that it binds.
        request.META["HTTP_X_REQUEST_ID"] = request_id
        response = self.get_response(request)
        response["x-request-id"] = request_id
        return response


def loggable_path(path: str) -> str:
    """A path as it may stand in a log: of one below `SECRET_PATHS` nothing more, for what follows is all that a link asks for."""
    return next((f"{before}…" for before in settings.SECRET_PATHS if path.startswith(before)), path)


class RequestLogMiddleware(RequestMiddleware):
    """Logs each request by its method and path. The query, in which stands what people look for, stays out."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """How the log names a request."""
        return f"{request.method} {loggable_path(request.path)}"


class LoggablePaths(logging.Filter):
    """Django's own lines about failed requests name their paths too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes, with the path that it names made fit to be logged."""
        path = getattr(getattr(record, "request", None), "path", None)
        if path is not None and isinstance(record.args, tuple):
            record.args = tuple(loggable_path(path) if one == path else one for one in record.args)
        return True
