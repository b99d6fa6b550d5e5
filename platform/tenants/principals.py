"""Who is calling: a member by access token, or a program by API key."""

import uuid
from dataclasses import dataclass
from typing import Literal

from kernel.errors import PermissionDenied


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credential held. `permissions` are those in force now: role ∩ key's scopes."""

    kind: Literal["member", "api_key"]
    tenant_id: uuid.UUID
    membership_id: uuid.UUID
    person_id: uuid.UUID
    role: str
    permissions: frozenset[str]
    api_key_id: uuid.UUID | None = None
    allowed_models: frozenset[str] | None = None

    @property
    def id(self) -> uuid.UUID:
        """The key's id, or the membership's."""
        return self.api_key_id or self.membership_id

    def may(self, permission: str) -> bool:
        """Whether this caller has a permission."""
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raises `PermissionDenied` without the permission."""
        if permission not in self.permissions:
            raise PermissionDenied(details={"permission": permission})
