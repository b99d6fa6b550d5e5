"""In which order the deployments of a route are tried: one pure function per strategy.

    priority          as the route lists them
    weighted          at random, each as likely to be first as its weight's share
    least_in_flight   those with the fewest requests in flight, by weight, first; among equals at random
    lowest_latency    of two taken at random the quicker one first (power of two choices), then the others by latency
    cheapest          by what a typical request costs
    nearest_region    those in this process's region, then those in the same part of the world

Whatever the order, those that were found misconfigured of late come last: they are tried only if nothing else is left.
Latencies are smoothed times to the first content (`providers.pipeline.health`); one that isn't known yet counts as the
best, so that it becomes known."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from billing.types import Tariff

INPUT_PER_OUTPUT = 3
"""Of how many tokens read for each one written a typical request is made, to compare prices."""

Chance = Callable[[], float]


class Option(Protocol):
    """What choosing needs to know of a deployment."""

    @property
    def weight(self) -> int: ...
    @property
    def region(self) -> str: ...
    @property
    def tariff(self) -> Tariff: ...


@dataclass(frozen=True, slots=True)
class Load:
    """How a deployment is doing at this moment."""

    in_flight: int = 0
    latency_s: float | None = None
    marked: bool = False


UNKNOWN = Load()


@dataclass(frozen=True, slots=True)
class Weighed:
    """A deployment by its place in the route, with what there is to weigh."""

    place: int
    option: Option
    load: Load


Rule = Callable[[Sequence[Weighed], str, Chance], list[Weighed]]


def _priority(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    return list(options)


def _weighted(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    # A weighted permutation: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    keyed = [(chance() ** (1 / max(one.option.weight, 1)), one.place, one) for one in options]
    return [one for _, _, one in sorted(keyed, reverse=True)]


def _least_in_flight(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    keyed = [(one.load.in_flight / max(one.option.weight, 1), chance(), one.place, one) for one in options]
    return [one for *_, one in sorted(keyed)]


def _lowest_latency(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    by_latency = sorted(options, key=lambda one: one.load.latency_s or 0.0)
    if len(by_latency) < 2:
        return by_latency
    first = int(chance() * len(by_latency))
    second = int(chance() * (len(by_latency) - 1))
    quicker = by_latency[min(first, second + (second >= first))]
    return [quicker, *(one for one in by_latency if one is not quicker)]


def _cheapest(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    return sorted(options, key=lambda one: price(one.option.tariff))


def _nearest_region(options: Sequence[Weighed], region: str, chance: Chance) -> list[Weighed]:
    return sorted(options, key=lambda one: distance(one.option.region, region))


RULES: Mapping[str, Rule] = {
    "priority": _priority,
    "weighted": _weighted,
    "least_in_flight": _least_in_flight,
    "lowest_latency": _lowest_latency,
    "cheapest": _cheapest,
    "nearest_region": _nearest_region,
}


def order(
    options: Sequence[Option], loads: Sequence[Load], *, strategy: str, region: str = "", chance: Chance = random.random
) -> list[int]:
    """The places of `options`, in the order in which they should be tried."""
    weighed = [Weighed(place, option, load) for place, (option, load) in enumerate(zip(options, loads, strict=True))]
    ordered = RULES[strategy](weighed, region, chance)
    return [one.place for one in sorted(ordered, key=lambda one: one.load.marked)]


def price(tariff: Tariff) -> int:
    """What a typical request costs, in nano-USD for a million tokens written and what was read for them."""
    rates = tariff.rates
    if "input" not in rates or "output" not in rates:
        return 0
    return INPUT_PER_OUTPUT * rates["input"].sell_nano_per_mtok + rates["output"].sell_nano_per_mtok


def distance(region: str, here: str) -> int:
    """0 in the same region, 1 in the same part of the world (what precedes the first dash), 2 elsewhere or unknown."""
    if not region or not here:
        return 2
    if region == here:
        return 0
    return 1 if region.partition("-")[0] == here.partition("-")[0] else 2
