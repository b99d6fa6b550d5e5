"""Holds: what a request may cost at most, reserved against every budget that applies before a provider is asked."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from billing.pricing import TOKENS_PER_RATE, worst_rates
from billing.scopes import BudgetScopes
from billing.types import Payer, Tariff

LEAST_OUTPUT_TOKENS = 16
"""Of each answer, where the cap is shrunk to fit the money left: below that it is of no use, and the request is refused."""
ALLOWANCE = "allowance"
"""The state of a hold that is no request's, but for requests to come."""
FUNDS = "funds"
"""The scope of the budget that holds what was paid or given in advance."""
OUTPUT_METERS = frozenset({"output", "reasoning", "output_audio"})
_ROUNDING_NANO = 3
"""Each meter is rounded to a whole nano-dollar by itself: so much may that add to what all tokens of a side cost together."""


class WorstCase(msgspec.Struct, frozen=True):
    """What a request may cost at most. `input_nano` is for `input_tokens` at the dearest price; each token of output
    costs at most `output_nano_per_mtok`. `cap_tokens` are those of all its `answers` together."""

    input_tokens: int
    cap_tokens: int
    input_nano: int
    output_nano_per_mtok: int
    answers: int = 1

    @property
    def amount_nano(self) -> int:
        """All of it."""
        return self.input_nano - (-self.cap_tokens * self.output_nano_per_mtok // TOKENS_PER_RATE)


NO_AMOUNT = WorstCase(input_tokens=0, cap_tokens=0, input_nano=0, output_nano_per_mtok=0)
"""Of a request that no budget binds: what it is charged isn't bound by what is held."""


class HoldRequest(msgspec.Struct, frozen=True):
    """A hold that is asked for. `scopes` name the budgets that apply; `is_sent` says that the provider is asked at once, not
    after a wait. `facts` (`billing.orphans`) are kept with it as JSON. `budgeted` is what its tenant has budgets for, as far as
    the caller knows; another such object after a budget was made, changed or deleted."""

    payer: Payer
    request_id: uuid.UUID
    scopes: tuple[str, ...]
    worst: WorstCase
    facts: msgspec.Raw
    is_sent: bool = True
    budgeted: BudgetScopes | None = None


class Hold(msgspec.Struct):
    """A hold that was granted. `cap_tokens` is how long the answer may be, which may be less than was asked for;
    `is_bounded` says that a hard budget stands behind it."""

    tenant_id: uuid.UUID
    request_id: uuid.UUID
    cap_tokens: int
    amount_nano: int
    tokens: int
    is_bounded: bool
    is_sent: bool = True


def scopes_of(
    payer: Payer, *, groups: Iterable[uuid.UUID], alias: str, bound_by: Iterable[uuid.UUID] = ()
) -> tuple[str, ...]:
    """The scopes whose budgets apply to a request. `bound_by` are the keys that the payer's key is bound by."""
    scopes = ["tenant", FUNDS, f"member:{payer.membership_id}", f"model:{alias}"]
    scopes += [f"group:{group}" for group in groups]
    if payer.api_key_id is not None:
        scopes += [f"key:{key}" for key in (payer.api_key_id, *bound_by)]
    if payer.subject_kind is not None:
        scopes.append(f"{payer.subject_kind}:{payer.subject_id}")
    return tuple(scopes)


def worst_case(tariffs: Iterable[Tariff], *, input_tokens: int, cap_tokens: int, answers: int = 1) -> WorstCase:
    """What `input_tokens` read and `cap_tokens` written may cost at the dearest of the tariffs that may come to apply."""
    input_rate = output_rate = 0
    for tariff in tariffs:
        rates = tariff.rates if not tariff.tiers else worst_rates(tariff, input_tokens)
        for meter, rate in rates.items():
            if meter in OUTPUT_METERS:
                output_rate = max(output_rate, rate.sell_nano_per_mtok)
            else:
                input_rate = max(input_rate, rate.sell_nano_per_mtok)
    rounding = _ROUNDING_NANO * ((input_rate > 0) + (output_rate > 0))
    return WorstCase(
        input_tokens=input_tokens,
        cap_tokens=cap_tokens,
        input_nano=-(-input_tokens * input_rate // TOKENS_PER_RATE) + rounding,
        output_nano_per_mtok=output_rate,
        answers=answers,
    )


def state_of(*, is_sent: bool, output_tokens: int) -> str:
    """The state of a hold whose request has come so far."""
    return "streaming" if output_tokens else "sent" if is_sent else "reserved"


def ask_row(
    asked: HoldRequest, position: int, output_tokens: int, *, room: int | None = None, waits: bool = False
) -> Mapping[str, Any]:
    """The hold as `lookup.ledger_commit` reads it, of a request of which so much has come.

    With `room` it is an allowance (`billing.allowances`), given where so many fit. One that `waits` is neither granted in part
    nor refused while allowances have what it lacks.
    """
    worst = asked.worst
    return {
        "position": position,
        "request_id": asked.request_id,
        "scopes": asked.scopes,
        "state": ALLOWANCE if room is not None else state_of(is_sent=asked.is_sent, output_tokens=output_tokens),
        "output": output_tokens,
        "facts": asked.facts,
        "room": room,
        "waits": waits,
        "cap_tokens": worst.cap_tokens,
        "least_tokens": min(worst.cap_tokens, LEAST_OUTPUT_TOKENS * worst.answers),
        "input_nano": worst.input_nano,
        "input_tokens": worst.input_tokens,
        "output_nano_per_mtok": worst.output_nano_per_mtok,
        "amount_nano": worst.amount_nano,
    }
