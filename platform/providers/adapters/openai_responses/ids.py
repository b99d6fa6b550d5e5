"""The names of responses and of their items. An item's name holds its response's, so that a reference to it can be
followed."""

import re
import uuid
from typing import Literal

Kind = Literal["message", "function_call", "function_call_output", "reasoning"]
PREFIXES: dict[Kind, str] = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
}
INPUT = 0x8000
"""Items of the input are numbered from here, those of the output from 0."""
_RESPONSE = re.compile(r"resp_([0-9a-f]{32})")
_ITEM = re.compile(r"(?:msg|fc|fco|rs)_([0-9a-f]{32})[0-9a-f]{4}")


def response_name(response_id: uuid.UUID) -> str:
    """What callers call a response."""
    return f"resp_{response_id.hex}"


def response_id(name: str) -> uuid.UUID | None:
    """The response of this name; None if it can't be one."""
    match = _RESPONSE.fullmatch(name)
    return uuid.UUID(match[1]) if match else None


def item_name(response_id: uuid.UUID, kind: str, number: int) -> str:
    """What callers call an item of a response."""
    return f"{PREFIXES.get(kind, 'item')}_{response_id.hex}{number:04x}"  # type: ignore[call-overload]


def response_of_item(name: str) -> uuid.UUID | None:
    """The response that an item belongs to; None if the name can't be one of ours."""
    match = _ITEM.fullmatch(name)
    return uuid.UUID(match[1]) if match else None
