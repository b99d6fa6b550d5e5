"""A pytest plugin: PostgreSQL and Valkey for the whole run, thrown away afterwards.

Loaded by `-p` before pytest-django reads the settings, because these need the servers' addresses. The process that starts
the run starts the servers; pytest-xdist's workers find the addresses in the environment and use a database each.
"""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import HealthCheck, settings

from config.embedded.testing import throwaway_servers

pytest_plugins = ["tests.support.order"]

_ADDRESSES = ("PARLEY_TEST_DATABASE_URL", "PARLEY_TEST_REDIS_URL")
_running = ExitStack()

SECRETS = {
    "PARLEY_MASTER_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "PARLEY_KEY_PEPPER": "a pepper that only the tests know about",
    "PARLEY_JWT_KEY": "a signing key that only the tests know about",
}


def worker() -> str:
    """The name of this pytest-xdist worker, or `main`."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def database_url(name: str) -> str:
    """The administrator's URL of a database of this worker."""
    return with_database(os.environ["PARLEY_TEST_DATABASE_URL"], f"{name}_{worker()}")


def with_database(url: str, name: str) -> str:
    """The same server's database `name`."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def redis_url(space: int) -> str:
    """The URL of a Redis database of this worker; `space` tells its uses apart."""
    number = 0 if worker() == "main" else 1 + int(worker().removeprefix("gw"))
    return f"{os.environ['PARLEY_TEST_REDIS_URL']}?db={number * 2 + space}"


def _start() -> None:
    folder = Path(tempfile.mkdtemp(prefix="parley-tests-"))
    # Registered first, so it runs last: after the servers have ended.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _share_bytecode(Path(__file__).parents[2] / ".pytest_cache" / "bytecode")
    servers = _running.enter_context(throwaway_servers(folder))
    atexit.register(_running.close)
    os.environ |= dict(zip(_ADDRESSES, (servers.admin_database_url, servers.redis_url), strict=True))


def _share_bytecode(folder: Path) -> None:
    """Where no bytecode may be written beside the sources, have the processes of all runs share it in this folder.
    They are many, and each would spend more than a second of the processor on compiling the same again; a worker, which loads
    all tests, more than ten.
    """
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(folder)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


if not all(name in os.environ for name in _ADDRESSES):
    _start()
os.environ |= SECRETS | {
    "DATABASE_URL": database_url("test_parley"),
    "REDIS_URL": redis_url(0),
    "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
    "LOG_LEVEL": "WARNING",
    "PARLEY_HOME": tempfile.gettempdir() + "/parley-tests-no-home",
}


# How long an example takes says how busy the machine is. Tests that want more examples say so.
settings.register_profile("suite", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def redis_space() -> str:
    """A Redis database for servers that a test starts, apart from the one of in-process tests."""
    return redis_url(1)
