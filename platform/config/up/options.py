"""The command line of `manage.py up`."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = "Run the whole platform in the foreground: databases, local model, web, worker and beat."
WORKERS_MAX = 64


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was asked for. `home` is absolute."""

    host: str
    port: int
    home: Path
    workers: int
    local_model: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `up`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 picks a free one (default: %(default)s)")
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("PARLEY_HOME") or ".parley"),
        help="folder of data and secrets (default: PARLEY_HOME, or .parley)",
    )
    parser.add_argument("--workers", type=_workers, default=1, help="web processes (default: %(default)s)")
    parser.add_argument("--no-local-model", action="store_true", help="do without the small local model")


def from_namespace(found: argparse.Namespace) -> UpOptions:
    """The options from what argparse found."""
    return UpOptions(
        host=found.host,
        port=found.port,
        home=found.home.expanduser().resolve(),
        workers=found.workers,
        local_model=not found.no_local_model,
    )


def parse(arguments: list[str]) -> UpOptions:
    """The options from a command line; ends the process on a bad one."""
    parser = argparse.ArgumentParser(prog="manage.py up", description=DESCRIPTION)
    add_arguments(parser)
    return from_namespace(parser.parse_args(arguments))


def _port(text: str) -> int:
    return _whole_number(text, 0, 65535)


def _workers(text: str) -> int:
    return _whole_number(text, 1, WORKERS_MAX)


def _whole_number(text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed, not {text!r}")
