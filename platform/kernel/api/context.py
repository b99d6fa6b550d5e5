"""What is known of the request that runs now: its id, for logs, errors and answers."""

from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("parley_request_id", default="")


def current_request_id() -> str:
    """The server-minted id of the request in force, or an empty string outside one."""
    return _request_id.get()


def set_request_id(value: str) -> None:
    """Name the request that runs in this context."""
    _request_id.set(value)
