"""Values that the catalogue can't tell."""

from typing import Any

from tests.isolation.rows import Making, insert


def _new_person(making: Making) -> Any:
    person = making.factory.values("tenants_person", making.tenant_id)
    insert(making.factory.connection, "tenants_person", person)
    return person["id"]


def _new_group(making: Making) -> Any:
    group = making.factory.values("tenants_group", making.tenant_id)
    insert(making.factory.connection, "tenants_group", group)
    return group["id"]


def _new_notice(making: Making) -> Any:
    notice = making.factory.values("tenants_notice", making.tenant_id)
    insert(making.factory.connection, "tenants_notice", notice)
    return notice["id"]


ROWS: dict[str, dict[str, Any]] = {
    "tenants_tenant": {"slug": lambda making: f"tenant-{making.number}", "name": "A company", "timezone": "UTC"},
    "tenants_person": {"email": lambda making: f"person-{making.number}@rows.example"},
    "tenants_builtinrole": {"slug": lambda making: f"role-{making.number}"},
    "tenants_apikey": {"lookup_id": lambda making: f"key{making.number}"},
    # One membership for each person in each tenant: a new row needs a new person.
    "tenants_membership": {"person_id": _new_person},
    "tenants_groupmember": {"group_id": _new_group},
    "tenants_webhookattempt": {"number": lambda making: making.number},
    "tenants_notification": {"notice_id": _new_notice},
}
