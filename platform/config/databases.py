"""Which role connects where: Django's DATABASES from one URL or from three.

`DATABASE_URL` may name an administrator of the database: then the roles of Parley are made with it, each with a password
derived from the administrator's (scrypt, RFC 7914), so every process that knows the URL can compute it and nothing needs
storing. Or `DATABASE_URL` names `parley_app` itself, the least a web process needs, with `DATABASE_OWNER_URL` for
migrations and `DATABASE_PLATFORM_URL` for cross-tenant jobs.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

APP_ROLE, PLATFORM_ROLE, OWNER_ROLE = "parley_app", "parley_platform", "parley_owner"
LOOKUP_ROLE, BACKUP_ROLE = "parley_lookup", "parley_backup"

ENGINE = "kernel.db.backend"


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The connection strings in force. `owner` and `platform` are None where they follow from `app`."""

    main: str
    owner: str | None = None
    platform: str | None = None


def django_databases(urls: DatabaseUrls, *, conn_max_age_s: int) -> dict[str, dict[str, Any]]:
    """DATABASES: `default` (parley_app), `platform` (cross-tenant jobs) and `owner` (migrations)."""
    main = parse(urls.main)
    names_administrator = main.get("user") != APP_ROLE
    default = as_role(main, APP_ROLE) if names_administrator else main
    owner = parse(urls.owner) if urls.owner else main
    if urls.platform:
        platform = parse(urls.platform)
    else:
        platform = as_role(main, PLATFORM_ROLE) if names_administrator else main
    return {
        "default": _settings(default, conn_max_age_s) | {"TEST": {"MIRROR": "owner"}},
        "platform": _settings(platform, conn_max_age_s) | {"TEST": {"MIRROR": "owner"}},
        "owner": _settings(owner, 0, assume_role=OWNER_ROLE) | {"TEST": {"DEPENDENCIES": []}},
    }


def parse(url: str) -> dict[str, Any]:
    """The parts of a connection string. Raises ValueError without quoting it: it holds a password."""
    try:
        return {key: value for key, value in conninfo_to_dict(url).items() if value is not None}
    except ProgrammingError:
        raise ValueError("this is no PostgreSQL connection string") from None


def as_role(administrator: dict[str, Any], role: str) -> dict[str, Any]:
    """The same database, entered as one of Parley's roles."""
    secret = role_password(str(administrator.get("password", "")), role)
    return administrator | {"user": role, "password": secret}


@cache
def role_password(administrator_password: str, role: str) -> str:
    """The password of a role, derived from the administrator's."""
    derived = hashlib.scrypt(
        administrator_password.encode(), salt=f"parley role {role}".encode(), n=2**14, r=8, p=1, dklen=24
    )
    return derived.hex()


def _settings(target: dict[str, Any], conn_max_age_s: int, *, assume_role: str | None = None) -> dict[str, Any]:
    known = {"dbname", "user", "password", "host", "port"}
    options = {key: value for key, value in target.items() if key not in known}
    options.setdefault("connect_timeout", 5)
    if assume_role:
        options["assume_role"] = assume_role
    return {
        "ENGINE": ENGINE,
        "NAME": target.get("dbname", "parley"),
        "USER": target.get("user", ""),
        "PASSWORD": target.get("password", ""),
        "HOST": target.get("host", ""),
        "PORT": target.get("port", ""),
        "CONN_MAX_AGE": conn_max_age_s,
        "CONN_HEALTH_CHECKS": True,
        # A cursor that outlives its transaction is bound to a session, which PgBouncer's transaction mode doesn't keep.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": options,
    }
