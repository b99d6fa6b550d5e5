"""Passwords: Argon2id with RFC 9106's second recommended parameters, hashed in a bounded pool.

Hashing takes tens of milliseconds and 64 MiB; the semaphore keeps a flood of log-ins from taking every core and all
memory.
"""

import secrets
import string
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from django.conf import settings

from kernel.errors import InvalidRequest, Unavailable

_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4)
_WAIT_S = 5.0
_slots = threading.BoundedSemaphore(2)


def hash_password(password: str) -> str:
    """The encoded Argon2id hash. Raises `Unavailable` when too many are being hashed."""
    with _slot():
        return _hasher.hash(password)


def password_matches(password: str, encoded: str | None) -> bool:
    """Whether `password` is the hashed one. With no hash it takes as long and says no, so time tells nothing."""
    with _slot():
        try:
            return _hasher.verify(encoded or _nobodys_hash(), password) and encoded is not None
        except (VerificationError, InvalidHashError):
            return False


def check_password_rules(password: str) -> None:
    """Raises `InvalidRequest` for a password that is too short or too long."""
    if not settings.PASSWORD_MIN_CHARS <= len(password) <= settings.PASSWORD_MAX_CHARS:
        raise InvalidRequest(
            f"password: between {settings.PASSWORD_MIN_CHARS} and {settings.PASSWORD_MAX_CHARS} characters are needed.",
            details={"param": "password"},
        )


def generate_password() -> str:
    """A password for somebody to change: 20 characters, about 119 bits."""
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(20))


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_hex(16))


class _slot:  # noqa: N801 - reads as a statement
    def __enter__(self) -> None:
        if not _slots.acquire(timeout=_WAIT_S):
            raise Unavailable("Too many people are signing in at this moment.")

    def __exit__(self, *exc: object) -> None:
        _slots.release()
