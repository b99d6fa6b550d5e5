"""What a request says of its answer, in one canonical form: every field but those that only say how the answer is sent.

Of what only one wire format says (extras), names in `IGNORED` change nothing about the answer, names in `KEYED` are part of
the form as they were written, and with any other name, or any opaque part, there is no canonical form."""

from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from providers.types import Extras, Opaque, Request

UNKEYED = ("stream", "include_usage", "as_base64")
"""Fields of requests that say how an answer is sent, not what it is."""

IGNORED = frozenset(
    {
        "cache_control",
        "max_completion_tokens",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "user",
    }
)
"""Extras that change nothing about the answer."""

KEYED = frozenset(
    {
        "anthropic-beta",
        "caller",
        "citations",
        "content_index",
        "data",
        "eager_input_streaming",
        "is_error",
        "logit_bias",
        "min_p",
        "prediction",
        "repetition_penalty",
        "service_tier",
        "signature",
        "thinking",
        "verbosity",
    }
)
"""Extras that may change the answer, by their value alone."""

_SAYS_EXTRAS = b'"wire_format":'
_encode = msgspec.json.Encoder().encode
_FALSE = (b"false", b"null")

Value = TypeVar("Value", bound=msgspec.Struct)


class Unkeyed(Exception):
    """The request says something whose meaning isn't known here."""


def canonical(request: Request) -> tuple[bytes, bool]:
    """What a request says of its answer, as JSON, and whether nothing was ignored of it. Raises Unkeyed, TypeError,
    ValueError."""
    if sending := {name: False for name in UNKEYED if getattr(request, name, False)}:
        request = replace(request, **sending)
    said = _encode(request)
    if _SAYS_EXTRAS not in said:
        return said, True
    cleaned = _cleaned(request)
    return _encode(cleaned), cleaned == request


def _cleaned(value: Value) -> Value:
    """The value without extras that change nothing. Raises Unkeyed for those that aren't known."""
    if isinstance(value, Opaque):
        raise Unkeyed(value.kind)
    changes: dict[str, Any] = {}
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if isinstance(inner, Extras):
            changes[name] = _known(inner)
        elif isinstance(inner, msgspec.Struct):
            changes[name] = _cleaned(inner)
        elif isinstance(inner, tuple):
            changes[name] = tuple(_cleaned(item) if isinstance(item, msgspec.Struct) else item for item in inner)
    return replace(value, **changes) if changes else value


def _known(extras: Extras) -> Extras | None:
    kept = {}
    for name in sorted(extras.fields):
        if name in KEYED:
            kept[name] = extras.fields[name]
        elif name not in IGNORED and not (name == "store" and bytes(extras.fields[name]).strip() in _FALSE):
            # To be stored by the provider is an effect that a kept answer would not have.
            raise Unkeyed(name)
    return Extras(extras.wire_format, kept) if kept else None
