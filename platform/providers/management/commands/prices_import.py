"""Compare the price book with public price lists; enter what somebody has looked at."""

from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import CommandParser

from billing.price_book import FORMAT, Entered, Proposal, Proposed
from kernel.commands import ParleyCommand
from kernel.errors import InvalidRequest
from providers.services.price_import import accept_prices, prices_of, propose_prices

MAX_FILE_BYTES = 64 * 1024 * 1024
_USD = 1_000_000_000


class Command(ParleyCommand):
    help = (
        "Show what public price lists would change in the price book. Nothing is entered without --apply or --accept. "
        "Prices are in US dollars for a million tokens."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group()
        chosen.add_argument("--write-proposal", metavar="FILE", help="write the changes to a JSON file, to be edited")
        chosen.add_argument("--apply", metavar="FILE", help="enter the prices that such a file holds")
        chosen.add_argument("--accept", nargs="+", metavar="MODEL", help="enter what is proposed for these models")
        parser.add_argument(
            "--markup-bps", type=int, help="sell at so many hundredths of a percent above cost; else margins stay"
        )
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["apply"]:
            self._entered(accept_prices(_read(Path(options["apply"])).prices), as_json=options["json"])
            return
        proposal = propose_prices(markup_bps=options["markup_bps"])
        if options["accept"]:
            self._entered(accept_prices(prices_of(proposal, options["accept"])), as_json=options["json"])
            return
        if options["write_proposal"]:
            _write(Path(options["write_proposal"]), proposal)
        if options["json"]:
            self.stdout.write(msgspec.json.encode(proposal).decode())
            return
        self._show(proposal)
        if options["write_proposal"]:
            self.stdout.write(
                f"Written to {options['write_proposal']}. Edit it, then: --apply {options['write_proposal']}"
            )

    def _entered(self, done: Entered, *, as_json: bool) -> None:
        self.answer({"entered": done.entered, "known": done.known}, as_json=as_json)

    def _show(self, proposal: Proposal) -> None:
        self.stdout.write(f"{proposal.source}: {len(proposal.prices)} prices would change.")
        model = ""
        for price in proposal.prices:
            if price.model != model:
                model = price.model
                self.stdout.write(f"\n{model}  (listed as {price.listed_as})")
            since = f"  from {price.effective_from:%Y-%m-%d %H:%M %Z}" if price.effective_from else ""
            self.stdout.write(f"  {price.tier:<18} {price.meter:<15} {_old(price):>24} → {_new(price)}{since}")
        if proposal.unlisted:
            self.stdout.write("\nNot listed:")
        for one in proposal.unlisted:
            self.stdout.write(f"  {one.model}: {one.reason}")


def _read(path: Path) -> Proposal:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path} is larger than {MAX_FILE_BYTES} bytes.")
        proposal = msgspec.json.decode(path.read_bytes(), type=Proposal)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is no proposal: {error}.") from error
    if proposal.format != FORMAT:
        raise InvalidRequest(f"{path} is a proposal of format {proposal.format}, not {FORMAT}.")
    return proposal


def _write(path: Path, proposal: Proposal) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(proposal), indent=2) + b"\n")
    except OSError as error:
        raise InvalidRequest(f"{path} can't be written: {error.strerror}.") from error


def _old(price: Proposed) -> str:
    if price.old_cost_nano_per_mtok is None or price.old_sell_nano_per_mtok is None:
        return "none"
    return _shown(price.old_cost_nano_per_mtok, price.old_sell_nano_per_mtok)


def _new(price: Proposed) -> str:
    return _shown(price.cost_nano_per_mtok, price.sell_nano_per_mtok)


def _shown(cost: int, sell: int) -> str:
    """The cost, and the selling price if that is another."""
    return _usd(cost) if cost == sell else f"{_usd(cost)} (sold at {_usd(sell)})"


def _usd(nano: int) -> str:
    whole, rest = divmod(nano, _USD)
    return f"{whole}.{f'{rest:09}'.rstrip('0').ljust(2, '0')}"
