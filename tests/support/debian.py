"""PostgreSQL and Redis as Debian packages them: started for a test, reached by password over TCP, thrown away."""

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.stack import eventually

_ADMIN = "administrator"
_POSTGRES_OPTIONS = "-c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=100"


@contextlib.contextmanager
def debian_servers() -> Iterator[tuple[str, str]]:
    """The URL of a database that doesn't exist yet, for an administrator who can make it, and of a Redis.

    Skips the test where they aren't installed, unless REQUIRE_SERVERS says that they have to be.
    """
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
    redis = shutil.which("redis-server")
    if binaries is None or redis is None:
        message = "needs Debian's packages postgresql and redis-server"
        if os.environ.get("REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    with (
        tempfile.TemporaryDirectory(prefix="parley-debian-") as folder,
        _postgres(binaries.parent, Path(folder)) as database_url,
        _redis(redis, Path(folder)) as redis_url,
    ):
        yield database_url, redis_url


@contextlib.contextmanager
def _postgres(binaries: Path, folder: Path) -> Iterator[str]:
    """A cluster of its own. It doesn't run as root, so root runs it as the package's user."""
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    password, port, data = secrets.token_hex(12), _free_port(), folder / "data"
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(data), *arguments]
        done = subprocess.run(
            command, user=user, group=user, extra_groups=[], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "-U", _ADMIN, "--pwfile", str(secret), "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync")
    options = f"-p {port} -k {folder} {_POSTGRES_OPTIONS}"
    run("pg_ctl", "-w", "-t", "30", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://{_ADMIN}:{password}@127.0.0.1:{port}/parley"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")


@contextlib.contextmanager
def _redis(program: str, folder: Path) -> Iterator[str]:
    password, port = secrets.token_hex(12), _free_port()
    network = ("--bind", "127.0.0.1", "--port", str(port), "--requirepass", password)
    storage = ("--save", "", "--appendonly", "no", "--dir", str(folder))
    process = subprocess.Popen([program, *network, *storage], stdout=subprocess.DEVNULL)
    try:
        with Redis(port=port, password=password) as client:

            def answers() -> bool:
                with contextlib.suppress(RedisError):
                    return bool(client.ping())
                return False

            eventually(answers)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
