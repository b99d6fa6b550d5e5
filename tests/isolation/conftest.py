"""Two tenants with a row in every table, connections to look at them with, and two companies of people who call."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from django.db import transaction
from pytest_django.plugin import DjangoDbBlocker

from tenants.models import Membership
from tenants.permissions import BUILTIN_ROLES, PERMISSIONS
from tenants.services.api_keys import issue_key
from tenants.services.provisioning import add_member
from tests.isolation.roles import APP_ROLE, Connection, administrator, connect
from tests.isolation.rows import Row, RowFactory
from tests.support.cast import PASSWORD, Actor, Company, found_company


@dataclass(frozen=True)
class World:
    """Ours and theirs: each tenant has one standing row in each tenant table. All of it is committed."""

    admin: Connection
    factory: RowFactory
    ours: uuid.UUID
    theirs: uuid.UUID

    @property
    def tables(self) -> list[str]:
        return sorted(self.factory.tenant_keys)

    def key(self, table: str) -> str:
        """The column that holds a table's tenant."""
        return self.factory.tenant_keys[table]

    def our(self, table: str) -> Row:
        return self.factory.standing(table, self.ours)

    def their(self, table: str) -> Row:
        return self.factory.standing(table, self.theirs)

    def fresh(self, table: str, tenant_id: uuid.UUID) -> Row:
        """A row not inserted yet; what it points to is there."""
        return self.factory.values(table, tenant_id)


# Of a module: what goes through all tenants, such as what removes expired rows, may run between two of them.
@pytest.fixture(scope="module")
def world(database: str) -> Iterator[World]:
    with administrator() as admin:
        admin.autocommit = True
        factory = RowFactory(admin)
        ours, theirs = factory.add_tenant(), factory.add_tenant()
        world = World(admin, factory, ours, theirs)
        for table in world.tables:
            world.our(table)
            world.their(table)
        yield world


@pytest.fixture(scope="module")
def app(world: World) -> Iterator[Connection]:
    """A plain connection as the web role."""
    with connect(APP_ROLE) as connection:
        yield connection


@dataclass(frozen=True)
class Cast:
    """Two companies, and a member of ours in every role."""

    ours: Company
    theirs: Company
    by_role: Mapping[str, Actor]
    their_key: str


@pytest.fixture(scope="session")
def cast(database: str, django_db_blocker: DjangoDbBlocker) -> Cast:
    with django_db_blocker.unblock():
        return _cast()


def _cast() -> Cast:
    ours, theirs = found_company("matrix-ours"), found_company("matrix-theirs")
    by_role = {"owner": ours.alice, "member": ours.bob, "viewer": ours.vera}
    for role in BUILTIN_ROLES.keys() - by_role.keys():
        made = add_member(slug=ours.tenant.slug, email=f"{role}@matrix.example", role=role, password=PASSWORD)
        by_role[role] = Actor(role, made.person.email, ours.id, made.person.id, made.membership.id, role)
    with theirs.scope(), transaction.atomic():
        mallory = Membership.objects.get(id=theirs.owner.membership_id)
        key = issue_key(membership=mallory, name="all of it", scopes=sorted(PERMISSIONS))
    return Cast(ours, theirs, by_role, key.text)
