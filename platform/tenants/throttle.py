"""Log-in attempts, counted by address + account and by address alone, in fixed windows in Redis.

Counted before the password is looked at, so that a flood costs no hashing. Redis keys hold digests, not addresses. With
Redis away log-in goes on: hashing itself is bounded (`tenants.passwords`).
"""

import hashlib
from dataclasses import dataclass
from typing import cast

import structlog
from django.conf import settings

from kernel.errors import RateLimited
from kernel.redis import RedisError, sync_redis

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The counter of one account from one address."""

    account_key: str


def begin(*, email: str, address: str) -> Attempt:
    """Count one attempt. Raises `RateLimited` when there were too many."""
    account = _key("account", f"{address}\n{email.strip().casefold()}")
    place = _key("address", address)
    limits = ((account, settings.LOGIN_ATTEMPTS_PER_ACCOUNT), (place, settings.LOGIN_ATTEMPTS_PER_ADDRESS))
    try:
        with sync_redis().pipeline(transaction=False) as pipe:
            for key, _ in limits:
                pipe.incr(key)
                # Whatever ran out just now, no counter stays for ever.
                pipe.expire(key, settings.LOGIN_WINDOW_S, nx=True)
                pipe.ttl(key)
            answers = pipe.execute()
    except RedisError:
        log.warning("login_not_throttled")
        return Attempt(account)
    for position, (_, limit) in enumerate(limits):
        count, ttl = answers[position * 3], answers[position * 3 + 2]
        if count > limit:
            raise RateLimited("Too many attempts to sign in. Try again later.", retry_after_s=cast("int", ttl))
    return Attempt(account)


def succeeded(attempt: Attempt) -> None:
    """A right password clears the account's counter."""
    try:
        sync_redis().delete(attempt.account_key)
    except RedisError:
        log.warning("login_not_throttled")


def _key(kind: str, text: str) -> str:
    return f"parley:login:{kind}:{hashlib.sha256(text.encode()).hexdigest()}"
