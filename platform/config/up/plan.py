"""Which processes `up` runs, and with what environment."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from config.accepting import Board
from config.embedded.home import Home
from config.embedded.llama import LocalModel
from config.supervisor.probes import http_answers
from config.supervisor.spec import ChildSpec

SOURCE_ROOT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-P", "-m")
WEB_GRACE_S = 6.0
WEB_DRAIN_S = 4.5
WORKER_GRACE_S = 5.0
BEAT_GRACE_S = 2.0
WORKER_THREADS = 10
"""More than tasks that take minutes can hold at once (two batches, two exports or imports, invoices, the nightly verification,
a calibration): what must happen within seconds, such as ending a dead process' answers, never waits behind them."""
PREPARE_TIMEOUT_S = 300.0


def has_external(variable: str) -> bool:
    """Whether the environment names a server of its own, by URL or by a file that holds it."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def child_environment(home: Home, model: LocalModel | None) -> dict[str, str]:
    """What all processes of Parley find in their environment."""
    source_paths = [str(SOURCE_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ) | {
        "PARLEY_HOME": str(home.path),
        "PYTHONPATH": os.pathsep.join(filter(None, source_paths)),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    environment.setdefault("LOG_FORMAT", "console")
    if model:
        environment |= {"PARLEY_LOCAL_MODEL_URL": model.url, "PARLEY_LOCAL_MODEL_KEY": model.key}
    return environment


def prepare_spec(
    environment: dict[str, str], *, local_model: bool, demo: bool, take_line: Callable[[str], bool]
) -> ChildSpec:
    """Roles, database, migrations and first rows, in one process that ends by itself."""
    wanted = [*(["--local-model"] if local_model else []), *(["--demo"] if demo else [])]
    return ChildSpec(
        name="prepare",
        command=(*PYTHON, "django", "prepare", *wanted),
        environment=environment,
        take_line=take_line,
    )


def web_specs(
    environment: dict[str, str], home: Home, *, host: str, port: int, fd: int, ops_fd: int, workers: int
) -> list[ChildSpec]:
    """The web processes. They share one listening socket, another for operators, the board of their connections and the folder
    of their metrics; the first is asked whether all is ready.
    """
    board = home.run / "connections"
    Board.make(board, workers)
    # More than these where the operator says so: those of other machines.
    processes = os.environ.get("PARLEY_WEB_PROCESSES") or str(workers)
    shared = {"PARLEY_WEB_PROCESSES": processes, "PROMETHEUS_MULTIPROC_DIR": str(home.metrics)}
    ready = http_answers(host, port, "/readyz")
    return [
        ChildSpec(
            name="web" if workers == 1 else f"web.{index}",
            command=(
                *(*PYTHON, "config.serve", "--fd", str(fd), "--ops-fd", str(ops_fd)),
                *("--board", str(board), "--index", str(index), "--drain-timeout", str(WEB_DRAIN_S)),
            ),
            environment=environment | shared | {"PARLEY_WORKER_INDEX": str(index)},
            ready=ready if index == 0 else None,
            ready_timeout_s=60.0,
            stop_grace_s=WEB_GRACE_S,
            pass_fds=(fd, ops_fd),
        )
        for index in range(workers)
    ]


def background_specs(environment: dict[str, str], home: Home) -> list[ChildSpec]:
    """The Celery worker, and beat, which sends it what is due."""
    celery = (*PYTHON, "celery", "--quiet", "-A", "config.celery")
    worker = ("worker", "--pool", "threads", "--concurrency", str(WORKER_THREADS), "--hostname", "parley@%h")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    beat = ("beat", "--schedule", str(home.run / "beat-schedule"), "--pidfile", "")
    return [
        ChildSpec(
            name="worker",
            command=(*celery, *worker, *quiet),
            # Its numbers are served by the web processes, with theirs: it has no listener of its own.
            environment=environment | {"PROMETHEUS_MULTIPROC_DIR": str(home.metrics)},
            stop_grace_s=WORKER_GRACE_S,
        ),
        ChildSpec(
            name="beat",
            command=(*celery, *beat),
            environment=environment,
            stop_grace_s=BEAT_GRACE_S,
        ),
    ]
