"""How many web processes share the limits: each tells Redis that it serves; while Redis is away, the last count holds."""

import asyncio
import secrets
import time

from django.conf import settings

from kernel.redis import RedisError, line

KEY = "parley:limits:processes"
BEAT_EVERY_S = 5.0
GONE_AFTER_S = 15.0


class Processes:
    """This process among the others."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(8)
        self._counted: int | None = None
        self._beat_at = -BEAT_EVERY_S
        self._beating: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many there are, this one included: as last counted, or as the operator said."""
        return self._counted or settings.WEB_PROCESSES

    def beat(self) -> None:
        """Tell Redis that this process serves, if that is due. Nobody waits for it."""
        now = time.monotonic()
        if now - self._beat_at < BEAT_EVERY_S or not line().is_up:
            return
        self._beat_at = now
        self._beating = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        now = time.time()
        try:
            line().tell("ZADD", KEY, now, self._name)
            line().tell("ZREMRANGEBYSCORE", KEY, "-inf", now - GONE_AFTER_S)
            line().tell("EXPIRE", KEY, int(GONE_AFTER_S))
            self._counted = max(1, int(await line().call("ZCARD", KEY)))
        except RedisError:
            return
