"""Proves that the books are right."""

import json
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing.verification.run import Verified, latest, verify_all
from kernel.commands import ParleyCommand
from tenants.services.provisioning import tenant_by_slug


class Command(ParleyCommand):
    help = (
        "Compute the whole ledger again from raw usage and compare: prices, entries, accounts, holds, budgets, rollups. "
        "Says where the first difference is; then the exit code is 1."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="this tenant alone")
        parser.add_argument(
            "--since", type=_moment, help="only records of requests since this day or moment (ISO, UTC)"
        )
        parser.add_argument("--last", action="store_true", help="show what the last verification found, verify nothing")
        parser.add_argument("--json", action="store_true", help="print a JSON object for each tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        slug, as_json = options["tenant"], options["json"]
        if slug is not None:
            tenant_by_slug(slug)
        bodies = _kept(slug) if options["last"] else map(_body, verify_all(slug=slug, since=options["since"]))
        wrong = []
        for body in bodies:
            if body["differences"]:
                wrong.append(body["tenant"])
            self.stdout.write(json.dumps(body, default=str) if as_json else _line(body))
        if wrong:
            raise CommandError(f"The books of {len(wrong)} differ: {', '.join(wrong[:10])}.", returncode=1)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no day or moment, as 2026-01-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _body(verified: Verified) -> dict[str, Any]:
    return {
        "tenant": verified.slug,
        "checked": verified.findings.checked,
        "took_ms": verified.took_ms,
        "differences": [one.body() for one in verified.findings.differences],
    }


def _kept(slug: str | None) -> list[dict[str, Any]]:
    return [
        {
            "tenant": one.tenant.slug,
            "at": one.at.isoformat(),
            "checked": one.checked,
            "took_ms": one.took_ms,
            "differences": one.differences,
        }
        for one in latest(slug=slug)
    ]


def _line(body: dict[str, Any]) -> str:
    looked_at = ", ".join(f"{count} {name}" for name, count in body["checked"].items())
    if not body["differences"]:
        return f"{body['tenant']:<32} right ({looked_at})"
    first = body["differences"][0]
    key = ", ".join(f"{name} {value}" for name, value in first["key"].items())
    return (
        f"{body['tenant']:<32} DIFFERS in {len(body['differences'])} or more places; first in {first['table']} at {key}: "
        f"expected {first['expected']}, found {first['found']} ({first['check']})"
    )
