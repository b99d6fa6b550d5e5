"""Log-in attempts, counted by address + account and by address alone, in fixed windows in Redis.

Counted before the password is looked at, so that a flood costs no hashing. A right password takes its own attempt back: an
office behind one address may sign in all at once, and wrong ones count on. Redis keys hold digests, not addresses. With
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
    """The counters of one attempt: of the account from its address, and of the address."""

    account_key: str
    address_key: str


def begin(*, email: str, address: str) -> Attempt:
    """Count one attempt. Raises `RateLimited` when there were too many."""
    attempt = Attempt(_key("account", f"{address}\n{email.strip().casefold()}"), _key("address", address))
    limits = (
        (attempt.account_key, settings.LOGIN_ATTEMPTS_PER_ACCOUNT),
        (attempt.address_key, settings.LOGIN_ATTEMPTS_PER_ADDRESS),
    )
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
        return attempt
    for position, (_, limit) in enumerate(limits):
        count, ttl = answers[position * 3], answers[position * 3 + 2]
        if count > limit:
            raise RateLimited("Too many attempts to sign in. Try again later.", retry_after_s=cast("int", ttl))
    return attempt


def succeeded(attempt: Attempt) -> None:
    """A right password clears the account's counter, and takes its attempt off the address's."""
    try:
        with sync_redis().pipeline(transaction=False) as pipe:
            pipe.delete(attempt.account_key)
            pipe.decr(attempt.address_key)
            pipe.expire(attempt.address_key, settings.LOGIN_WINDOW_S, nx=True)
            pipe.execute()
    except RedisError:
        log.warning("login_not_throttled")


def _key(kind: str, text: str) -> str:
    return f"parley:login:{kind}:{hashlib.sha256(text.encode()).hexdigest()}"
