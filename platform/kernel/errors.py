"""The error tree, and what each error means to a caller.

    ParleyError                      500  internal_error
    ├── InvalidRequest               400  invalid_request      the request itself is wrong; `details` names the field
    ├── NotAuthenticated             401  not_authenticated    no credential, or one that is not good (any more)
    ├── PaymentRequired              402  payment_required     a budget refuses
    ├── PermissionDenied             403  permission_denied    known, but not allowed
    ├── NotFound                     404  not_found            no such thing, or not yours: the two look alike
    ├── MethodNotAllowed             405  method_not_allowed
    ├── Conflict                     409  conflict             the state of the thing forbids it
    ├── PayloadTooLarge              413  payload_too_large
    ├── UnsupportedMediaType         415  unsupported_media_type
    ├── Unprocessable                422  unprocessable        it contradicts an earlier one
    ├── RateLimited                  429  rate_limited         wait `retry_after_s`
    ├── InternalError                500  internal_error
    ├── UpstreamFailed               502  upstream_failed      every provider that could answer failed
    ├── Unavailable                  503  unavailable          Parley itself can't serve at the moment
    └── UpstreamTimeout              504  upstream_timeout

Each class has a stable `code`, a `type` (the family, which clients may branch on) and an HTTP `status`. Lower layers'
exceptions never leave a service: they are wrapped with `raise … from`. A subclass elsewhere may narrow the `code`.
"""

from typing import Any, ClassVar, TypeVar

E = TypeVar("E", bound=BaseException)


class ParleyError(Exception):
    """The root. `message` is for people and safe to show; `details` is for programs and JSON-serialisable."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str = "", *, details: dict[str, Any] | None = None) -> None:
        self.message = message or (self.__class__.__doc__ or "").strip().split("\n")[0]
        self.details = details
        super().__init__(self.message)

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that belong to this error, such as Retry-After."""
        return {}


class InvalidRequest(ParleyError):
    """The request is not valid."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"


class NotAuthenticated(ParleyError):
    """Authentication is needed, and none that holds was given."""

    code = "not_authenticated"
    status = 401
    type = "authentication_error"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="parley"'}


class PaymentRequired(ParleyError):
    """A budget refuses this request."""

    code = "payment_required"
    status = 402
    type = "billing_error"


class PermissionDenied(ParleyError):
    """You do not have the permission for this."""

    code = "permission_denied"
    status = 403
    type = "permission_error"


class NotFound(ParleyError):
    """There is nothing here."""

    code = "not_found"
    status = 404
    type = "not_found_error"


class MethodNotAllowed(ParleyError):
    """This method is not allowed here."""

    code = "method_not_allowed"
    status = 405
    type = "invalid_request_error"


class Conflict(ParleyError):
    """The present state does not allow this."""

    code = "conflict"
    status = 409
    type = "conflict_error"


class PayloadTooLarge(ParleyError):
    """The request body is too large."""

    code = "payload_too_large"
    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ParleyError):
    """The body is not of a media type that is understood here."""

    code = "unsupported_media_type"
    status = 415
    type = "invalid_request_error"


class Unprocessable(ParleyError):
    """The request contradicts an earlier one."""

    code = "unprocessable"
    status = 422
    type = "invalid_request_error"


class RateLimited(ParleyError):
    """Too many requests."""

    code = "rate_limited"
    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str = "", *, retry_after_s: int = 1, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = max(1, retry_after_s)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class InternalError(ParleyError):
    """Something went wrong on our side. It has been recorded."""


class UpstreamFailed(ParleyError):
    """The model's provider failed."""

    code = "upstream_failed"
    status = 502
    type = "provider_error"


class Unavailable(ParleyError):
    """The service can't answer at the moment."""

    code = "unavailable"
    status = 503
    type = "server_error"

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class UpstreamTimeout(ParleyError):
    """The model's provider did not answer in time."""

    code = "upstream_timeout"
    status = 504
    type = "provider_error"


def envelope(error: ParleyError, *, request_id: str) -> dict[str, Any]:
    """The one shape in which every REST error leaves: `{type, code, message, request_id, details}`."""
    return {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
        "details": error.details,
    }


def without_frames(error: E) -> E:
    """The error, and what led to it, without the frames that they came through: for one that is kept, or was told to whom it
    is for. By its frames an error knows all that was under way, which often knows the error: a ring, which is left to the
    collector of garbage, and that stops everything while it works.
    """
    led: BaseException | None = error
    while led is not None and led.__traceback__ is not None:
        led.__traceback__ = None
        led = led.__cause__ or led.__context__
    return error
