"""A storm of random faults through a running Parley, and what must hold in it.

no wrong answer     a success is what the last upstream was told to say, to the letter; a part of an answer ends in an
                    error; a route with an upstream that is well answers
no hang             every request ends within `total_s`, and what a busy machine adds
no leak             afterwards no request is under way at an upstream, and no connection is open
the bill            one usage record for each attempt that an upstream saw, with the tokens that it counted; where it
                    didn't say how many they were, flagged as estimated
"""

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from providers.vocabularies import UNKNOWN, count_tokens
from tests.fakes.script import Record, Script
from tests.fakes.upstream import Upstream
from tests.support.fault_calls import Heard, call
from tests.support.fault_plans import (
    FORMATS,
    MAX_DEPLOYMENTS,
    Plan,
    is_harmful,
    is_mischief,
    is_refusal,
    is_rejection,
    plan_request,
    plan_routes,
)
from tests.support.stack import Stack, Tenant

KEY = "upstream-secret"
AT_ONCE = 32
SLACK_S = 5.0
"""What a busy machine may add."""
IDLE_S = 4.0
"""For how long Parley keeps a connection that nobody uses."""
MODELS_AT_ONCE = 500
REFUSALS = {api: frozenset({400, 429, 502, 503, 504}) for api in ("chat", "responses")}
REFUSALS["messages"] = frozenset({400, 429, 502, 504, 529})
"""The statuses of a fault, by API: Anthropic's says 529 for what others call 503."""
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
"""What a token costs, as `Stack.add_models` prices it."""


@dataclass
class Attempt:
    """One that an upstream saw."""

    model: str
    format: str
    script: Script
    harmful: bool
    record: Record | None = None


@dataclass
class Call:
    """One request, as it was planned, heard and seen by upstreams."""

    plan: Plan
    heard: Heard
    attempts: list[Attempt]
    billed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def met_a_fault(self) -> bool:
        """Whether any attempt of it was not as it should be."""
        return any(is_mischief(tried.script, tried.format, stream=self.plan.stream) for tried in self.attempts)


@dataclass
class Report:
    """What came of a storm."""

    calls: list[Call]
    problems: list[str]
    took_s: float
    faults: Counter[str]

    @property
    def ended(self) -> Counter[str]:
        """How many requests ended how."""
        return Counter(f"{one.heard.ended} {one.heard.status}" for one in self.calls)


class Storm:
    """The upstreams of a storm and the routes to them. Made by `brewing`."""

    def __init__(self, stack: Stack, tenant: Tenant, *, seed: int, routes: int, total_s: float) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.routes = plan_routes(seed, routes)
        self._stack = stack
        self._tenant = tenant
        self._seed = seed
        self._total_s = total_s
        self._plans: dict[str, Plan] = {}
        self._seen: dict[str, list[Attempt]] = defaultdict(list)
        self._lock = threading.Lock()
        self._started = 0
        self._met = 0

    def offer(self) -> None:
        """Offer the routes. Deployments are added place by place: the first added is the first that is tried."""
        for place in range(MAX_DEPLOYMENTS):
            for format_, upstream in self.upstreams.items():
                models = [
                    f"{route.alias}={route.deployments[place].model}"
                    for route in self.routes
                    if len(route.deployments) > place and route.deployments[place].format == format_
                ]
                for start in range(0, len(models), MODELS_AT_ONCE):
                    some = models[start : start + MODELS_AT_ONCE]
                    self._stack.add_models(some, upstream.base_url, name=f"storm-{self._seed}-{format_}", kind=format_)

    def choose(self, model: str, prompt: str) -> Script | None:
        """How an upstream answers, which is noted. In the upstreams' threads."""
        plan = self._plans.get(prompt.partition(" ")[0])
        if plan is None:
            return None
        with self._lock:
            seen = self._seen[plan.tag]
            script = plan.script(model, sum(tried.model == model for tried in seen))
            format_ = plan.formats[model]
            seen.append(Attempt(model, format_, script, is_harmful(script, format_, stream=plan.stream)))
        return script

    def rage(self, count: int, *, at_once: int = AT_ONCE) -> Report:
        """Ask until `count` requests have met a fault, and look what came of them all. A machine that is too slow for so many
        `at_once` has Parley leave upstreams that are well."""
        began = time.monotonic()
        calls = asyncio.run(self._rage(count, at_once))
        took_s = time.monotonic() - began
        self._read_accounts(calls)
        problems = [f"{one.plan.tag}: {said}" for one in calls for said in _problems(one, self._total_s)]
        problems += self._leaks()
        faults = Counter(
            tried.script.fault or "odd"
            for one in calls
            for tried in one.attempts
            if is_mischief(tried.script, tried.format, stream=one.plan.stream)
        )
        return Report(calls, problems, took_s, faults)

    async def _rage(self, count: int, at_once: int) -> list[Call]:
        calls: list[Call] = []
        headers = {"Authorization": f"Bearer {self._tenant.api_key}"}
        async with aiohttp.ClientSession(
            self._stack.url, headers=headers, connector=aiohttp.TCPConnector(limit=0), read_bufsize=1024 * 1024
        ) as session:

            async def worker() -> None:
                while self._met < count and self._started < 3 * count:
                    number = self._started
                    self._started += 1
                    one = await self._one(session, number)
                    self._met += one.met_a_fault
                    calls.append(one)

            await asyncio.gather(*(worker() for _ in range(at_once)))
        return calls

    async def _one(self, session: aiohttp.ClientSession, number: int) -> Call:
        plan = plan_request(self._seed, number, self.routes)
        self._plans[plan.tag] = plan
        heard = await call(
            session,
            api=plan.api,
            model=plan.route.alias,
            prompt=plan.prompt,
            stream=plan.stream,
            patience_s=3 * self._total_s + SLACK_S,
        )
        return Call(plan, heard, self._seen[plan.tag])

    def _read_accounts(self, calls: list[Call]) -> None:
        """Let each call have the upstreams' records and the usage records of its attempts."""
        kept: dict[tuple[str, str], Iterator[Record]] = {}
        by_attempt: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for upstream in self.upstreams.values():
            for record in list(upstream.records):
                by_attempt[record.prompt.partition(" ")[0], record.model].append(record)
        kept = {key: iter(records) for key, records in by_attempt.items()}
        billed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._stack.usage(self._tenant.api_key):
            billed[row["request_id"]].append(row)
        for one in calls:
            one.billed = sorted(billed[one.heard.request_id], key=lambda row: int(row["attempt"]))
            for tried in one.attempts:
                tried.record = next(kept.get((one.plan.tag, tried.model), iter(())), None)

    def _leaks(self) -> list[str]:
        """What is still open when it should long be closed. Deployments that failed are asked whether they are well again, for
        as long as they aren't, so that not all connections are old ones."""
        deadline = time.monotonic() + IDLE_S + SLACK_S
        busy, left = set(self.upstreams), set(self.upstreams)
        while left and time.monotonic() < deadline:
            busy -= {name for name in busy if not self.upstreams[name].in_flight}
            left -= {name for name in left - busy if not self.upstreams[name].open_connections}
            time.sleep(0.05)
        unused_s = {name: self.upstreams[name].unused_s for name in left}
        return [f"{name}: a request that never ended" for name in busy] + [
            f"{name}: a connection unused for {unused_s[name]:.1f} s" for name in left if unused_s[name] > IDLE_S + 1
        ]


@contextmanager
def brewing(stack: Stack, tenant: Tenant, *, seed: int, routes: int, total_s: float) -> Iterator[Storm]:
    """A storm that is ready. `total_s` is how long Parley waits for the whole of an answer."""
    storm = Storm(stack, tenant, seed=seed, routes=routes, total_s=total_s)
    with ExitStack() as running:
        for format_, kind in FORMATS.items():
            upstream = storm.upstreams[format_] = running.enter_context(kind(api_key=KEY))
            upstream.chooser = storm.choose
        storm.offer()
        yield storm


def _problems(one: Call, total_s: float) -> Iterator[str]:
    """Everything about a call that is not as it must be."""
    heard = one.heard
    if heard.took_s > total_s + SLACK_S:
        yield f"took {heard.took_s:.1f} s"
    said = list(_wrong_answers(one, total_s))
    said += _wrong_bill(one)
    if said:
        yield f"{'; '.join(said)}\n    {_told(one)}"


def _wrong_answers(one: Call, total_s: float) -> Iterator[str]:
    heard, attempts = one.heard, one.attempts
    last = attempts[-1] if attempts else None
    match heard.ended:
        case "complete" if last is not None and not last.harmful:
            yield from _wrong_success(heard, last)
        case "complete":
            yield "a success that no upstream is the author of"
        case "refused":
            yield from _wrong_refusal(one, total_s)
        case "error frame":
            if last is None or not last.harmful or not (last.script.text or "").startswith(heard.text):
                yield "an error frame after what no upstream said"
        case "cut":
            yield "an answer that just ends"
        case "unread":
            yield f"unreadable: {heard.error}"
    if any(not tried.harmful for tried in attempts[:-1]):
        yield "an upstream was asked again that had answered"


def _wrong_success(heard: Heard, last: Attempt) -> Iterator[str]:
    script, record = last.script, last.record
    if heard.text != script.text:
        yield f"the upstream said {script.text!r}"
    expected = [(wanted["name"], wanted["arguments"]) for wanted in script.tool_calls]
    if [(name, _spelled(arguments)) for name, arguments in heard.calls] != expected:
        yield f"the upstream called {expected}, the caller heard {heard.calls}"
    if record is not None and record.reported and heard.tokens != (record.prompt_tokens, record.completion_tokens):
        yield f"the caller was told of {heard.tokens} tokens"


def _spelled(arguments: Any) -> str:
    return json.dumps(arguments, ensure_ascii=False)


def _wrong_refusal(one: Call, total_s: float) -> Iterator[str]:
    heard, attempts = one.heard, one.attempts
    if heard.status not in REFUSALS[one.plan.api]:
        yield "a status that is not for callers"
    if any(not tried.harmful for tried in attempts):
        yield "refused, though an upstream had answered"
    rejected = bool(attempts) and is_rejection(attempts[-1].script)
    if one.plan.route.well is not None and not rejected and heard.took_s < total_s - 0.5:
        yield "refused, though one upstream was well"


def _wrong_bill(one: Call) -> Iterator[str]:
    if [row["model"] for row in one.billed] != [tried.model for tried in one.attempts]:
        yield f"on the bill are attempts at {[row['model'] for row in one.billed]}"
        return
    for number, (row, tried) in enumerate(zip(one.billed, one.attempts, strict=True), start=1):
        last = number == len(one.attempts)
        status = "failed" if tried.harmful else "complete"
        if row["status"] != status or row["streamed"] is not one.plan.stream:
            yield f"attempt {number} is on the bill as {row['status']}"
        tokens = (row["tokens"]["input"], row["tokens"]["output"])
        price = INPUT_NANO * tokens[0] + OUTPUT_NANO * tokens[1]
        if row["cost_nano"] + row["uncharged_nano"] != price or (row["cost_nano"] and not last):
            yield f"attempt {number} costs {row['cost_nano']} for {tokens}, and {row['uncharged_nano']} are not charged"
        seen = one.heard.text if last and one.heard.ended in ("complete", "error frame") else ""
        wrong = _wrong_tokens(tried, tokens, seen, estimated=row["estimated"])
        if wrong:
            yield f"attempt {number} is on the bill with {tokens}{' estimated' if row['estimated'] else ''}: {wrong}"


def _wrong_tokens(tried: Attempt, tokens: tuple[int, int], seen: str, *, estimated: bool) -> str:
    """What is wrong with the tokens of an attempt of which the caller saw so much."""
    script, record = tried.script, tried.record
    if record is None:
        return "the upstream has no record of it"
    tally = (record.prompt_tokens, record.completion_tokens) if record.reported else None
    if tried.harmful:
        # An error in the stream before anything else is as good as a refusal.
        refused = is_refusal(script) or (script.fault == "error_frame" and not seen)
        tally = (0, 0) if refused else None
    if tally is not None:
        return "" if tokens == tally and not estimated else f"the upstream counted {tally}"
    # Of the calls of an answer that was cut off after them, nobody knows how much came.
    written = count_tokens([seen], UNKNOWN)
    fits = tokens[1] >= written if script.tool_calls else tokens[1] == written
    return "" if estimated and tokens[0] > 0 and fits else f"the upstream didn't say, and the caller saw {seen!r}"


def _told(one: Call) -> str:
    """A call in words, for whoever has to find out."""
    plan, heard = one.plan, one.heard
    lines = [
        f"{plan.api} {'stream' if plan.stream else 'plain'} on {[d.format for d in plan.route.deployments]} "
        f"(well: {plan.route.well}), {heard.request_id}, {heard.took_s:.1f} s",
        f"heard: {heard.ended} {heard.status} {heard.error[:300]} {heard.text!r} {heard.calls} {heard.tokens}",
    ]
    default = Script()
    for tried in one.attempts:
        script = {name: value for name, value in vars(tried.script).items() if value != getattr(default, name)}
        record = tried.record
        tally = record and (record.outcome, record.prompt_tokens, record.completion_tokens, record.reported)
        lines.append(f"attempt at {tried.format}, harmful: {tried.harmful}: {script}, on record: {tally}")
    return "\n    ".join(lines)
