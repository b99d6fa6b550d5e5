"""The registry of permissions, the built-in roles made of them, and the scopes of API keys.

A permission is `<noun>.<verb>`. `read` is to see, `manage` to change for others, and other verbs are what they say. A
route or command names the one it needs; what is not named here can't be granted.
"""

from types import MappingProxyType

PERMISSIONS: frozenset[str] = frozenset(
    {
        "tenant.manage",
        "members.read",
        "members.manage",
        "api_keys.use",  # have keys of one's own
        "api_keys.manage",  # see and revoke everybody's
        "groups.manage",
        "access.manage",  # say who may use which model
        "connections.manage",  # the tenant's own accounts at providers
        "webhooks.manage",
        "providers.manage",
        "limits.manage",
        "models.use",
        "rooms.read",
        "rooms.write",
        "feedback.read",  # what members think of answers
        "rooms.share",  # show a room's conversation to whoever has a link
        "presets.share",  # let everybody use a preset or a prompt
        "rooms.manage",  # say how long messages are kept, and whether rooms may be shared by link
        "rooms.export",  # have what one reads written to a file
        "rooms.import",  # bring conversations from elsewhere
        "requests.read",  # how each request went
        "requests.content",  # what it said, where that is kept
        "usage.read_own",
        "usage.read",
        "costs.read",  # what providers charge, beside what is charged for it
        "billing.read",  # the plan, its credit and payments
        "billing.manage",  # change the plan, buy credit
        "invoices.read",
        "invoices.manage",  # say who they are for
        "budgets.manage",
        "audit.read",
        "notifications.read",  # what oneself was told
    }
)

_VIEWER = frozenset({"rooms.read", "usage.read_own", "notifications.read"})
_MEMBER = _VIEWER | {
    "members.read",
    "api_keys.use",
    "models.use",
    "rooms.write",
    "rooms.share",
    "presets.share",
    "rooms.export",
    "rooms.import",
}
_BILLING = frozenset(
    {
        "usage.read",
        "costs.read",
        "usage.read_own",
        "billing.read",
        "billing.manage",
        "invoices.read",
        "invoices.manage",
        "budgets.manage",
        "members.read",
        "audit.read",
        "notifications.read",
    }
)
_ADMIN = PERMISSIONS - {"tenant.manage"}

BUILTIN_ROLES = MappingProxyType(
    {
        "owner": PERMISSIONS,
        "admin": _ADMIN,
        "billing": _BILLING,
        "member": _MEMBER,
        "viewer": _VIEWER,
    }
)
"""Role slug → permissions."""

ROLE_NAMES = MappingProxyType(
    {"owner": "Owner", "admin": "Admin", "billing": "Billing", "member": "Member", "viewer": "Viewer"}
)

KEY_MANAGEMENT = frozenset(
    {
        "api_keys.use",
        "api_keys.manage",
        "members.manage",
        "groups.manage",
        "access.manage",
        "connections.manage",
        "billing.manage",
        "webhooks.manage",
        "tenant.manage",
    }
)
"""A key has these only if its scopes name them."""

DEFAULT_SCOPES = frozenset({"models.use", "rooms.read", "rooms.write", "usage.read_own"})
"""The scopes of a key for which none were named."""


def effective_permissions(role: str, *, scopes: frozenset[str] | None = None) -> frozenset[str]:
    """What a member of `role` may do, and through a key with `scopes` no more than these."""
    permissions = BUILTIN_ROLES[role]
    return permissions if scopes is None else permissions & scopes
