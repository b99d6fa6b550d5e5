"""What a caller says in headers of how it wants a request done."""

from collections.abc import Mapping

from kernel.errors import InvalidRequest
from providers.gateway.http import whole_number
from providers.pipeline.values import Wishes
from tenants.principals import Priority

_ON = {"true": True, "1": True, "false": False, "0": False}
_PRIORITIES: dict[str, Priority] = {"interactive": "interactive", "normal": "normal", "batch": "batch"}
MAX_DEADLINE_S = 600


def read_wishes(headers: Mapping[str, str]) -> Wishes:
    """The wishes in the headers `x-parley-drop-params`, `x-parley-cache`, `cache-control`, `x-parley-priority` and
    `x-parley-deadline-ms`. Raises InvalidRequest, naming the header."""
    control = {item.strip().lower() for item in headers.get("cache-control", "").split(",")}
    use_cache = _switch(headers, "x-parley-cache")
    return Wishes(
        drop_params=_switch(headers, "x-parley-drop-params") or False,
        use_cache=False if control & {"no-cache", "no-store"} else use_cache,
        store_in_cache="no-store" not in control and use_cache is not False,
        priority=_priority(headers),
        deadline_s=_deadline(headers),
    )


def _switch(headers: Mapping[str, str], name: str) -> bool | None:
    said = headers.get(name)
    if said is None:
        return None
    value = _ON.get(said.strip().lower())
    if value is None:
        raise _bad(name, "`true` or `false`")
    return value


def _priority(headers: Mapping[str, str]) -> Priority | None:
    said = headers.get("x-parley-priority")
    if said is None:
        return None
    priority = _PRIORITIES.get(said.strip().lower())
    if priority is None:
        raise _bad("x-parley-priority", ", ".join(_PRIORITIES))
    return priority


def _deadline(headers: Mapping[str, str]) -> float | None:
    said = headers.get("x-parley-deadline-ms")
    if said is None:
        return None
    deadline_ms = whole_number(said, least=1, most=MAX_DEADLINE_S * 1000)
    if deadline_ms is None:
        raise _bad("x-parley-deadline-ms", f"a number of milliseconds from 1 to {MAX_DEADLINE_S * 1000}")
    return deadline_ms / 1000


def _bad(name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"The header `{name}` takes {wanted}.", details={"param": name})
