"""Liveness and readiness, ahead of Django: `/healthz` says the process runs, `/readyz` that it can serve.

Who may know what is wrong is the operator: the answer here is only `ready` or `not ready`, and the log names what can't.
"""

import asyncio
from typing import Any

import structlog
from psycopg import Error

from kernel import adb, lifecycle
from kernel.errors import Unavailable
from kernel.redis import RedisError, async_redis

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_S = 3.0


async def health(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI app of the two paths."""
    if scope["path"] == "/healthz":
        await _answer(send, 200, b'{"status":"alive"}')
        return
    problems = await find_problems()
    if problems:
        log.warning("not_ready", problems=problems)
        await _answer(send, 503, b'{"status":"not ready"}')
    else:
        await _answer(send, 200, b'{"status":"ready"}')


async def find_problems() -> list[str]:
    """The names of what this process needs and can't reach; empty when it can serve."""
    if lifecycle.is_draining():
        return ["draining"]
    found = await asyncio.gather(_postgres(), _redis())
    return [name for name, works in zip(("postgres", "redis"), found, strict=True) if not works]


async def _postgres() -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S), adb.tenantless() as connection:
            await connection.execute("SELECT 1 FROM tenants_builtinrole LIMIT 1")
    except (Error, Unavailable, TimeoutError):
        return False
    return True


async def _redis() -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await async_redis().ping()
    except (RedisError, OSError, TimeoutError):
        return False
    return True


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
