"""A tenant's rules for its rooms."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from chat.policy_models import RETENTION_DAYS_MAX
from chat.store import Connection, first, transaction
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from tenants.principals import Principal
from tenants.services.audit import record_on

_READ = "SELECT retention_days, sharing, titles FROM chat_roompolicy"
_WRITE = """
    INSERT INTO chat_roompolicy (id, tenant_id, retention_days, sharing, titles, updated_at)
    VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, name) DO UPDATE SET (retention_days, sharing, titles, updated_at) =
        (excluded.retention_days, excluded.sharing, excluded.titles, excluded.updated_at)
"""


class Policy(msgspec.Struct, frozen=True):
    """How long messages are kept (None: for ever), whether rooms may be shared by link, and whether models give them titles."""

    retention_days: int | None = None
    sharing: bool = False
    titles: bool = True


class PolicyChange(msgspec.Struct, frozen=True):
    """What to change; what isn't set stays."""

    retention_days: int | UnsetType | None = UNSET
    sharing: bool | UnsetType = UNSET
    titles: bool | UnsetType = UNSET


async def policy_of(connection: Connection) -> Policy:
    """The rules in force."""
    row = await first(connection, _READ, ())
    return Policy(**row) if row else Policy()


async def read_policy(*, member: Principal) -> Policy:
    """The rules in force, which everybody in the tenant may know."""
    member.require("rooms.read")
    async with transaction(member.tenant_id) as connection:
        return await policy_of(connection)


async def change_policy(*, member: Principal, change: PolicyChange) -> Policy:
    """Change the rules. Raises `PermissionDenied` without `rooms.manage`, `InvalidRequest`."""
    member.require("rooms.manage")
    async with transaction(member.tenant_id) as connection:
        now = await policy_of(connection)
        policy = Policy(
            retention_days=now.retention_days if change.retention_days is UNSET else change.retention_days,
            sharing=now.sharing if change.sharing is UNSET else change.sharing,
            titles=now.titles if change.titles is UNSET else change.titles,
        )
        check_days(policy.retention_days)
        await connection.execute(
            _WRITE.encode(),
            (uuid7(), member.tenant_id, policy.retention_days, policy.sharing, policy.titles, datetime.now(UTC)),
        )
        await record_on(
            connection,
            action="rooms.policy_changed",
            subject_kind="room_policy",
            actor=member,
            data=msgspec.to_builtins(policy),
        )
    return policy


def check_days(days: int | None) -> None:
    """Raises `InvalidRequest` for a retention that is none."""
    if days is not None and not 1 <= days <= RETENTION_DAYS_MAX:
        raise InvalidRequest(
            f"retention_days: from 1 to {RETENTION_DAYS_MAX:,} days, or null.", details={"param": "retention_days"}
        )


async def check_room_days(connection: Connection, days: int | None) -> None:
    """Raises `InvalidRequest` where a room would keep its messages longer than its tenant does."""
    check_days(days)
    longest = (await policy_of(connection)).retention_days
    if days is not None and longest is not None and days > longest:
        raise InvalidRequest(
            f"retention_days: messages are kept {longest} days here; a room can only keep them for less.",
            details={"param": "retention_days"},
        )
