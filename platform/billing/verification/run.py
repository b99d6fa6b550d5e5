"""Verifying tenants' books, and keeping what was found."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from psycopg import Error

from billing.periods import zone_of
from billing.report_models import Verification
from billing.verification.guards import check_ages, check_holds, check_limits
from billing.verification.ledger import check_accounts, check_entries
from billing.verification.recount import check_mark, check_rollups
from billing.verification.repricing import Repricing
from billing.verification.values import Books, Findings, TooMany, windows_of
from kernel import metrics
from kernel.errors import ParleyError
from kernel.ids import uuid7
from kernel.snapshots import Snapshot, snapshot_of
from kernel.tenancy import tenant_scope
from tenants.models import Tenant

log = structlog.get_logger(__name__)

PLATFORM = "platform"
KEPT_FOR = timedelta(days=90)

Check = Callable[[Snapshot, Findings], None]

CHECKS: tuple[Check, ...] = (check_accounts, check_holds, check_limits, check_ages, check_mark)
"""What is checked of a whole tenant in one moment."""
UNFINISHED = (ParleyError, DatabaseError, Error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What may come of a database that doesn't answer in time, and of rows that hold what none should."""
more_checks: list[Check] = []
"""Checks of other parts of billing, which they add when the app starts."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification of one tenant found."""

    slug: str
    findings: Findings
    took_ms: int

    @property
    def is_right(self) -> bool:
        """Whether nothing differed."""
        return not self.findings.differences


def verify_all(*, slug: str | None = None, since: datetime | None = None) -> Iterator[Verified]:
    """Verify every tenant's books, or one's, and keep what was found."""
    for tenant_id, books in _books(slug, since):
        yield _kept(tenant_id, verify(books))


def verify(books: Books) -> Verified:
    """Compute a tenant's books again, and say where they differ. What can't be computed to its end is a difference, too:
    nobody knows that they are right."""
    began, findings = time.monotonic(), Findings()
    try:
        _verify(books, findings)
    except TooMany:
        log.info("verification_ended_early", tenant=str(books.tenant_id))
    except UNFINISHED as error:
        log.exception("verification_failed", tenant=str(books.tenant_id))
        findings.unfinished(books.tenant_id, error)
    return Verified(books.slug, findings, round((time.monotonic() - began) * 1000))


def _verify(books: Books, findings: Findings) -> None:
    # Budgets' balances are read first and records after: what was used may only be more than what was settled.
    repricing = Repricing(books, findings)
    with snapshot_of(books.tenant_id) as snapshot:
        repricing.begin(snapshot)
    for window in windows_of(books, now=timezone.now()):
        # A snapshot for each month: a long one would keep PostgreSQL from tidying up after everybody's requests.
        with snapshot_of(books.tenant_id) as snapshot:
            repricing.look_at(snapshot, window)
            check_entries(snapshot, window, findings)
            check_rollups(snapshot, window, findings)
    repricing.end()
    with snapshot_of(books.tenant_id) as snapshot:
        for check in (*CHECKS, *more_checks):
            check(snapshot, findings)


def latest(*, slug: str | None = None) -> Iterable[Verification]:
    """The last verification of every tenant, or of one."""
    found = Verification.objects.using(PLATFORM).select_related("tenant")
    if slug is not None:
        found = found.filter(tenant__slug=slug)
    return found.order_by("tenant_id", "-at").distinct("tenant_id")


def _books(slug: str | None, since: datetime | None) -> Iterator[tuple[uuid.UUID, Books]]:
    for tenant in _tenants(slug).iterator():
        yield tenant.id, Books(tenant.id, tenant.slug, zone_of(tenant.timezone), tenant.created_at, since)


def _tenants(slug: str | None) -> QuerySet[Tenant]:
    tenants = Tenant.objects.using(PLATFORM).order_by("slug")
    return tenants if slug is None else tenants.filter(slug=slug)


def _kept(tenant_id: uuid.UUID, verified: Verified) -> Verified:
    differences = [one.body() for one in verified.findings.differences]
    with tenant_scope(tenant_id), transaction.atomic():
        Verification.objects.filter(at__lt=timezone.now() - KEPT_FOR).delete()
        Verification.objects.create(
            id=uuid7(),
            tenant_id=tenant_id,
            took_ms=verified.took_ms,
            checked=verified.findings.checked,
            differences=differences,
        )
    if differences:
        metrics.books_differ.inc()
        log.error(
            "books_differ", tenant=str(tenant_id), slug=verified.slug, first=differences[0], count=len(differences)
        )
    return verified
