"""Calibrate a tenant's semantic cache: from labelled pairs, or from what its own audits compared.

Audits saw only what would have been served, so a calibration of theirs says nothing of what scores lower: it keeps the
weights of the one that was in force, and raises its cuts.

Embedding and fitting take longer than a transaction may be idle: they are done before it."""

import csv
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TextIO

import msgspec
import numpy as np
from django.db import connections, transaction

from kernel import adb
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.loop import on_loop
from kernel.tenancy import current_tenant_id, tenant_scope
from providers.cache import namespaces
from providers.cache.models import CacheNamespace
from providers.cache.semantic.calibrations import shipped_for
from providers.cache.semantic.embedding import ROUTE, embedder_for
from providers.cache.semantic.entries import AUDITS, Seen, unseal
from providers.cache.semantic.models import SemanticAudit, SemanticCalibration
from providers.semantic import guard
from providers.semantic.calibration import Asked, asked, fit, pair, tightened
from providers.semantic.errors import BadCalibration
from providers.semantic.values import Calibration, Candidate
from providers.services.cache import settings_locked, settings_now
from tenants.acting import acting_principal
from tenants.epochs import Subject
from tenants.principals import Principal
from tenants.services.audit import record
from tenants.services.provisioning import tenant_by_slug

MAX_PAIRS = 100_000
MAX_TEXT_CHARS = 4_000
BATCH = 128
EMBED_S = 60.0
MAX_AUDITS = 20_000
MAX_DATA_CHARS = 1_000
MIN_AUDITS = 500
"""New ones since the last calibration, for the scheduled task."""
COLUMNS = ("question", "stored", "same")
_SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_OWNER = "SELECT id FROM tenants_membership WHERE role = 'owner' AND status = 'active' ORDER BY id LIMIT 1"
_DUE = "SELECT tenant_id FROM providers_cachenamespace WHERE semantic AND enabled"


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, one that is stored, and whether they have the same answer."""

    question: str
    stored: str
    same: bool


def read_pairs(lines: TextIO) -> Iterator[Pair]:
    """The pairs of a CSV with the columns `COLUMNS`. Raises InvalidRequest, with the number of the line."""
    reader = csv.DictReader(lines)
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise InvalidRequest(f"The file needs the columns {', '.join(COLUMNS)}.")
    for number, row in enumerate(reader, 2):
        same = _SAME.get((row["same"] or "").strip().casefold())
        texts = [(row["question"] or "").strip(), (row["stored"] or "").strip()]
        if same is None or not all(0 < len(text) <= MAX_TEXT_CHARS for text in texts):
            raise InvalidRequest(f"Line {number}: two texts and `same` (1 or 0) are needed.")
        if number > MAX_PAIRS + 1:
            raise InvalidRequest(f"At most {MAX_PAIRS:,} pairs.")
        yield Pair(texts[0], texts[1], same)


def calibrate_from_pairs(*, slug: str, pairs: Iterable[Pair], source: str) -> Calibration:
    """Calibrate a tenant's cache by labelled pairs, from a file of the name `source`; as an operator. Raises NotFound,
    BadCalibration, EmbedderMissing, and Conflict if the embedder was changed meanwhile."""
    with tenant_scope(tenant_by_slug(slug).id):
        embedder = _settings().semantic_embedder
        questions = list(_questions(pairs, embedder))
        data = f"{len(questions)} pairs of {source}"
        made = fit(questions, version=_version("pairs"), embedder=embedder, data=data)
        return _keep(made, source="pairs", count=len(questions))


def calibrate_from_audits(*, slug: str) -> Calibration:
    """Calibrate a tenant's cache by its audits; as an operator. Raises NotFound, BadCalibration and Conflict."""
    with tenant_scope(tenant_by_slug(slug).id):
        return _from_audits()


def calibrate_if_due() -> bool:
    """Calibrate the cache of the tenant in scope, if there were enough audits since it was calibrated last. Whether it was."""
    row = _settings()
    with transaction.atomic():
        newest = SemanticCalibration.objects.filter(embedder=row.semantic_embedder).order_by("-id").first()
        audits = SemanticAudit.objects.filter(embedder=row.semantic_embedder)
        if newest is not None:
            audits = audits.filter(at__gt=newest.created_at)
        is_due = row.semantic and audits.order_by("-id")[:MIN_AUDITS].count() >= MIN_AUDITS
    if not is_due:
        return False
    try:
        _from_audits()
    except BadCalibration:
        # All of them were right: there is nothing to learn.
        return False
    return True


def tenants_with_audits() -> list[uuid.UUID]:
    """The tenants whose semantic cache is on, whosever they are."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_DUE)
        return [row[0] for row in cursor.fetchall()]


def _questions(pairs: Iterable[Pair], embedder: str) -> Iterator[Asked]:
    one = embedder_for(embedder, on_loop(_owner(current_tenant_id())) if embedder.startswith(ROUTE) else None)
    every = iter(pairs)
    while batch := list(islice(every, BATCH)):
        texts = [text for each in batch for text in (each.question, each.stored)]
        vectors = on_loop(one.embed(texts), timeout_s=EMBED_S)
        for number, each in enumerate(batch):
            cosine = float(np.dot(vectors[2 * number], vectors[2 * number + 1]))
            features = guard.features_of(each.question), guard.features_of(each.stored)
            yield pair(*features, cosine, same_answer=each.same)


async def _owner(tenant_id: uuid.UUID) -> Principal:
    """Whose rights and bill it is to embed the pairs with a model of the tenant's. Raises NotFound without an active owner."""
    async with adb.transaction(tenant_id) as connection:
        row = await (await connection.execute(_OWNER)).fetchone()
    if row is None:
        raise NotFound("The tenant has no active owner, on whose behalf its model could be asked.")
    return await acting_principal(Subject(tenant_id, row["id"]))


def _settings() -> CacheNamespace:
    with transaction.atomic():
        return settings_now()


def _from_audits() -> Calibration:
    row = _settings()
    embedder = row.semantic_embedder
    with transaction.atomic():
        own = SemanticCalibration.objects.filter(embedder=embedder, version=row.semantic_calibration).first()
        audits = list(SemanticAudit.objects.filter(embedder=embedder).order_by("-id")[:MAX_AUDITS])
    held = msgspec.convert(own.body, Calibration) if own is not None else shipped_for(embedder)
    if held is None:
        raise BadCalibration(f"There is no calibration for {embedder} that audits could make stricter.")
    questions = [question for audit in audits if (question := _audited(audit)) is not None]
    data = f"{len(questions)} audits of its own traffic, after {held.data}"[:MAX_DATA_CHARS]
    made = tightened(held, questions, version=_version("audits"), data=data)
    return _keep(made, source="audits", count=len(questions))


def _audited(audit: SemanticAudit) -> Asked | None:
    """What the judge saw; the answer it chose was right if the provider's agreed, and any other wasn't. None for what can't be
    read any more, and for the same words, which no cut is asked about."""
    tenant_id = current_tenant_id()
    seen = unseal(bytes(audit.seen), Seen, tenant_id=tenant_id, table=AUDITS, row_id=audit.id, column="seen")
    if seen is None or seen.text.split() == seen.candidates[seen.chosen][0].split():
        return None
    candidates = [
        Candidate(uuid.UUID(int=number + 1), guard.features_of(text), cosine, uuid.UUID(cluster), text)
        for number, (text, cosine, cluster) in enumerate(seen.candidates)
    ]
    right = candidates[seen.chosen].cluster if audit.agreed else None
    return asked(guard.features_of(seen.text), candidates, lambda candidate: candidate.cluster == right)


def _version(source: str) -> str:
    return f"{source}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def _keep(made: Calibration, *, source: str, count: int) -> Calibration:
    """Have a calibration hold from now on."""
    with transaction.atomic():
        row = settings_locked()
        if row.semantic_embedder != made.embedder:
            raise Conflict("The embedder was changed while it was calibrated for.")
        SemanticCalibration.objects.create(
            tenant_id=row.tenant_id,
            version=made.version,
            embedder=made.embedder,
            body=msgspec.to_builtins(made),
            source=source,
            pairs=count,
        )
        _hold(row, made.version, datetime.now(UTC))
    return made


def _hold(row: CacheNamespace, version: str, now: datetime, caller: Principal | None = None) -> None:
    row.semantic_calibration = version
    row.semantic_since, row.semantic_tightened, row.semantic_problem = now.timestamp(), 0, ""
    row.save()
    record(
        action="cache.calibrated", subject_kind="cache", subject_id=row.id, actor=caller, data={"calibration": version}
    )
    namespaces.announce(row)
