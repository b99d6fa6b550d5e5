"""Example calls of every route: each app's in its own module `calls_<app>.py`, which names them `CALLS`.

The matrix (`test_mallory.py`) makes each call as its own company's owner, as another company's, as nobody and in every
role. A route without an example fails the suite.
"""

import importlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from kernel.api.views import METHODS
from tests.isolation.rules import APPS
from tests.support.cast import Company

PREFIX = "api/v1/"


@dataclass(frozen=True, slots=True)
class Form:
    """A form with a file, instead of a body of JSON."""

    name: str
    content: bytes

    def encoded(self) -> tuple[bytes, str]:
        """The bytes, and their content type."""
        head = f'--form\r\ncontent-disposition: form-data; name="file"; filename="{self.name}"\r\n\r\n'
        return head.encode() + self.content + b"\r\n--form--\r\n", "multipart/form-data; boundary=form"


@dataclass(frozen=True, slots=True)
class Made:
    """What a call is made with. `ids` fill the path; `listed` are ids that a list must show to its own company."""

    ids: Mapping[str, uuid.UUID | str] = field(default_factory=dict)
    body: Mapping[str, Any] | Form | None = None
    listed: tuple[uuid.UUID, ...] = ()


def nothing(company: Company) -> Made:
    """For calls that need nothing made beforehand."""
    return Made()


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one route (as the resolver spells it, below /api/v1/). `make` makes what the owner's call needs, anew at
    each use; the owner then gets `status`. A `public` one needs no credential. What a `private` one
    names doesn't exist for colleagues either, whatever their role.

    `foreign` names the fields of the body that point to something of the company, each with a value that names nothing (None
    is a random id): mallory sends hers with these taken from another company, and must get the answer for nothing.
    """

    method: str
    route: str
    make: Callable[[Company], Made] = nothing
    status: int = 200
    public: bool = False
    private: bool = False
    foreign: Mapping[str, str | None] = field(default_factory=dict)
    query: str = ""
    """What follows the path after a question mark."""

    @property
    def takes_ids(self) -> bool:
        """Whether the path names a thing."""
        return "<" in self.route

    @property
    def name(self) -> str:
        """How tests name it."""
        return f"{self.method} {self.route}"

    def path(self, ids: Mapping[str, uuid.UUID | str]) -> str:
        """The path with its ids filled in."""
        parts = [str(ids[part[1:-1].partition(":")[2]]) if part[0] == "<" else part for part in self.route.split("/")]
        return "/" + PREFIX + "/".join(parts) + (f"?{self.query}" if self.query else "")


@cache
def calls() -> tuple[Call, ...]:
    """All apps' example calls."""
    names = [f"tests.isolation.calls_{app}" for app in APPS]
    found = [importlib.import_module(name).CALLS for name in names if importlib.util.find_spec(name)]
    return tuple(call for each in found for call in each)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of Django's resolver below /api/v1/, with the view that serves it."""

    path: str
    view: type[APIView]

    @property
    def methods(self) -> list[str]:
        """The methods that the view has handlers for."""
        return [name.upper() for name in METHODS if hasattr(self.view, name)]


def routes() -> list[Route]:
    """Every route below /api/v1/, walked from the resolver."""
    return [
        Route(path.removeprefix(PREFIX), pattern.callback.cls)  # type: ignore[attr-defined]
        for path, pattern in _walk(get_resolver().url_patterns, "")
        if path.startswith(PREFIX)
    ]


def _walk(patterns: Any, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, path)
        else:
            yield path, pattern
