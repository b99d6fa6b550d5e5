"""The broker is the Redis database that the address names, in Redis clients' reading and in Celery's."""

import os
import secrets

import pytest
from kombu import Connection
from redis import Redis

from config.broker import broker_url

pytestmark = pytest.mark.no_database


@pytest.mark.parametrize(
    ("address", "broker"),
    [
        ("redis://host:6379", "redis://host:6379"),
        ("redis://:p%40ss@host:6379/3", "redis://:p%40ss@host:6379/3"),
        ("redis://host:6379?db=3", "redis://host:6379/3"),
        ("rediss://host/1?ssl_cert_reqs=none&db=4", "rediss://host/4?ssl_cert_reqs=none"),
        ("unix:///run/a%20b/valkey.sock", "redis+socket:///run/a%20b/valkey.sock"),
        ("unix://:pw@/run/valkey.sock?db=5", "redis+socket://:pw@/run/valkey.sock?virtual_host=5"),
    ],
)
def test_it_names_the_same_database(address: str, broker: str) -> None:
    assert broker_url(address) == broker


@pytest.mark.parametrize("number", [6, 7])
def test_a_message_lies_in_the_database_that_was_named(number: int) -> None:
    """Two platforms in one Redis have a queue each."""
    address = f"{os.environ['PARLEY_TEST_REDIS_URL']}?db={number}"
    name = f"queue-{secrets.token_hex(4)}"
    with Connection(broker_url(address), transport_options={"socket_timeout": 5}) as connection:
        connection.SimpleQueue(name).put("hello")
    with Redis.from_url(address) as redis:
        assert redis.llen(name) == 1
        redis.delete(name)
        redis.srem(f"_kombu.binding.{name}", *redis.smembers(f"_kombu.binding.{name}"))
    with Redis.from_url(os.environ["PARLEY_TEST_REDIS_URL"]) as zero:
        assert not zero.exists(name)
