"""What presets and prompts have in common: who sees one and who changes it, how many there are, and what becomes of them
when who has them goes."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from chat.bounds import (
    LIBRARY_NAME_CHARS_MAX,
    LIBRARY_PERSONAL_MAX,
    LIBRARY_SEARCH_CHARS_MAX,
    LIBRARY_SHARED_MAX,
)
from chat.checks import check_text
from chat.store import Connection, first, transaction
from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from kernel.ids import uuid7
from tenants.principals import Principal
from tenants.services.audit import record_on

SHARE, MANAGE = "presets.share", "rooms.manage"
VISIBILITIES = ("personal", "shared")
_COMMON = ("id", "owner_id", "name", "visibility", "version", "created_at", "updated_at")

S_co = TypeVar("S_co", bound=msgspec.Struct, covariant=True)


class Shelf(msgspec.Struct, Generic[S_co], frozen=True):
    """A kind of things in the library: its table, the `columns` that are its own, and their `shape`."""

    noun: str
    table: str
    columns: tuple[str, ...]
    shape: type[S_co]

    def read(self, row: Mapping[str, Any]) -> S_co:
        """A row as its shape."""
        values = dict(row)
        values["owner"] = values.pop("owner_id")
        return msgspec.convert(values, self.shape)

    def select(self, where: str) -> sql.Composed:
        """A statement that reads rows of this kind."""
        names = sql.SQL(", ").join(map(sql.Identifier, (*_COMMON, *self.columns)))
        return sql.SQL("SELECT {} FROM {} ").format(names, sql.Identifier(self.table)) + _raw(where)

    def statement(self, text: str) -> sql.Composed:
        """A statement in which `{table}` stands for the table."""
        return _raw(text).format(table=sql.Identifier(self.table))


async def add(shelf: Shelf[S_co], *, member: Principal, name: str, visibility: str, values: Mapping[str, Any]) -> S_co:
    """A new one of the member's. Raises `PermissionDenied`, `InvalidRequest`, and `Conflict` where there are enough."""
    member.require("rooms.write")
    _check(member, name=name, visibility=visibility)
    id_, now = uuid7(), datetime.now(UTC)
    row = {"id": id_, "tenant_id": member.tenant_id, "owner_id": member.membership_id, "name": name}
    row |= {"visibility": visibility, "version": 1, "created_at": now, "updated_at": now, **_stored(values)}
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(shelf.table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    async with transaction(member.tenant_id) as connection:
        await _check_room_left(connection, shelf, owner_id=member.membership_id, visibility=visibility)
        await connection.execute(insert, list(row.values()))
        if visibility == "shared":
            await _record(connection, shelf, "shared", id_, member)
        return shelf.read(await _seen(connection, shelf, member=member, id_=id_))


async def read(shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID) -> S_co:
    """One that the member sees: their own, or shared. Raises `NotFound`, `PermissionDenied`."""
    member.require("rooms.read")
    async with transaction(member.tenant_id) as connection:
        return shelf.read(await _seen(connection, shelf, member=member, id_=id_))


async def find(
    shelf: Shelf[S_co], *, member: Principal, search: str = "", before: uuid.UUID | None, limit: int
) -> list[S_co]:
    """Those that the member sees, newest first; with `search` those whose name has it in it, in any case. Raises
    `PermissionDenied`, `InvalidRequest`."""
    member.require("rooms.read")
    check_text(search, field="search", chars_max=LIBRARY_SEARCH_CHARS_MAX, blank=True)
    pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    select = shelf.select(
        "WHERE (owner_id = %s OR visibility = 'shared') AND (%s OR name ILIKE %s) AND (%s::uuid IS NULL OR id < %s) "
        "ORDER BY id DESC LIMIT %s"
    )
    async with transaction(member.tenant_id) as connection:
        cursor = await connection.execute(select, (member.membership_id, not search, pattern, before, before, limit))
        return [shelf.read(row) for row in await cursor.fetchall()]


async def current(shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID, version: int) -> S_co:
    """One that the member may change, at the version they read it at. Raises `NotFound`, `PermissionDenied`, `Conflict`."""
    member.require("rooms.write")
    async with transaction(member.tenant_id) as connection:
        row = await _changeable(connection, shelf, member=member, id_=id_)
    _check_version(row, version)
    return shelf.read(row)


async def change(
    shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID, version: int, values: Mapping[str, Any]
) -> S_co:
    """Change one, as it was read at `version`. Its owner may, and whoever manages rooms a shared one; only its owner takes
    it back to themselves.

    Raises `NotFound`, `PermissionDenied`, `InvalidRequest`, and `Conflict` when it was changed meanwhile."""
    member.require("rooms.write")
    async with transaction(member.tenant_id) as connection:
        row = await _changeable(connection, shelf, member=member, id_=id_, lock=True)
        _check_version(row, version)
        visibility = values.get("visibility", row["visibility"])
        _check(member, name=values.get("name", row["name"]), visibility=visibility, shared_before=row["visibility"])
        if visibility != row["visibility"]:
            if row["owner_id"] != member.membership_id:
                raise PermissionDenied("This is somebody else's.", details={"reason": "not_owner"})
            await _check_room_left(connection, shelf, owner_id=row["owner_id"], visibility=visibility)
        stored = {**_stored(values), "version": version + 1, "updated_at": datetime.now(UTC)}
        update = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(
            sql.Identifier(shelf.table),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in stored),
        )
        await connection.execute(update, [*stored.values(), id_])
        if "shared" in (visibility, row["visibility"]):
            await _record(connection, shelf, "changed", id_, member)
        return shelf.read(await _seen(connection, shelf, member=member, id_=id_))


async def remove(shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID) -> None:
    """Delete one. Who may change it may. Raises `NotFound`, `PermissionDenied`."""
    member.require("rooms.write")
    async with transaction(member.tenant_id) as connection:
        row = await _changeable(connection, shelf, member=member, id_=id_, lock=True)
        await connection.execute(shelf.statement("DELETE FROM {table} WHERE id = %s"), (id_,))
        if row["visibility"] == "shared":
            await _record(connection, shelf, "deleted", id_, member)


async def pass_on(shelf: Shelf[S_co], tenant_id: uuid.UUID, membership_id: uuid.UUID, *, to: uuid.UUID | None) -> None:
    """Of somebody who is no longer of the tenant: erase what they had for themselves; what they shared stays, and is `to`
    somebody's, or, where they are gone too, the longest-standing owner's. Done again, it finds nothing more to do."""
    async with transaction(tenant_id) as connection:
        gone = await first(
            connection, "SELECT 1 FROM tenants_membership WHERE id = %s AND status <> 'active'", (membership_id,)
        )
        heir = await first(connection, _HEIR, (membership_id, to))
        if gone is None or heir is None:
            return
        await connection.execute(
            shelf.statement("DELETE FROM {table} WHERE owner_id = %s AND visibility = 'personal'"), (membership_id,)
        )
        await connection.execute(
            shelf.statement("UPDATE {table} SET owner_id = %s WHERE owner_id = %s"), (heir["id"], membership_id)
        )


_HEIR = """
    SELECT id FROM tenants_membership WHERE status = 'active' AND id <> %s
    ORDER BY id IS NOT DISTINCT FROM %s::uuid DESC, role = 'owner' DESC, role = 'admin' DESC, id LIMIT 1
"""


async def _seen(
    connection: Connection, shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID, lock: bool = False
) -> DictRow:
    where = "WHERE id = %s AND (owner_id = %s OR visibility = 'shared')" + (" FOR UPDATE" if lock else "")
    cursor = await connection.execute(shelf.select(where), (id_, member.membership_id))
    row = await cursor.fetchone()
    if row is None:
        raise NotFound
    return row


async def _changeable(
    connection: Connection, shelf: Shelf[S_co], *, member: Principal, id_: uuid.UUID, lock: bool = False
) -> DictRow:
    row = await _seen(connection, shelf, member=member, id_=id_, lock=lock)
    if row["owner_id"] != member.membership_id and not member.may(MANAGE):
        raise PermissionDenied("This is somebody else's.", details={"reason": "not_owner"})
    return row


def _check(member: Principal, *, name: str, visibility: str, shared_before: str = "personal") -> None:
    check_text(name, field="name", chars_max=LIBRARY_NAME_CHARS_MAX)
    if visibility not in VISIBILITIES:
        raise InvalidRequest(f"visibility: one of {', '.join(VISIBILITIES)}.", details={"param": "visibility"})
    if "shared" in (visibility, shared_before):
        member.require(SHARE)


def _check_version(row: Mapping[str, Any], version: int) -> None:
    if row["version"] != version:
        raise Conflict(
            "This was changed meanwhile. Read it again.", details={"reason": "version", "version": row["version"]}
        )


async def _check_room_left(connection: Connection, shelf: Shelf[S_co], *, owner_id: uuid.UUID, visibility: str) -> None:
    shared = visibility == "shared"
    count = "SELECT count(*) AS held FROM {table} WHERE visibility = %s AND (%s OR owner_id = %s)"
    cursor = await connection.execute(shelf.statement(count), (visibility, shared, owner_id))
    row = await cursor.fetchone()
    most = LIBRARY_SHARED_MAX if shared else LIBRARY_PERSONAL_MAX
    if row is not None and row["held"] >= most:
        raise Conflict(f"There are {most:,} {visibility} {shelf.noun}s. Delete one.", details={"reason": "full"})


async def _record(connection: Connection, shelf: Shelf[S_co], what: str, id_: uuid.UUID, member: Principal) -> None:
    """Write down what concerns everybody."""
    await record_on(connection, action=f"{shelf.noun}.{what}", subject_kind=shelf.noun, subject_id=id_, actor=member)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in values.items()}


def _raw(text: str) -> sql.SQL:
    # psycopg wants literals here, so that nobody's words get into a statement; these are constants of this module.
    return sql.SQL(text)
