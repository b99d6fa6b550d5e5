"""A process of `bench.billing_race`: asks for holds and settles them, many at once, and keeps a journal of what it was told.

The journal has a line per step, written before or after it as its letter says, and outlives the process however it ends:

    A  a hold is about to be asked for            G, g  it was granted (g: the provider is not asked yet)
                                                  D, d  the same, drawn from an allowance
    R  it was refused; the least that would fit   v     it is about to be given back unused
    V  that is durable                            S     its settlement is durable; what was charged
"""

import argparse
import asyncio
import json
import os
import random
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

import msgspec  # noqa: E402

from billing import ledger  # noqa: E402
from billing.allowances import ROOM, Drawn  # noqa: E402
from billing.errors import BudgetExceeded  # noqa: E402
from billing.holds import LEAST_OUTPUT_TOKENS, Hold, HoldRequest, WorstCase, scopes_of  # noqa: E402
from billing.ledger import admit, checkpoint, drained, settle  # noqa: E402
from billing.orphans import OrphanFacts  # noqa: E402
from billing.types import METERS, Charge, Payer, Rate, Tariff, Tokens, UsageEvent  # noqa: E402
from kernel import adb  # noqa: E402
from kernel.ids import uuid7  # noqa: E402

RATE_NANO_PER_MTOK = 1_000_000
"""A nano-dollar a token: money and tokens are the same number."""
INPUT_MAX, CAP_MIN, CAP_MAX = 50, 20, 200
TWICE, GIVEN_BACK, NOT_SENT, CHECKPOINTED = 0.05, 0.05, 0.1, 0.1
"""The shares of requests that are sent twice, never made, still waiting, and noted on their way."""
TARIFF = Tariff("bench", {meter: Rate(uuid7(), RATE_NANO_PER_MTOK, RATE_NANO_PER_MTOK) for meter in METERS})


@dataclass(frozen=True)
class Orders:
    """What a process has to do; `room` is `billing.allowances.ROOM`. With `drain` it uses up all that it is granted, until not
    even the smallest hold fits any more."""

    tenant: str
    members: tuple[str, ...]
    keys: tuple[str, ...]
    journal: str
    admissions: int
    concurrency: int
    seed: int
    room: int = ROOM
    drain: bool = False

    def encode(self) -> str:
        """As the argument of the process."""
        return json.dumps(asdict(self))


class Worker:
    """One process."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._random = random.Random(orders.seed)
        self._left = orders.admissions
        self._journal = os.open(orders.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, letter: str, request_id: uuid.UUID, amount: int = 0) -> None:
        """Write a line."""
        os.write(self._journal, f"{letter} {request_id.hex} {amount}\n".encode())

    async def work(self) -> None:
        """Do all of it."""
        try:
            if self._orders.drain:
                await self._drain()
            else:
                await asyncio.gather(*(self._lane() for _ in range(self._orders.concurrency)))
        finally:
            await drained()
            await adb.close()

    async def _lane(self) -> None:
        while self._left > 0:
            self._left -= 1
            asked = self._asking(
                self._random.choice(self._orders.members),
                self._random.choice(self._orders.keys),
                input_tokens=self._random.randint(0, INPUT_MAX),
                cap=self._random.randint(CAP_MIN, CAP_MAX),
                is_sent=self._random.random() >= NOT_SENT,
            )
            await self._request(asked)

    async def _drain(self) -> None:
        pairs = [(member, key) for member in self._orders.members for key in self._orders.keys]
        while pairs:
            pair = self._random.choice(pairs)
            if not await self._request(self._asking(*pair, input_tokens=0, cap=CAP_MAX)):
                pairs.remove(pair)

    async def _request(self, asked: HoldRequest) -> bool:
        """From hold to settlement. Whether it was granted."""
        dice = self._random
        self.note("A", asked.request_id)
        # Asked twice it is one hold; the first may be refused and the second granted, when money came back in between.
        times = 2 if dice.random() < TWICE else 1
        answers = await asyncio.gather(*(admit(asked) for _ in range(times)), return_exceptions=True)
        hold = next((answer for answer in answers if isinstance(answer, Hold)), None)
        if hold is None:
            for answer in answers:
                if not isinstance(answer, BudgetExceeded):
                    raise RuntimeError("neither granted nor refused") from answer  # type: ignore[misc]
            self.note("R", asked.request_id, asked.worst.input_nano + LEAST_OUTPUT_TOKENS)
            return False
        letter = "d" if isinstance(hold, Drawn) else "g"
        self.note(letter.upper() if asked.is_sent else letter, asked.request_id, hold.amount_nano)
        await asyncio.sleep(0)
        if dice.random() < CHECKPOINTED:
            checkpoint(hold, output_tokens=dice.randint(0, hold.cap_tokens))
        if dice.random() < GIVEN_BACK and not self._orders.drain:
            self.note("v", asked.request_id)
            await settle(hold, ())
            self.note("V", asked.request_id)
            return True
        nano = hold.amount_nano if self._orders.drain else dice.randint(0, hold.amount_nano)
        event = used(asked, nano)
        if dice.random() < TWICE:
            await asyncio.gather(settle(hold, (event,)), settle(hold, (event,)))
        else:
            await settle(hold, (event,))
        self.note("S", asked.request_id, nano)
        return True

    def _asking(self, member: str, key: str, *, input_tokens: int, cap: int, is_sent: bool = True) -> HoldRequest:
        payer = Payer(uuid.UUID(self._orders.tenant), "api_key", uuid.UUID(member), uuid.UUID(key))
        return hold_request(payer, input_tokens=input_tokens, cap=cap, is_sent=is_sent)


def hold_request(payer: Payer, *, input_tokens: int, cap: int, is_sent: bool = True) -> HoldRequest:
    """A hold of `input_tokens + cap` nano-dollars and as many tokens."""
    request_id = uuid7()
    facts = OrphanFacts(
        payer=payer,
        request_id=request_id,
        alias="bench",
        provider="fake",
        connection="bench",
        model="bench",
        platform=True,
        rates=TARIFF.rates,
        input_tokens=input_tokens,
    )
    return HoldRequest(
        payer=payer,
        request_id=request_id,
        scopes=scopes_of(payer, groups=(), alias="bench"),
        worst=WorstCase(input_tokens, cap, input_nano=input_tokens, output_nano_per_mtok=RATE_NANO_PER_MTOK),
        facts=msgspec.Raw(msgspec.json.encode(facts)),
        is_sent=is_sent,
    )


def used(asked: HoldRequest, nano: int) -> UsageEvent:
    """The usage of a request that was granted its hold: so many tokens of output, a nano-dollar each."""
    return UsageEvent(
        payer=asked.payer,
        request_id=asked.request_id,
        attempt=1,
        kind="completion",
        at=datetime.now(tz=UTC),
        status="complete",
        alias="bench",
        provider="fake",
        connection="bench",
        model="bench",
        platform_paid=True,
        tokens=Tokens(output=nano),
        charge=Charge(cost_nano=nano // 2, sell_nano=nano, lines=()),
        estimated=False,
        streamed=False,
        latency_ms=1,
        ttft_ms=None,
        finish_reason="stop",
        error_code=None,
        provider_usage=None,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the argument says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("orders")
    orders = Orders(**json.loads(parser.parse_args(arguments).orders))
    ledger.ROOM = orders.room  # type: ignore[attr-defined]
    asyncio.run(Worker(orders).work())


if __name__ == "__main__":
    main()
