"""Names for the ids in reports, as far as whoever asks may know them. Rooms have none here: who pays needn't be in them."""

from collections.abc import Iterable, Mapping
from typing import LiteralString

from tenants.principals import Principal

NAMES: Mapping[str, LiteralString] = {
    "member": "SELECT m.id::text AS id, coalesce(nullif(p.name, ''), p.email) AS name FROM tenants_membership m "
    "JOIN tenants_person p ON p.id = m.person_id WHERE m.id = ANY (%(ids)s::uuid[])",
    "api_key": "SELECT id::text AS id, name FROM tenants_apikey WHERE id = ANY (%(ids)s::uuid[])",
    "group": "SELECT id::text AS id, name FROM tenants_group WHERE id = ANY (%(ids)s::uuid[])",
}
"""Dimension → the statement that finds the names of ids."""
_NEEDED: Mapping[str, str] = {"member": "members.read", "api_key": "usage.read_own", "group": "members.read"}


def named(group_by: Iterable[str], caller: Principal) -> tuple[str, ...]:
    """The dimensions among these whose names the caller may know."""
    return tuple(name for name in group_by if name in NAMES and caller.may(_NEEDED[name]))
