"""An invoice of very many lines: how long it takes, and how much memory, to gather it, and to make its PDF, CSV and JSON.

    make run                    # in another terminal
    python -m bench.invoice --lines 100000 --requests 3

Writes so many lines' usage of a new tenant, `--requests` for each line, issues the invoice, and makes each file in a process
of its own, whose greatest memory is told. At the end a line is followed to its requests and their prices. Leaves the tenant
behind: run it on a database made for it.
"""

import argparse
import asyncio
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.db import connections, transaction  # noqa: E402

from billing.invoices.closing import close_period  # noqa: E402
from billing.invoices.documents.keeping import make_pdf  # noqa: E402
from billing.invoices.documents.tables import as_csv, as_json  # noqa: E402
from billing.invoices.issuing import issue  # noqa: E402
from billing.invoices.tracing import prices_of, records_of  # noqa: E402
from billing.ledger import settle_all  # noqa: E402
from billing.models import Invoice, InvoiceLine, TenantPrice  # noqa: E402
from billing.tariffs import set_prices  # noqa: E402
from billing.types import Charge, Payer, Tokens, UsageEvent  # noqa: E402
from kernel import adb  # noqa: E402
from kernel.ids import uuid7  # noqa: E402
from kernel.tenancy import Scope, tenant_scope  # noqa: E402
from tenants.services.provisioning import create_tenant  # noqa: E402

DAYS = 28
MODEL = "bench/invoice"
AT_ONCE = 5_000
WAIT_S = 60.0
KINDS = ("pdf", "csv", "json")
NAMES = ("gpt-4o-mini", "模型", "Модель", "a-model-whose-name-is-much-too-long-for-the-column-of-a-table-on-paper")


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=1, help="of each line")
    parser.add_argument("--make", nargs=3, metavar=("KIND", "TENANT", "INVOICE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        _make(options.make[0], uuid.UUID(options.make[1]), uuid.UUID(options.make[2]))
        return
    made = create_tenant(slug=f"bench-{secrets.token_hex(5)}", owner_email="bench@example.com")
    payer = Payer(tenant_id=made.tenant.id, principal_kind="member", membership_id=made.owner.membership.id)
    began = time.monotonic()
    asyncio.run(_use(payer, _price(payer.tenant_id), options.lines, options.requests))
    print(f"usage: {options.lines * options.requests:,} records in {time.monotonic() - began:.1f} s", flush=True)
    _wait_for_others()
    with tenant_scope(payer.tenant_id):
        began = time.monotonic()
        with transaction.atomic():
            close_period(until=datetime.now(tz=UTC) + timedelta(days=DAYS + 2))
        invoice = issue(at_once=True)
        assert invoice is not None
        print(f"issued: {invoice.lines:,} lines in {time.monotonic() - began:.1f} s", flush=True)
    for kind in KINDS:
        subprocess.run(
            [sys.executable, "-m", "bench.invoice", "--make", kind, str(payer.tenant_id), str(invoice.id)], check=True
        )
    _trace(invoice)


def _price(tenant_id: uuid.UUID) -> uuid.UUID:
    """A price of the tenant's own: a nano-dollar for each token."""
    with tenant_scope(tenant_id), transaction.atomic():
        nano_per_mtok = 1_000_000
        set_prices(
            model=MODEL,
            input_nano_per_mtok=nano_per_mtok,
            output_nano_per_mtok=nano_per_mtok,
            tenant_id=tenant_id,
            using="default",
        )
        price_id: uuid.UUID = TenantPrice.objects.get(model=MODEL, meter="output").id
    return price_id


def _wait_for_others() -> None:
    """What others have open holds the invoice's mark back."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        newest = cursor.fetchone()[0]
    ends = time.monotonic() + WAIT_S
    while time.monotonic() < ends:
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= %s", [newest])
            if cursor.fetchone()[0]:
                return
        time.sleep(0.05)
    raise SystemExit("a transaction stays open")


async def _use(payer: Payer, price: uuid.UUID, lines: int, requests: int) -> None:
    events = _events(payer, price, lines, requests)
    while batch := list(islice(events, AT_ONCE)):
        await settle_all(batch)
    await adb.close()


def _events(payer: Payer, price: uuid.UUID, lines: int, requests: int) -> Iterator[UsageEvent]:
    now = datetime.now(tz=UTC)
    for number in range(lines * requests):
        line = number % lines
        tokens = 1_000 + number
        charged = {"meter": "output", "tokens": tokens, "price": str(price), "cost_nano": tokens, "sell_nano": tokens}
        yield UsageEvent(
            payer=payer,
            request_id=uuid7(),
            attempt=1,
            kind="completion",
            at=now + timedelta(days=line % DAYS),
            status="complete",
            alias=f"{NAMES[line % len(NAMES)]}-{line // DAYS}",
            provider="fake",
            connection="bench",
            model=f"upstream-{line // DAYS}",
            platform_paid=True,
            tokens=Tokens(output=tokens),
            charge=Charge(cost_nano=tokens, sell_nano=tokens, lines=(charged,)),
            estimated=False,
            streamed=False,
            latency_ms=1,
            ttft_ms=None,
            finish_reason="stop",
            error_code=None,
            provider_usage={"completion_tokens": tokens},
        )


def _make(kind: str, tenant_id: uuid.UUID, invoice_id: uuid.UUID) -> None:
    with tenant_scope(tenant_id), transaction.atomic():
        invoice = Invoice.objects.select_related("corrects", "replaces").get(id=invoice_id)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, worked = time.monotonic(), time.process_time()
    with tempfile.TemporaryFile() as target:
        if kind == "pdf":
            told = f", {make_pdf(invoice, target):,} pages"
        else:
            asyncio.run(_write(kind, invoice, target))
            told = ""
        size = target.seek(0, os.SEEK_END)
    seconds, worked = time.monotonic() - began, time.process_time() - worked
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{kind}: {invoice.lines:,} lines in {seconds:.1f} s, {worked:.1f} of them its own; {size / 2**20:.1f} MiB{told}; "
        f"memory {most / 1024:.0f} MiB at most, {(most - before) / 1024:.0f} MiB more than before",
        flush=True,
    )


async def _write(kind: str, invoice: Invoice, target: IO[bytes]) -> None:
    scope = Scope(tenant_id=invoice.tenant_id)
    chunks = as_csv(invoice, scope=scope) if kind == "csv" else as_json(invoice, {"id": invoice.id}, scope=scope)
    async for chunk in chunks:
        target.write(chunk)
    await adb.close()


def _trace(invoice: Invoice) -> None:
    with tenant_scope(invoice.tenant_id), transaction.atomic():
        line = InvoiceLine.objects.filter(invoice=invoice, kind="usage", position=invoice.lines // 2).get()
        began = time.monotonic()
        records = records_of(line, limit=100)
        prices = prices_of(records)
        took_ms = (time.monotonic() - began) * 1000
    assert sum(record.sell_nano for record in records) == line.amount_nano
    assert [str(one) for one in line.prices] == [*prices]
    print(f"traced: a line to {len(records)} requests and {len(prices)} prices in two queries, {took_ms:.0f} ms")


if __name__ == "__main__":
    main()
