"""Whose rows the code that runs now may touch.

A scope is carried in a ContextVar, so it follows a request through threads started by asgiref and through asyncio tasks.
The database backend (`kernel.db`) and the async pool (`kernel.adb`) read it when a transaction begins and write it into
the transaction's settings `app.tenant_id` and `app.person_id`, which the row policies compare with. Outside a scope every
query on a tenant's table raises in PostgreSQL itself.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class NoTenant(RuntimeError):
    """Code that needs a tenant ran outside every tenant's scope. This is a bug in the caller, never a user's error."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant, and, where somebody acts, the person: `person_id` lets a person's own row be read and changed."""

    tenant_id: uuid.UUID | None = None
    person_id: uuid.UUID | None = None


NOBODY = Scope()

_scope: ContextVar[Scope] = ContextVar("parley_scope", default=NOBODY)


def current_scope() -> Scope:
    """The scope in force; `NOBODY` outside all."""
    return _scope.get()


def current_tenant_id() -> uuid.UUID:
    """The tenant in force. Raises `NoTenant` outside a tenant's scope."""
    tenant_id = _scope.get().tenant_id
    if tenant_id is None:
        raise NoTenant("no tenant is in scope")
    return tenant_id


@contextmanager
def tenant_scope(tenant_id: uuid.UUID, *, person_id: uuid.UUID | None = None) -> Iterator[Scope]:
    """Run the block as a tenant (and a person of it)."""
    with _entered(Scope(tenant_id=tenant_id, person_id=person_id)) as scope:
        yield scope


@contextmanager
def person_scope(person_id: uuid.UUID) -> Iterator[Scope]:
    """Run the block as a person in no tenant: only that person's own row can be seen."""
    with _entered(Scope(person_id=person_id)) as scope:
        yield scope


@contextmanager
def _entered(scope: Scope) -> Iterator[Scope]:
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


def settings_sql(scope: Scope) -> str:
    """The statement that writes a scope into the present transaction. Values are UUIDs, so there is nothing to quote."""
    tenant = str(scope.tenant_id) if scope.tenant_id else ""
    person = str(scope.person_id) if scope.person_id else ""
    return f"SELECT set_config('app.tenant_id', '{tenant}', true), set_config('app.person_id', '{person}', true)"
