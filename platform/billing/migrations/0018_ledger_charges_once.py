"""The ledger, of two cases that 0015 has otherwise: who was billed by estimate is not charged again for a later attempt of the same
request; and what costs nothing passes budgets of money, whatever was used of them."""

from importlib import import_module

from django.db import migrations

from kernel.migrations import Definer, DefinersGone

_BEFORE = import_module("billing.migrations.0015_ledger_by_key")
_REPLACED = ("ledger_balance", "ledger_settle_with_care")


def _changed(body: str, was: str, now: str) -> str:
    if body.count(was) != 1:
        raise ValueError(f"{was!r} is not there once")
    return body.replace(was, now)


_TOO_LATE = "                -- Its hold is gone: it was too late."
SETTLE_WITH_CARE = _changed(
    _BEFORE.SETTLE_WITH_CARE,
    _TOO_LATE,
    f"""                -- Its hold is gone, and was billed by estimate (`billing.orphans`): that stands, whatever attempts there were.
                WHEN EXISTS (
                    SELECT FROM public.billing_usagerecord r
                    WHERE r.tenant_id = of_tenant AND r.request_id = u.request_id AND r.error_code = 'process_died'
                ) THEN 0
{_TOO_LATE}""",
)
_FITS = "IF used[hit] + ask.amount_nano <= limits[hit] THEN"
BALANCE = _changed(_BEFORE.BALANCE, _FITS, "IF ask.amount_nano = 0 OR used[hit] + ask.amount_nano <= limits[hit] THEN")


class Migration(migrations.Migration):
    dependencies = [("billing", "0017_included_credit")]

    operations = [
        DefinersGone(
            [
                operation
                for operation in _BEFORE.Migration.operations
                if isinstance(operation, Definer) and operation.name in _REPLACED
            ],
            _REPLACED,
        ),
        _BEFORE._part(
            "ledger_settle_with_care",
            f"of_tenant uuid, used json, held_ids uuid[], some_over boolean, {_BEFORE.GIVEN_BACK}",
            "record",
            SETTLE_WITH_CARE,
        ),
        _BEFORE._part(
            "ledger_balance",
            "of_tenant uuid, asks json, ask_ids uuid[], of_scopes text[], stale_after_s integer, "
            "back_to uuid[], back_periods date[], back_nano bigint[], back_tokens bigint[], spent_nano bigint[], spent_tokens bigint[]",
            _BEFORE.ADMITTED,
            BALANCE,
        ),
    ]
