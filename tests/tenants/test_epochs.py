"""Epochs: what was revoked anywhere is refused everywhere within a second, with Redis or without."""

import time
import uuid
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from kernel.errors import NotAuthenticated
from kernel.redis import sync_redis, tenant_key
from tenants import epochs
from tenants.credentials import authenticate, authenticate_sync
from tenants.epochs import Subject, announce, current_epochs, current_epochs_sync, epochs_of
from tests.support.cast import Company
from tests.support.servers import database_url


def subject(company: Company) -> Subject:
    return Subject(tenant_id=company.id, membership_id=company.alice.membership_id)


def bump(company: Company) -> None:
    """A change that nobody announced: another process's, while Redis was away."""
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute("UPDATE tenants_membership SET epoch = epoch + 1 WHERE id = %s", (company.alice.membership_id,))


def key(company: Company) -> str:
    return tenant_key(company.id, "epochs")


def test_a_missing_epoch_is_read_from_postgres_and_kept(company: Company, forget: Any) -> None:
    assert sync_redis().exists(key(company)) == 0
    assert current_epochs_sync(subject(company)) == (1, 1)
    assert sync_redis().hget(key(company), f"m:{company.alice.membership_id}") == b"1"
    assert 0 < int(str(sync_redis().ttl(key(company)))) <= 60


async def test_the_event_loop_reads_the_same(company: Company, forget: Any) -> None:
    assert await current_epochs(subject(company)) == (1, 1)
    await sync_to_async(bump)(company)
    assert await current_epochs(subject(company)) == (1, 1)
    await sync_to_async(sync_redis().delete)(key(company))
    assert await current_epochs(subject(company)) == (1, 2)


def test_nothing_prolongs_what_is_believed(company: Company, forget: Any) -> None:
    """An epoch nobody could announce runs out, however busy the tenant is."""
    current_epochs_sync(subject(company))
    sync_redis().expire(key(company), 7)
    current_epochs_sync(Subject(tenant_id=company.id, membership_id=company.bob.membership_id))
    with company.scope(), transaction.atomic():
        announce(company.id, {f"m:{company.vera.membership_id}": 9})
    assert int(str(sync_redis().ttl(key(company)))) <= 7


def test_a_slow_reader_never_puts_an_old_epoch_over_a_new_one(company: Company, forget: Any, monkeypatch: Any) -> None:
    """Between its reading PostgreSQL and its filling Redis, a writer commits."""
    read = epochs._read_sync

    def overtaken(one: Subject) -> epochs.Epochs:
        found = read(one)
        with company.scope(), transaction.atomic():
            announce(company.id, {f"m:{company.alice.membership_id}": 5})
        return found

    monkeypatch.setattr(epochs, "_read_sync", overtaken)
    current_epochs_sync(subject(company))
    assert current_epochs_sync(subject(company)) == (1, 5)


def test_what_is_rolled_back_is_not_announced(company: Company, forget: Any) -> None:
    with pytest.raises(RuntimeError), company.scope(), transaction.atomic():
        announce(company.id, {"t": 99})
        raise RuntimeError
    assert current_epochs_sync(subject(company)) == (1, 1)


async def test_who_does_not_exist_has_no_epochs(company: Company, evil: Company) -> None:
    for nobody in (
        Subject(tenant_id=uuid.uuid4(), membership_id=company.alice.membership_id),
        Subject(tenant_id=company.id, membership_id=evil.alice.membership_id),
        Subject(tenant_id=company.id, membership_id=company.alice.membership_id, api_key_id=uuid.uuid4()),
    ):
        assert await current_epochs(nobody) == ()
        assert await sync_to_async(current_epochs_sync)(nobody) == ()


def test_a_token_of_another_epoch_is_refused(company: Company) -> None:
    for stale in ((1, 2), (2, 1), (0, 0)):
        with pytest.raises(NotAuthenticated):
            authenticate_sync(company.alice.access_token(epochs=stale), address="")
    assert authenticate_sync(company.alice.access_token(), address="").membership_id == company.alice.membership_id


@pytest.mark.usefixtures("redis_away")
def test_with_redis_away_postgres_answers_at_least_each_second(company: Company, monkeypatch: Any) -> None:
    token = company.alice.access_token()
    assert authenticate_sync(token, address="").kind == "member"
    assert authenticate_sync(company.api_key, address="").kind == "api_key"
    bump(company)
    # Within the second what was read may be believed; after it, no longer.
    now = time.monotonic()
    monkeypatch.setattr(epochs.time, "monotonic", lambda: now + 1.1)
    with pytest.raises(NotAuthenticated):
        authenticate_sync(token, address="")


@pytest.mark.usefixtures("redis_away")
async def test_with_redis_away_the_event_loop_asks_postgres_too(company: Company, monkeypatch: Any) -> None:
    token = company.alice.access_token()
    assert (await authenticate(token, address="")).kind == "member"
    assert (await authenticate(token, address="")).kind == "member"
    assert (await authenticate(company.api_key, address="")).kind == "api_key"
    await sync_to_async(bump)(company)
    now = time.monotonic()
    monkeypatch.setattr(epochs.time, "monotonic", lambda: now + 1.1)
    with pytest.raises(NotAuthenticated):
        await authenticate(token, address="")


@pytest.mark.usefixtures("redis_away")
def test_with_redis_away_a_key_can_still_be_revoked(company: Company, monkeypatch: Any) -> None:
    key_id = str(authenticate_sync(company.api_key, address="").api_key_id)
    assert company.alice.client.delete(f"/api/v1/api-keys/{key_id}").status_code == 204
    now = time.monotonic()
    monkeypatch.setattr(epochs.time, "monotonic", lambda: now + 1.1)
    with pytest.raises(NotAuthenticated):
        authenticate_sync(company.api_key, address="")


def test_redis_that_goes_away_between_reading_and_filling_is_no_error(
    company: Company, forget: Any, settings: Any, monkeypatch: Any
) -> None:
    """The read finds nothing; by the time the answer is kept the server is gone."""
    read = epochs._read_sync

    def then_away(one: Subject) -> epochs.Epochs:
        found = read(one)
        settings.REDIS_URL = "redis://127.0.0.1:1/0"
        sync_redis.cache_clear()
        return found

    monkeypatch.setattr(epochs, "_read_sync", then_away)
    assert current_epochs_sync(subject(company)) == (1, 1)
    sync_redis.cache_clear()


async def test_many_are_asked_at_once(company: Company, acme: Company, forget: Any) -> None:
    nobody = Subject(tenant_id=uuid.uuid4(), membership_id=uuid.uuid4())
    asked = [subject(company), subject(acme), nobody]
    expected = {subject(company): (1, 1), subject(acme): (1, 1), nobody: ()}
    assert await epochs_of(asked) == expected
    assert await epochs_of(asked) == expected
    assert await epochs_of([]) == {}


@pytest.mark.usefixtures("redis_away")
async def test_many_are_asked_of_postgres_with_redis_away(company: Company) -> None:
    assert await epochs_of([subject(company)]) == {subject(company): (1, 1)}


def test_a_slow_writer_never_puts_an_old_epoch_over_a_new_one(company: Company, forget: Any) -> None:
    """Two change a member at once; the first is held up between its commit and telling the others."""
    field = f"m:{company.alice.membership_id}"
    current_epochs_sync(subject(company))
    with company.scope():
        with transaction.atomic():
            announce(company.id, {field: 3, "t": 4})
        with transaction.atomic():
            announce(company.id, {field: 2, "t": 5})
    assert current_epochs_sync(subject(company)) == (5, 3)


def test_a_change_of_limits_is_told_whatever_the_clocks_say(company: Company, monkeypatch: Any) -> None:
    seen = set()
    for now_s in (1_800_000_000, 1_700_000_000, 1_800_000_000):
        monkeypatch.setattr(epochs.time, "time_ns", lambda now_s=now_s: now_s * 10**9)
        with company.scope(), transaction.atomic():
            epochs.announce_limits(company.id)
        seen.add(sync_redis().hget(key(company), epochs.LIMITS_FIELD))
    assert len(seen) == 3
