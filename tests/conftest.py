"""The suite's database, and its recurring cast.

Tests run as `parley_app` against a database of their own and commit for real: what keeps them apart is what keeps tenants
apart. A test that changes things makes its own tenant.

The cast: *alice* owns Acme, *bob* is a member there, *vera* a viewer; *mallory* owns another tenant, and must see nothing.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from billing import ledger
from chat import lifecycle
from kernel import adb, loop, redis
from providers.cache import lifecycle as cache
from providers.pipeline import upkeep
from providers.pipeline.accept import factory
from tenants import passwords
from tests.support.cast import Company, found_company
from tests.support.databases import make_database
from tests.support.servers import database_url
from tests.support.ws_client import cut_open_clients


@pytest.fixture(scope="session", autouse=True)
def _quick_hashing() -> Iterator[None]:
    """Many people are made here; their passwords need not resist anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files are stored in a folder of the run's."""
    files = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    options = {"location": tmp_path_factory.mktemp("files")}
    with override_settings(STORAGES={**settings.STORAGES, "files": {**files, "OPTIONS": options}}):
        yield


@pytest.fixture(scope="session")
def database(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A migrated database, new for this run. Refuses one whose name doesn't begin with `test_`."""
    url = database_url("test_parley")
    with django_db_blocker.unblock():
        for alias in connections:
            assert connections[alias].settings_dict["NAME"].startswith("test_"), "tests never run on a real database"
        make_database(url, _migrate)
        yield url
        if loop._own:
            # The loop that REST views ran on in this process: it ends with the process, its connections before the servers.
            loop.on_loop(_let_go())
        connections.close_all()


def _migrate() -> None:
    call_command("migrate", database="owner", verbosity=0)
    connections.close_all()


async def _let_go() -> None:
    await lifecycle.close()
    await cache.close()
    await adb.close()
    await redis.close()


@pytest.fixture(autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Open the database to every test but those marked `no_database`."""
    if request.node.get_closest_marker("no_database"):
        yield
        return
    request.getfixturevalue("database")
    blocker: DjangoDbBlocker = request.getfixturevalue("django_db_blocker")
    with blocker.unblock():
        yield


@pytest_asyncio.fixture(autouse=True)
async def _no_pools_left() -> AsyncIterator[None]:
    """Close what the test's event loop opened."""
    yield
    await cut_open_clients()
    await upkeep.close()
    await factory().close()
    await cache.close()
    # A pool that a late write opens anew would outlive its loop.
    await ledger.drained()
    await adb.close()
    await redis.close()


@pytest.fixture(scope="session")
def acme(database: str, django_db_blocker: DjangoDbBlocker) -> Company:
    """The company that tests only read."""
    with django_db_blocker.unblock():
        return found_company("acme")


@pytest.fixture(scope="session")
def evil(database: str, django_db_blocker: DjangoDbBlocker) -> Company:
    """Mallory's."""
    with django_db_blocker.unblock():
        return found_company("evil")


@pytest.fixture
def new_company() -> Callable[[], Company]:
    """Makes a company that the test may change."""
    return lambda: found_company(f"co-{secrets.token_hex(5)}")


@pytest.fixture
def company(new_company: Callable[[], Company]) -> Company:
    """A company of the test's own."""
    return new_company()


@pytest.fixture
def neighbour(new_company: Callable[[], Company]) -> Company:
    """Another company of the test's own."""
    return new_company()
