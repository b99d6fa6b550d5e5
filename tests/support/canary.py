"""Looks for a text everywhere that Parley keeps anything: every column of every table, Redis, and the stored files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from kernel.objects import object_storage
from kernel.redis import sync_cache_redis, sync_redis
from tests.support.servers import database_url

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
      AND format_type(a.atttypid, NULL) IN
          ('text', 'character varying', 'jsonb', 'json', 'tsvector', 'bytea', 'text[]', 'character varying[]')
"""


def places_of(canary: str) -> list[str]:
    """Where the canary is: `table.column`, `redis:key`, `file:name`. It is of ASCII letters and digits."""
    return [*_in_tables(canary), *_in_redis(canary.encode()), *_in_files(canary.encode())]


def _in_tables(canary: str) -> Iterator[str]:
    with psycopg.connect(database_url("test_parley")) as administrator:
        for table, column, kind in administrator.execute(_COLUMNS).fetchall():
            if kind == "bytea":
                test = sql.SQL("position(convert_to({}, 'UTF8') IN {}) > 0")
            else:
                test = sql.SQL("position({} IN {}::text) > 0")
            within = test.format(sql.Literal(canary), sql.Identifier(column))
            query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table), within)
            row = administrator.execute(query).fetchone()
            if row and row[0]:
                yield f"{table}.{column}"


def _in_redis(canary: bytes) -> Iterator[str]:
    client: Any
    for client in {sync_redis(), sync_cache_redis()}:
        for key in client.scan_iter(count=1000):
            if canary in key or canary in repr(_held(client, key)).encode():
                yield f"redis:{key.decode()}"


def _held(client: Any, key: bytes) -> Any:
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1),
        b"stream": client.xrange,
    }
    kind = client.type(key)
    return read[kind](key) if kind in read else None


def _in_files(canary: bytes) -> Iterator[str]:
    storage: Any = object_storage()
    for path in Path(storage.location).rglob("*"):
        if path.is_file() and canary in path.read_bytes():
            yield f"file:{path.name}"
