"""What a key of the cache is made of, and which requests have none.

A key is a keyed BLAKE2b digest (RFC 7693), under a secret of the tenant's own, of everything that can change an answer:
the sharing scope, the model's alias with the deployments behind it, and every field of the request but those that only
say how the answer is sent. It is taken of values, so the same question has the same key by whatever API it came.

Of what only one wire format says (extras), names in `IGNORED` change nothing about the answer, names in `KEYED` are part
of the key as they were written, and with any other name, or any opaque part, the request has no key."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

import msgspec

from kernel import crypto
from providers.cache.canonical import Unkeyed, canonical
from providers.pipeline.values import Candidate, Job

VERSION = 2
KEY_BYTES = 32
_encode = msgspec.json.Encoder().encode


def key_of(
    job: Job, *, scope: Iterable[object], generations: tuple[int, int], masks: tuple[bool, ...] = ()
) -> tuple[bytes, bool] | None:
    """The key of a job's request in a sharing scope, and whether nothing was ignored of it; None if it has no key.

    `generations` are those of the tenant and of the model: raising one makes all older keys unreachable. `masks` say what
    is taken out of the answer: one that was made under other rules is another."""
    try:
        said, whole = canonical(job.request)
        head = _encode(
            (
                VERSION,
                type(job.request).__name__,
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
