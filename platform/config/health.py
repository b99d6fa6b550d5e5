"""Liveness and readiness, ahead of Django: `/healthz` says the process runs, `/readyz` that it can serve.

Without Redis it serves on: limits by this process alone, rooms from PostgreSQL. That is a degradation, no reason to take it out.
Who may know what is wrong is the operator: the answer here is only `ready` or `not ready`; the log and the operators' listener
(`config.ops`) name what can't.
"""

import asyncio
from typing import Any

import structlog
from psycopg import Error

from kernel import adb, lifecycle
from kernel.errors import Unavailable
from kernel.redis import RedisError, line

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_S = 3.0


async def health(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI app of the two paths."""
    if scope["path"] == "/healthz":
        await answer(send, 200, b'{"status":"alive"}')
        return
    problems = await find_problems()
    if problems:
        log.warning("not_ready", problems=problems)
        await answer(send, 503, b'{"status":"not ready"}')
    else:
        await answer(send, 200, b'{"status":"ready"}')


async def find_problems() -> list[str]:
    """The names of what this process needs and can't reach; empty when it can serve."""
    if lifecycle.is_draining():
        return ["draining"]
    return [] if await _postgres() else ["postgres"]


async def find_degradations() -> list[str]:
    """The names of what this process does without for the moment."""
    return [] if await _redis() else ["redis"]


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
            await line().call("PING")
    except (RedisError, TimeoutError):
        return False
    return True


async def answer(send: Any, status: int, body: bytes, *, content_type: bytes = b"application/json") -> None:
    """Send a whole answer that nobody keeps."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
