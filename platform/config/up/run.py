"""The steps of `manage.py up`, in order: port, home, servers, database, local model, web, worker, beat."""

import asyncio
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from config.bootstrap import holds_parley
from config.embedded import lock
from config.embedded.home import SHARED_SECRETS, Home, HomeProblem
from config.embedded.llama import LocalModel, free_port, llama_spec, model_file
from config.embedded.postgres import ensure_initialised, postgres_spec
from config.embedded.valkey import valkey_spec
from config.env import read_env
from config.supervisor.console import Console
from config.supervisor.processes import end_orphans, recorded
from config.supervisor.spec import ChildSpec
from config.supervisor.supervisor import Supervisor
from config.up import listener, plan
from config.up.options import UpOptions, parse

DEMO_MARK = "demo: "
"""`manage.py prepare` begins the lines meant for the person at the terminal with this."""
USAGE_STATUS = 2
INTERRUPTED_STATUS = 130


def main(arguments: list[str]) -> int:
    """Run `up` with a command line; the exit status."""
    return run(parse(arguments))


def run(options: UpOptions) -> int:
    """Run everything until told to stop. Returns 0, or 1 when a process failed for good, or 2 when it can't begin."""
    console = Console()
    try:
        listening = listener.bind(options.host, options.port)
        operators = listener.bind_for_operators(web_port=options.port)
        home = Home(options.home)
        with listening, operators, lock.hold(home), _tidied(home, console):
            return asyncio.run(_Up(options, home, listening, operators, console).supervise())
    except HomeProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return USAGE_STATUS
    except KeyboardInterrupt:
        console.say("stopped")
        return INTERRUPTED_STATUS


@contextmanager
def _tidied(home: Home, console: Console) -> Iterator[None]:
    """The home ready for servers: nothing left of an earlier run before, no sockets left after."""
    children = home.run / "children.json"
    for name in end_orphans(recorded(children)):
        console.say(f"{name} was left over from an earlier run and has ended")
    children.unlink(missing_ok=True)
    console.say(f"home folder {home.path}")
    _refuse_to_begin_anew(home)
    home.prepare()
    home.clear_metrics()
    try:
        yield
    finally:
        home.clear_sockets()


def _refuse_to_begin_anew(home: Home) -> None:
    """A home without secrets gets new ones, but not for a database elsewhere that others made its secrets for: all keys would
    end, and what is encrypted be lost. Raises `HomeProblem`."""
    given = read_env().database_url
    missing = [
        name for name in SHARED_SECRETS if not plan.has_external(name) and home.secret(SHARED_SECRETS[name]) is None
    ]
    if given and missing and holds_parley(given.get_secret_value()):
        raise HomeProblem(
            f"The database of DATABASE_URL is in use, but its secrets are missing: {', '.join(missing)}. Give them in the "
            f"environment, or as the files {', '.join(SHARED_SECRETS[name] for name in missing)} in {home.secrets}, as they are "
            "where it was first used. What is encrypted with them can't be read without, and keys end."
        )


class _Up:
    """One run: what was asked for, and what came of it so far."""

    def __init__(
        self, options: UpOptions, home: Home, listening: socket.socket, operators: socket.socket, console: Console
    ) -> None:
        self._options = options
        self._home = home
        self._listening = listening
        self._operators = operators
        self._console = console
        self._supervisor = Supervisor(console, record_path=home.run / "children.json")
        self._model = LocalModel(free_port(), secrets.token_urlsafe(24)) if options.local_model else None
        self._embedded_database = not plan.has_external("DATABASE_URL")
        self._embedded_redis = not plan.has_external("REDIS_URL")
        self._demo_lines: list[str] = []

    async def supervise(self) -> int:
        """Run to the end. Raises `HomeProblem` when something is missing."""
        try:
            return await self._supervisor.run(self._start)
        finally:
            self._show_demo()

    async def _start(self) -> None:
        beside = asyncio.ensure_future(self._supervisor.start(self._servers_beside_postgres()))
        beside.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await self._start_postgres()
            await self._prepare_database()
            await beside
        finally:
            beside.cancel()
        port = listener.port_of(self._listening)
        environment = plan.child_environment(self._home, self._model)
        webs = plan.web_specs(
            environment,
            self._home,
            host=listener.reachable_host(self._options.host),
            port=port,
            fd=self._listening.fileno(),
            ops_fd=self._operators.fileno(),
            workers=self._options.workers,
        )
        self._console.say("starting web")
        await self._supervisor.start(webs)
        self._show_demo()
        host, ops_port = self._operators.getsockname()[:2]
        self._console.say(f"operators look at {listener.url(host, ops_port)} (/metrics, /readyz)")
        self._console.headline(f"Parley is ready at {listener.url(self._options.host, port)}")
        # They have no part in readiness, and would only compete with web for the processor until then.
        await self._supervisor.start(plan.background_specs(environment, self._home))

    def _servers_beside_postgres(self) -> list[ChildSpec]:
        specs = []
        if self._embedded_redis:
            specs.append(valkey_spec(self._home))
        if self._model:
            model_file()
            specs.append(llama_spec(self._model))
        if specs:
            self._console.say(f"starting {' and '.join(spec.name for spec in specs)}")
        return specs

    async def _start_postgres(self) -> None:
        if not self._embedded_database:
            self._console.say("using the database of DATABASE_URL")
            return
        if not self._home.has_database:
            self._console.say("making the database")
            await asyncio.to_thread(ensure_initialised, self._home)
        self._console.say("starting postgres")
        await self._supervisor.start([postgres_spec(self._home)])

    async def _prepare_database(self) -> None:
        self._console.say("bringing the database up to date")
        demo = self._embedded_database and listener.is_loopback(self._options.host)
        await self._supervisor.run_once(
            plan.prepare_spec(
                plan.child_environment(self._home, self._model),
                local_model=self._model is not None,
                demo=demo,
                take_line=self._take_demo_line,
            )
        )

    def _take_demo_line(self, line: str) -> bool:
        if not line.startswith(DEMO_MARK):
            return False
        self._demo_lines.append(line.removeprefix(DEMO_MARK))
        return True

    def _show_demo(self) -> None:
        """What the first start tells once, just above the line that people look for."""
        for line in self._demo_lines:
            self._console.headline(line)
        self._demo_lines.clear()
