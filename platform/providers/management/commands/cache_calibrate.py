"""The operator's way to calibrate a tenant's semantic cache."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from providers.services.calibrating import calibrate_from_audits, calibrate_from_pairs, read_pairs


class Command(ParleyCommand):
    help = "Calibrate a tenant's semantic cache by labelled pairs, or by what its audits compared."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", metavar="SLUG")
        parser.add_argument("--pairs", metavar="CSV", type=Path, help="columns: question, stored, same (1 or 0)")
        parser.add_argument("--audits", action="store_true", help="of the tenant's own audited traffic")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path | None = options["pairs"]
        if (path is not None) == options["audits"]:
            raise CommandError("name a file by --pairs, or say --audits")
        try:
            if path is None:
                made = calibrate_from_audits(slug=options["tenant"])
            else:
                with path.open(newline="", encoding="utf-8-sig") as lines:
                    made = calibrate_from_pairs(slug=options["tenant"], pairs=read_pairs(lines), source=path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error)) from error
        certified = sorted(cut.rate for cut in made.cuts)
        rates = ", ".join(f"{rate:.1%}" for rate in certified) or "none"
        answer = {"calibration": made.version, "embedder": made.embedder, "measured on": made.data, "rates": rates}
        self.answer(answer, as_json=options["json"])
