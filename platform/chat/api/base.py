"""Views whose handlers are coroutines: they run on the event loop, where rooms live."""

import functools
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.views import METHODS, TenantAPIView
from kernel.loop import on_loop


class RoomsAPIView(TenantAPIView):
    """A view of rooms. An `async` handler opens its own transactions; any other runs in one, as `TenantAPIView` says."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in METHODS:
            handler = cls.__dict__.get(name)
            if handler is not None and iscoroutinefunction(handler):
                setattr(cls, name, _on_loop(handler))
        super().__init_subclass__(**kwargs)


def _on_loop(handler: Callable[..., Coroutine[Any, Any, Response]]) -> Callable[..., Response]:
    @functools.wraps(handler)
    def run(self: TenantAPIView, request: Request, *args: Any, **kwargs: Any) -> Response:
        return on_loop(handler(self, request, *args, **kwargs))

    run.opens_its_own = True  # type: ignore[attr-defined]
    return run
