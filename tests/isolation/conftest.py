"""Two tenants with a row in every table, and connections to look at them with."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernel.ids import uuid7
from tests.isolation.roles import APP_ROLE, Connection, administrator, connect
from tests.isolation.rows import Row, RowFactory, insert


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


@pytest.fixture(scope="session")
def world(database: str) -> Iterator[World]:
    with administrator() as admin:
        admin.autocommit = True
        factory = RowFactory(admin)
        ours, theirs = uuid7(), uuid7()
        for tenant_id in (ours, theirs):
            row = factory.values("tenants_tenant", tenant_id) | {"id": tenant_id}
            insert(admin, "tenants_tenant", row)
            factory._standing["tenants_tenant", tenant_id] = row
        world = World(admin, factory, ours, theirs)
        for table in world.tables:
            world.our(table)
            world.their(table)
        yield world


@pytest.fixture(scope="session")
def app(world: World) -> Iterator[Connection]:
    """A plain connection as the web role."""
    with connect(APP_ROLE) as connection:
        yield connection
