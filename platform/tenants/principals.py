"""Who is calling: a member by access token, or a program by API key."""

import uuid
from dataclasses import dataclass, field
from typing import Literal

from kernel.errors import PermissionDenied
from tenants.epochs import Epochs, Subject

Priority = Literal["interactive", "normal", "batch"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "batch")
"""From what waits least to what waits longest."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """What a caller was taken at their word for: the epochs in force when this process last looked their credential up. Whoever
    acts for them compares these with the present ones first (`tenants.credentials.confirm`), in a round trip that has
    to be made anyway. `lookup_id` and `digest` find a key again."""

    subject: Subject
    epochs: Epochs
    lookup_id: str | None = field(default=None, repr=False)
    digest: bytes | None = field(default=None, repr=False)


def matches(alias: str, pattern: str) -> bool:
    """Whether a pattern, in which `*` stands for any characters, is for an alias. For another pattern in place of the
    alias: whether it is for all that the other is for."""
    first, *rest = pattern.split("*")
    if not rest:
        return alias == pattern
    *middle, last = rest
    at, end = len(first), len(alias) - len(last)
    if not alias.startswith(first) or not alias.endswith(last) or at > end:
        return False
    for piece in middle:
        found = alias.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credential held. `permissions` are those in force now: role ∩ key's scopes.

    `allowed_models` are the aliases that a key is for, in which `*` stands for any characters; `groups` are those that
    the member is in, or the key's owner. `bound_by` are the keys whose budgets and limits hold for this one as well. `line`
    is the first of the keys that this one came from by rotation, None if it didn't.

    `priority` is the highest that the caller may ask for; `pace_tokens_per_s` how fast answers are streamed to it, None
    for as fast as they come. With `unconfirmed` the credential's epochs are still to be compared."""

    kind: Literal["member", "api_key"]
    tenant_id: uuid.UUID
    membership_id: uuid.UUID
    person_id: uuid.UUID
    role: str
    permissions: frozenset[str]
    api_key_id: uuid.UUID | None = None
    allowed_models: frozenset[str] | None = None
    groups: frozenset[uuid.UUID] = frozenset()
    bound_by: frozenset[uuid.UUID] = frozenset()
    line: uuid.UUID | None = None
    priority: Priority = "normal"
    pace_tokens_per_s: int | None = None
    unconfirmed: Unconfirmed | None = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> uuid.UUID:
        """The key's id, or the membership's."""
        return self.api_key_id or self.membership_id

    @property
    def owner_id(self) -> uuid.UUID:
        """Whose is what is kept for the caller: a key's and its successors', so the first's id; else the membership's."""
        return self.line or self.id

    def may_use(self, alias: str) -> bool:
        """Whether the key, if it is one, is for this model. What a route's access says is another matter."""
        if self.allowed_models is None or alias in self.allowed_models:
            return True
        return any(matches(alias, pattern) for pattern in self.allowed_models if "*" in pattern)

    def may(self, permission: str) -> bool:
        """Whether this caller has a permission."""
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raises `PermissionDenied` without the permission."""
        if permission not in self.permissions:
            raise PermissionDenied(details={"permission": permission})
