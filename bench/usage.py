"""How fast usage is recorded by group commit.

    make run                    # in another terminal
    python -m bench.usage --events 5000 --tenants 3

Records so many events of so many new tenants, all at once, through one event loop's writer, and prints events per second, with
the durability of the database as it is set up. Leaves the tenants behind: run it on a database made for it.
"""

import argparse
import asyncio
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from billing.types import Charge, Payer, Tokens, UsageEvent  # noqa: E402
from billing.usage_writer import record_usage  # noqa: E402
from kernel import adb  # noqa: E402
from kernel.ids import uuid7  # noqa: E402
from tenants.services.provisioning import create_tenant  # noqa: E402


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--tenants", type=int, default=3)
    options = parser.parse_args()
    payers = [_payer() for _ in range(options.tenants)]
    seconds = asyncio.run(_record([_event(payers[i % len(payers)]) for i in range(options.events)]))
    print(f"usage: {options.events} events of {options.tenants} tenants, {options.events / seconds:,.0f} events/s")


def _payer() -> Payer:
    made = create_tenant(slug=f"bench-{secrets.token_hex(5)}", owner_email="bench@example.com")
    return Payer(tenant_id=made.tenant.id, principal_kind="member", membership_id=made.owner.membership.id)


def _event(payer: Payer) -> UsageEvent:
    return UsageEvent(
        payer=payer,
        request_id=uuid7(),
        attempt=1,
        kind="completion",
        at=datetime.now(tz=UTC),
        status="complete",
        alias="bench",
        provider="fake",
        connection="bench",
        model="bench",
        platform_paid=True,
        tokens=Tokens(input=12, output=34),
        charge=Charge(cost_nano=0, sell_nano=0, lines=()),
        estimated=False,
        streamed=False,
        latency_ms=1,
        ttft_ms=None,
        finish_reason="stop",
        error_code=None,
        provider_usage=None,
    )


async def _record(events: list[UsageEvent]) -> float:
    await record_usage(events[0])
    started = time.perf_counter()
    await asyncio.gather(*(record_usage(event) for event in events[1:]))
    seconds = time.perf_counter() - started
    await adb.close()
    return seconds


if __name__ == "__main__":
    main()
