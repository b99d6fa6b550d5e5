"""What differs between the APIs of /v1: how each reads a request and writes answers and errors."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from kernel.errors import ParleyError
from providers.types import ChatAnswer, Request, StreamEvent

Asked = TypeVar("Asked", bound=Request)


class FrameWriter(Protocol):
    """Writes one stream's frames, as bytes ready to be sent."""

    def write(self, event: StreamEvent) -> bytes:
        """The frames that say this event; none for some. Those of Finished end the stream."""

    def error(self, error: ParleyError) -> bytes:
        """The last frames of a stream that failed after its first one."""


class ErrorFormat(Protocol):
    """How one API says what went wrong."""

    def error(self, error: ParleyError, *, request_id: uuid.UUID) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, JSON body and further headers."""


class Surface(ABC, Generic[Asked]):
    """One API. `name` is what jobs, logs and records call it; `ping` what a silent stream is kept open with; `says_back` that
    its answers hold more of what was asked than the model's name, so that one caller's are never another's."""

    name: str
    ping: bytes = b": ping\n\n"
    says_back: bool = False

    @abstractmethod
    def parse(self, body: bytes, headers: Mapping[str, str]) -> Asked:
        """The request. Raises InvalidRequest with `details.param`."""

    @abstractmethod
    def answer(self, answer: ChatAnswer, asked: Asked, *, request_id: uuid.UUID, created: int) -> bytes:
        """The JSON body of a whole answer. `created` is in seconds since 1970."""

    @abstractmethod
    def writer(self, asked: Asked, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        """The writer of a streamed answer."""

    @abstractmethod
    def error(self, error: ParleyError, *, request_id: uuid.UUID) -> tuple[int, bytes, Mapping[str, str]]:
        """See `ErrorFormat`."""
