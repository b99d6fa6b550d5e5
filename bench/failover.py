"""What callers notice of a provider that goes down and comes back: nothing.

    python -m bench.failover --plot docs/images/failover.png

Runs two fake upstreams on loopback and sends requests through the pipeline's `execute` at a steady pace, on a route of the
two. The primary is taken down in the middle, and comes back. Prints when the breaker opened, after how many failures,
when it let probes through, and what callers saw; draws requests a second by who served them. Fails unless the breaker
opened at the fifth failure and no caller saw an error. Needs neither a database nor Redis: what other processes would
learn is tried in `tests/providers/test_sharing.py`.
"""

import argparse
import asyncio
import os
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from billing.types import Payer, Tariff  # noqa: E402
from kernel.errors import ParleyError  # noqa: E402
from providers.adapters.openai.adapter import OpenAICompatible  # noqa: E402
from providers.base import Target, Timeouts  # noqa: E402
from providers.pipeline.breaker import RULES, BreakerState  # noqa: E402
from providers.pipeline.execute import Execution  # noqa: E402
from providers.pipeline.health import DeploymentHealth, health  # noqa: E402
from providers.pipeline.values import Candidate, Job  # noqa: E402
from providers.routes import ResolvedDeployment  # noqa: E402
from providers.types import ChatRequest, user_message  # noqa: E402
from tests.fakes.openai_upstream import OpenAIUpstream  # noqa: E402

PATIENCE = Timeouts(connect_s=2, first_token_s=10, between_tokens_s=10, total_s=20)
LOOK_EVERY_S = 0.02


@dataclass
class Seen:
    """What happened, with seconds since the start."""

    served: list[tuple[float, str]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)
    states: list[tuple[float, BreakerState]] = field(default_factory=list)
    failures_until_open: int | None = None


async def run(*, rate: float, up_s: float, down_s: float, back_s: float) -> Seen:
    """Send `rate` requests a second; the primary is up for `up_s`, then down for `down_s`, then back for `back_s`."""
    primary, fallback = OpenAIUpstream(), OpenAIUpstream()
    await primary.start()
    await fallback.start()
    port = int(primary.base_url.rsplit(":", 1)[1].split("/")[0])
    adapter = OpenAICompatible()
    candidates = tuple(
        _candidate(adapter, name, upstream.base_url)
        for name, upstream in (("primary", primary), ("fallback", fallback))
    )
    seen = Seen()
    now = asyncio.get_running_loop().time
    began_s = now()
    known = health.of(candidates[0].deployment.id)
    watcher = asyncio.create_task(_watch(seen, known, began_s))
    tasks: set[asyncio.Task[None]] = set()
    stages = [(began_s + up_s, "down"), (began_s + up_s + down_s, "back"), (began_s + up_s + down_s + back_s, "end")]
    number = 0
    while stages:
        due_s = began_s + number / rate
        at_s, what = stages[0]
        if due_s >= at_s:
            await asyncio.sleep(at_s - now())
            stages.pop(0)
            if what == "down":
                await primary.close()
            elif what == "back":
                primary = OpenAIUpstream()
                await primary.start(port)
            continue
        await asyncio.sleep(due_s - now())
        task = asyncio.create_task(_ask(seen, candidates, known, began_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await adapter.close()
    await primary.close()
    await fallback.close()
    return seen


def _candidate(adapter: OpenAICompatible, name: str, base_url: str) -> Candidate:
    target = Target("openai-compatible", base_url, "fake-model")
    deployment = ResolvedDeployment(
        id=uuid.uuid4(),
        provider=target.provider,
        connection=name,
        base_url=base_url,
        model=target.model,
        platform=True,
        tariff=Tariff(target.model, {}),
        secret=None,
    )
    return Candidate(name, adapter, target, deployment)


async def _ask(seen: Seen, candidates: tuple[Candidate, ...], known: DeploymentHealth, began_s: float) -> None:
    now = asyncio.get_running_loop().time
    payer = Payer(tenant_id=uuid.uuid4(), principal_kind="member", membership_id=uuid.uuid4())
    request = ChatRequest("bench", (user_message("Are you there?"),), stream=True)
    execution = Execution(Job(uuid.uuid4(), payer, request, candidates, PATIENCE))
    try:
        async for _ in execution.events():
            continue
    except ParleyError:
        seen.errors.append(now() - began_s)
    else:
        serving = execution.serving()
        seen.served.append((now() - began_s, serving[0].name if serving else "nobody"))
    failed = sum(attempt.error is not None for attempt in execution.outcomes("complete"))
    seen.failures += [now() - began_s] * failed


async def _watch(seen: Seen, known: DeploymentHealth, began_s: float) -> None:
    """Note each change of the primary's breaker, and how many failures it took to open."""
    now = asyncio.get_running_loop().time
    counted = known.breaker.failed
    failures = 0

    def failed(leave: object) -> bool:
        nonlocal failures
        failures += 1
        opened = counted(leave)  # type: ignore[arg-type]
        if opened and seen.failures_until_open is None:
            seen.failures_until_open = failures
        return opened

    known.breaker.failed = failed  # type: ignore[method-assign]
    while True:
        state = known.breaker.state
        if not seen.states or seen.states[-1][1] != state:
            seen.states.append((now() - began_s, state))
        await asyncio.sleep(LOOK_EVERY_S)


def draw(seen: Seen, path: Path, *, down: tuple[float, float]) -> None:
    """Requests a second by who served them, the breaker's states, and errors."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    end = int(max(at for at, _ in seen.served)) + 1
    by_second = Counter((name, int(at)) for at, name in seen.served)
    seconds = range(end)
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for name, colour in (("primary", "#2563eb"), ("fallback", "#f59e0b")):
        axes.step(seconds, [by_second[name, at] for at in seconds], where="post", label=name, color=colour)
    errors = Counter(int(at) for at in seen.errors)
    label = f"errors that callers saw ({len(seen.errors)})"
    axes.step(seconds, [errors[at] for at in seconds], where="post", label=label, color="#dc2626")
    axes.axvspan(*down, color="#94a3b8", alpha=0.3, label="primary down")
    top = axes.get_ylim()[1]
    for at, state in seen.states[1:]:
        axes.axvline(at, color="#475569", linewidth=0.8, linestyle=":")
        axes.text(at, top, f" {state}", rotation=90, va="top", fontsize=7, color="#475569")
    axes.set_xlabel("seconds")
    axes.set_ylabel("requests served a second")
    axes.set_title(f"The breaker opened at failure {seen.failures_until_open}")
    axes.legend(loc="center right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--up", type=float, default=6.0, help="seconds")
    parser.add_argument("--down", type=float, default=8.0, help="seconds")
    parser.add_argument("--back", type=float, default=30.0, help="seconds")
    parser.add_argument("--plot", type=Path, help="a PNG file")
    asked = parser.parse_args(arguments)
    seen = asyncio.run(run(rate=asked.rate, up_s=asked.up, down_s=asked.down, back_s=asked.back))
    if asked.plot:
        draw(seen, asked.plot, down=(asked.up, asked.up + asked.down))
    served = Counter(name for _, name in seen.served)
    print(f"served by the primary {served['primary']}, by the fallback {served['fallback']}")
    print(f"errors that callers saw: {len(seen.errors)}; failed attempts that they didn't: {len(seen.failures)}")
    print(f"the breaker opened at failure {seen.failures_until_open}")
    for at, state in seen.states:
        print(f"  {at:6.2f} s  {state}")
    return 0 if not seen.errors and seen.failures_until_open == RULES.failures else 1


if __name__ == "__main__":
    sys.exit(main())
