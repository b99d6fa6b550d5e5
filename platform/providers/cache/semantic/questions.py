"""What may be asked in other words, and the scope in which its answer is of use."""

import hashlib
from functools import lru_cache
from uuid import UUID

import msgspec
from msgspec.structs import replace

from kernel import crypto
from providers.cache.key import key_of
from providers.cache.lookups import Place, scope_of
from providers.pipeline.values import Job
from providers.semantic import guard
from providers.semantic.eligibility import question_of
from providers.semantic.values import Question
from providers.types import ChatRequest

VERSION = 2
"""Of the scope: raised, no older entry is looked at."""
DIGEST_BYTES = 16
ANY_TEMPERATURE = 2.0
"""For whoever asked for an answer from the cache by a header, or a tenant that opted in for all."""


class Asking(msgspec.Struct, frozen=True):
    """An eligible question of a job, and where entries that could answer it are: `scope` digests the tenant's generation and
    sharing, the model and what is behind it, all else that the request says, and the embedder. `digest` is the question's own."""

    job: Job
    place: Place
    question: Question
    scope: bytes
    digest: bytes
    embedder: str


def asking_of(job: Job, place: Place) -> Asking | str:
    """The question of a job that has a place in the exact cache; otherwise why it has none."""
    request, namespace, principal = job.request, place.namespace, job.principal
    if not isinstance(request, ChatRequest) or principal is None:
        return "shape"
    is_any = job.wishes.use_cache or namespace.opt_in_all
    question = question_of(request, max_temperature=ANY_TEMPERATURE if is_any else namespace.max_temperature)
    if isinstance(question, str):
        return question
    embedder = namespace.semantic_embedder
    scope = ("alike", VERSION, embedder, guard.VERSION, question.context_key.hex(), *scope_of(principal, namespace))
    # The context's key stands for the messages.
    bare = replace(job, request=replace(request, messages=()))
    found = key_of(bare, scope=scope, generations=namespace.generations(job.alias), masks=place.masks)
    if found is None:
        return "unknown_parameter"
    said = " ".join(question.text.casefold().split()).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(said, digest_size=DIGEST_BYTES, key=_secret(place.tenant_id)).digest()
    return Asking(job, place, question, found[0], digest, embedder)


@lru_cache(maxsize=10_000)
def _secret(tenant_id: UUID) -> bytes:
    return crypto.derive("semantic cache v1", tenant_id=tenant_id)
