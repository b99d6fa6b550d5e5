"""From any exception in a REST view to the one envelope.

drf-standardized-errors turns Django's and DRF's exceptions into a list of errors; our own errors carry what they mean.
"""

import json
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import ErrorResponse
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from kernel import errors
from kernel.adb import PASSING
from kernel.api.context import current_request_id

log = structlog.get_logger(__name__)

_BY_STATUS: dict[int, type[errors.ParleyError]] = {
    400: errors.InvalidRequest,
    401: errors.NotAuthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.InvalidRequest,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    429: errors.RateLimited,
}


class _OurApiException(drf.APIException):
    """Carries one of our errors through DRF's machinery."""

    def __init__(self, error: errors.ParleyError) -> None:
        super().__init__(detail=error.message, code=error.code)
        self.error = error
        self.status_code = error.status


class Handler(ExceptionHandler):
    """Recognises our own errors beside Django's and DRF's."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        if isinstance(exc, errors.ParleyError):
            return _OurApiException(exc)
        # Django's own ORM says it in Django's words, and psycopg's are their cause.
        if isinstance(exc, (OperationalError, *PASSING)) or isinstance(exc.__cause__, PASSING):
            log.error("database_unavailable", exc_info=exc)
            return _OurApiException(errors.Unavailable())
        if isinstance(exc, RequestDataTooBig):
            return _OurApiException(errors.PayloadTooLarge())
        if isinstance(exc, Http404):
            return _OurApiException(errors.NotFound())
        if isinstance(exc, DjangoPermissionDenied):
            return _OurApiException(errors.PermissionDenied())
        return super().convert_known_exceptions(exc)

    def get_headers(self, exc: drf.APIException) -> dict[str, str]:
        headers: dict[str, str] = super().get_headers(exc)
        return headers | exc.error.headers if isinstance(exc, _OurApiException) else headers

    def report_exception(self, exc: drf.APIException, response: Response) -> None:
        if not isinstance(exc, _OurApiException):
            super().report_exception(exc, response)


class Formatter(ExceptionFormatter):
    """Writes the envelope `{type, code, message, request_id, details}`."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        if isinstance(self.exc, _OurApiException):
            return _writable(errors.envelope(self.exc.error, request_id=current_request_id()))
        kind = _BY_STATUS.get(self.exc.status_code, errors.InternalError)
        return _writable(errors.envelope(self._translated(kind, error_response), request_id=current_request_id()))

    def _translated(self, kind: type[errors.ParleyError], error_response: ErrorResponse) -> errors.ParleyError:
        if isinstance(self.exc, drf.ValidationError):
            fields = [
                {"field": error.attr or "", "code": error.code, "message": error.detail}
                for error in error_response.errors
            ]
            first = fields[0]
            message = f"{first['field']}: {first['message']}" if first["field"] else str(first["message"])
            return errors.InvalidRequest(message, details={"fields": fields})
        if issubclass(kind, errors.InternalError):
            return kind()
        return kind(str(error_response.errors[0].detail))


def _writable(shown: dict[str, Any]) -> dict[str, Any]:
    """The envelope as UTF-8 can hold it: an error quotes what was sent, which may have half characters."""
    text = json.dumps(shown, cls=JSONEncoder, ensure_ascii=False)
    known: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
    return known


def json_error(error: errors.ParleyError) -> JsonResponse:
    """The envelope as a plain Django response, for what fails outside DRF."""
    return JsonResponse(
        errors.envelope(error, request_id=current_request_id()), status=error.status, headers=error.headers
    )


def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Django's handler404."""
    return json_error(errors.NotFound())


def server_error(request: HttpRequest) -> JsonResponse:
    """Django's handler500."""
    return json_error(errors.InternalError())


def bad_request(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Django's handler400."""
    return json_error(errors.InvalidRequest())
