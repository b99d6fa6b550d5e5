"""A whole Parley in processes of its own, as a person would run it, for tests that come through the front door."""

import copy
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2 as httpx

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
SOON_S = 10.0
"""What takes at most a second, on a machine that does much else. What would come by another way comes much later."""
STOP_S = 15.0
READY = re.compile(r"Parley is ready at (http://\S+)")


@dataclass(frozen=True)
class Tenant:
    """A tenant as `create_tenant` made it."""

    id: str
    slug: str
    owner: str
    password: str
    api_key: str


@dataclass(frozen=True)
class Login:
    """Somebody who can sign in."""

    email: str
    password: str
    membership: str


class Stack:
    """`manage.py up` with its home below `folder`. `environment` is added to the tests' own."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.home = folder / "home"
        self.log = folder / "up.log"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "REDIS_URL", "PARLEY_MASTER_KEY", "PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")
        }
        self.environment |= {"PARLEY_HOME": str(self.home), "LOG_LEVEL": "INFO", **(environment or {})}
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self._commands: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> "Stack":
        """Start, and return when it says that it is ready. Fails with its log when it does not."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--home", str(self.home), "--port", "0", *self._arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        began = self.log.stat().st_size
        eventually(lambda: self._is_ready(began), within_s=START_S, failing=lambda: self.output[-4000:])
        return self

    def _is_ready(self, _: int) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"up ended with {self.process.returncode}:\n{self.output[-4000:]}")
        found = READY.findall(self.output)
        self.url = found[-1] if found else ""
        return bool(found)

    def served_at(self, url: str) -> "Stack":
        """The same platform, by way of another server of it."""
        other = copy.copy(self)
        other.__dict__.pop("http", None)
        other.url = url
        return other

    def stop(self) -> int:
        """Ctrl-C. The exit code."""
        assert self.process is not None
        if "http" in self.__dict__:
            self.http.close()
        if self._commands is not None:
            self._commands.communicate(timeout=STOP_S)
            self._commands = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)

    @property
    def output(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="replace")

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def socket_url(self) -> str:
        """Where its WebSocket is."""
        return self.url.replace("http", "ws", 1) + "/ws"

    def children(self) -> dict[str, int]:
        """The processes that `up` runs, by name."""
        record = json.loads((self.home / "run" / "children.json").read_text())
        return {item["name"]: item["pid"] for item in record}

    def manage(self, *arguments: str) -> dict[str, Any]:
        """Run a command with `--json`; its answer."""
        if self._commands is None:
            self._commands = subprocess.Popen(
                [sys.executable, "-m", "tests.support.commands"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        commands = self._commands
        assert commands.stdin is not None
        assert commands.stdout is not None
        try:
            commands.stdin.write(json.dumps([*arguments, "--json"]) + "\n")
            commands.stdin.flush()
            said: dict[str, str] = json.loads(commands.stdout.readline())
        except BaseException:
            # A time-out, perhaps. The answer would be taken for that to the next command.
            self._commands = None
            commands.kill()
            commands.communicate()
            raise
        assert "output" in said, said
        answer: dict[str, Any] = json.loads(said["output"])
        return answer

    def create_tenant(self, slug: str = "") -> Tenant:
        """A new tenant."""
        slug = slug or f"t-{secrets.token_hex(4)}"
        made = self.manage("create_tenant", slug, "--owner", f"owner@{slug}.example")
        return Tenant(made["tenant"], made["slug"], made["owner"], made["password"], made["api_key"])

    def use_by_default(self, tenant: Tenant, alias: str) -> None:
        """Have a tenant's people talk to this model unless they choose another."""
        session = self.sign_in(tenant.owner, tenant.password)
        with self.client(session["access"]) as rest:
            answer = rest.put("/api/v1/model-roles", json={"roles": {"chat": alias}})
        assert answer.status_code == 200, answer.text

    def add_member(self, tenant: Tenant, name: str, role: str = "member") -> Login:
        """A new person in a tenant."""
        made = self.manage("add_member", tenant.slug, "--email", f"{name}@{tenant.slug}.example", "--role", role)
        return Login(made["person"], made["password"], made["membership"])

    def add_model(self, alias: str, base_url: str, *, upstream: str = "", tenant: str | None = None) -> None:
        """Offer a model of an OpenAI-compatible upstream at $1 and $2 per million tokens."""
        self.add_models([f"{alias}={upstream}" if upstream else alias], base_url, name=f"fake-{alias}", tenant=tenant)

    def add_models(
        self,
        models: Sequence[str],
        base_url: str,
        *,
        name: str,
        tenant: str | None = None,
        kind: str = "openai-compatible",
    ) -> None:
        """The same for several, on one connection of this name, to a provider of this kind."""
        prices = ("--input-price", "1", "--output-price", "2")
        whose = ("--tenant", tenant) if tenant else ()
        connection = ("--name", name, "--base-url", base_url, "--api-key", "upstream-secret")
        named = (word for model in models for word in ("--model", model))
        self.manage("add_provider", kind, *connection, *named, *prices, *whose)

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """A session; the refresh token comes in the body."""
        body = {"email": email, "password": password, "transport": "body"}
        answer = self.http.post("/api/v1/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        session: dict[str, Any] = answer.json()
        return session

    def usage(self, credential: str, **wanted: Any) -> list[dict[str, Any]]:
        """All usage records that the credential may see, newest first; those whose fields are as `wanted`."""
        records: list[dict[str, Any]] = []
        cursor: str | None = ""
        with self.client(credential) as rest:
            while cursor is not None:
                page = rest.get("/api/v1/usage", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
                records += page["data"]
                cursor = page["next_cursor"]
        return [record for record in records if all(record[name] == value for name, value in wanted.items())]

    @cached_property
    def http(self) -> httpx.Client:
        """A client for plain requests."""
        return httpx.Client(base_url=self.url, timeout=30)

    def client(self, credential: str) -> httpx.Client:
        """A REST client with a token or key. Close it, or let the test end."""
        return httpx.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {credential}"})


def eventually(
    condition: Callable[[], Any], *, within_s: float = 10.0, failing: Callable[[], object] = lambda: "it never held"
) -> Any:
    """Ask until the condition holds, and return what it gave. Fails with `failing()` when it doesn't in time."""
    deadline = time.monotonic() + within_s
    while True:
        if result := condition():
            return result
        assert time.monotonic() < deadline, failing()
        time.sleep(0.05)
