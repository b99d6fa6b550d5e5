"""How often shared conversations are looked at from one address: counted by the minute in Redis, under a digest of the
address. With Redis away nothing is counted: a token can't be guessed."""

import hashlib
import time
from typing import cast

import structlog

from chat.bounds import SHARE_VIEWS_PER_MINUTE
from kernel.errors import RateLimited
from kernel.redis import RedisError, sync_redis

log = structlog.get_logger(__name__)

_MINUTE_S = 60


def count_view(address: str) -> None:
    """Count one. Raises `RateLimited` when there were too many this minute."""
    now = time.time()
    digest = hashlib.sha256(address.encode()).hexdigest()
    key = f"parley:shares:{digest}:{int(now // _MINUTE_S)}"
    try:
        with sync_redis().pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, _MINUTE_S * 2)
            count = cast("int", pipe.execute()[0])
    except RedisError:
        log.warning("share_views_not_counted")
        return
    if count > SHARE_VIEWS_PER_MINUTE:
        raise RateLimited("Too many requests. Wait a minute.", retry_after_s=int(_MINUTE_S - now % _MINUTE_S) + 1)
