"""What operators watch, for Prometheus: declared here, measured where it happens, served on the operators' listener.

Where several processes share that listener (`PROMETHEUS_MULTIPROC_DIR` names their folder) each writes its numbers into files of
its own there, and whoever is asked adds them up. A process by itself answers from memory. Labels have few values: never a
tenant, a key or a name that a tenant chose. Names follow OpenTelemetry's `gen_ai.*` conventions where there is one.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SAMPLE_EVERY_S = 1.0
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600)

_process = [os.getpid()]


def _forked() -> None:
    _process[0] = os.getpid()


os.register_at_fork(after_in_child=_forked)
if _FOLDER in os.environ:
    # As the library has it, but for asking the system which process this is at every count: that took longer than counting.
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: _process[0])  # type: ignore[no-untyped-call]

requests = Counter("parley_requests", "Requests to /v1.", ("surface", "status", "cache"))
tokens = Counter("gen_ai_client_token_usage", "Tokens, as billed.", ("gen_ai_provider_name", "gen_ai_token_type"))
attempts = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "Attempts at providers; error_type is empty for those that went well.",
    ("gen_ai_provider_name", "error_type"),
    buckets=_SECONDS,
)
first_token = Histogram(
    "gen_ai_server_time_to_first_token_seconds", "Until the first content.", ("gen_ai_provider_name",), buckets=_SECONDS
)
batch_sizes = Histogram(
    "parley_group_commit_size",
    "Rows written in one round trip.",
    ("writer",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
limited = Counter("parley_rate_limited", "Requests that a limit refused.", ("subject", "kind"))
books_differ = Counter("parley_books_differ", "Tenants whose books were found to differ from their usage.")
lag = Gauge("parley_event_loop_lag_seconds", "How late the event loop runs.", multiprocess_mode="livemax")
limits_local = Gauge(
    "parley_limits_local", "Processes that limit by themselves, because Redis is away.", multiprocess_mode="livesum"
)
limits_factor = Gauge(
    "parley_limits_factor", "How much of each limit the busiest process lets through.", multiprocess_mode="livemin"
)
# A process that limits nothing, such as a worker, holds nothing back.
limits_factor.set(1)
running = Gauge("parley_completions_running", "Completions under way.", multiprocess_mode="livesum")
queued = Gauge(
    "parley_queued", "Requests that wait for a turn at a provider.", ("priority",), multiprocess_mode="livesum"
)
breakers = Gauge(
    "parley_breakers",
    "Deployments whose breaker is not closed, as the process with the most sees them.",
    ("state",),
    multiprocess_mode="livemax",
)

outbox = Gauge(
    "parley_outbox_messages",
    "Messages of the outbox: those that wait, of these the claimed ones and those that failed before, and the dead.",
    ("state",),
    multiprocess_mode="mostrecent",
)
outbox_late = Gauge(
    "parley_outbox_late_seconds", "By how much the oldest message that is due is late.", multiprocess_mode="mostrecent"
)

Sampler = Callable[[], None]
_samplers: list[Sampler] = []


def sample(sampler: Sampler) -> Sampler:
    """Have `sampler` set its gauges each `SAMPLE_EVERY_S` on the server's event loop. It must not wait for anything."""
    _samplers.append(sampler)
    return sampler


async def keep_sampling() -> None:
    """Run the samplers until cancelled."""
    while True:
        sample_now()
        await asyncio.sleep(SAMPLE_EVERY_S)


def sample_now() -> None:
    """Run the samplers once."""
    for sampler in _samplers:
        sampler()


def exposition() -> bytes:
    """All numbers, of all processes that share the folder, in Prometheus' text format. Reads files: not for an event loop."""
    folder = os.environ.get(_FOLDER)
    if not folder:
        return generate_latest(REGISTRY)
    for pid in _dead(folder):
        mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _dead(folder: str) -> set[int]:
    """The processes whose gauges still lie in the folder, and which run no more."""
    found = {int(path.stem.rpartition("_")[2]) for path in Path(folder).glob("gauge_live*_*.db")}
    return {pid for pid in found if not _runs(pid)}


def _runs(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
