"""What a key of the cache is made of, and which requests have none.

A key is a keyed BLAKE2b digest (RFC 7693), under a secret of the tenant's own, of everything that can change an answer:
the sharing scope, the model's alias with the deployments behind it, and every field of the request but those that only
say how the answer is sent. It is taken of values, so the same question has the same key by whatever API it came.

Of what only one wire format says (extras), names in `IGNORED` change nothing about the answer, names in `KEYED` are part
of the key as they were written, and with any other name, or any opaque part, the request has no key."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from kernel import crypto
from providers.pipeline.values import Candidate, Job
from providers.types import Extras, Opaque

VERSION = 2
KEY_BYTES = 32
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


def key_of(
    job: Job, *, scope: Iterable[object], generations: tuple[int, int], masks: tuple[bool, ...] = ()
) -> tuple[bytes, bool] | None:
    """The key of a job's request in a sharing scope, and whether nothing was ignored of it; None if it has no key.

    `generations` are those of the tenant and of the model: raising one makes all older keys unreachable. `masks` say what
    is taken out of the answer: one that was made under other rules is another."""
    request, whole = job.request, True
    if sending := {name: False for name in UNKEYED if getattr(request, name, False)}:
        request = replace(request, **sending)
    try:
        said = _encode(request)
        if _SAYS_EXTRAS in said:
            cleaned = _cleaned(request)
            whole = cleaned == request
            said = _encode(cleaned)
        head = _encode(
            (
                VERSION,
                type(request).__name__,
                generations,
                masks,
                tuple(scope),
                sorted({_deployment(candidate) for candidate in job.candidates}),
                job.wishes.drop_params,
            )
        )
    except (Unkeyed, TypeError, ValueError):
        # Half a surrogate pair can't be encoded, nor what a request of a later kind may hold.
        return None
    digest = hashlib.blake2b(head, digest_size=KEY_BYTES, key=_secret(job.payer.tenant_id), person=b"parley exact v1")
    digest.update(said)
    return digest.digest(), whole


def _deployment(candidate: Candidate) -> tuple[str, str, str, str, str]:
    """What answers: the same address can mean another model with another account, and with another form of prompt."""
    deployment = candidate.deployment
    return deployment.provider, deployment.base_url, deployment.model, str(deployment.id), deployment.prompt_format


@lru_cache(maxsize=10_000)
def _secret(tenant_id: UUID) -> bytes:
    return crypto.derive("exact cache v1", tenant_id=tenant_id)


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
