"""Who appears in the tests."""

import functools
import secrets
import uuid
from dataclasses import dataclass, field
from functools import cached_property

from rest_framework.test import APIClient

from kernel.tenancy import tenant_scope
from tenants.epochs import Subject
from tenants.models import Tenant
from tenants.permissions import effective_permissions
from tenants.principals import Principal
from tenants.services.provisioning import NewMember, add_member, create_tenant
from tenants.tokens import mint_access
from tests.support.mould import Mould
from tests.support.servers import database_url

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Actor:
    """Somebody in a company, able to call."""

    name: str
    email: str
    tenant_id: uuid.UUID
    person_id: uuid.UUID
    membership_id: uuid.UUID
    role: str

    @cached_property
    def principal(self) -> Principal:
        return Principal(
            kind="member",
            tenant_id=self.tenant_id,
            membership_id=self.membership_id,
            person_id=self.person_id,
            role=self.role,
            permissions=effective_permissions(self.role),
        )

    def access_token(self, *, epochs: tuple[int, int] = (1, 1)) -> str:
        """An access token, as a log-in would mint it."""
        subject = Subject(tenant_id=self.tenant_id, membership_id=self.membership_id)
        return mint_access(person_id=self.person_id, subject=subject, epochs=epochs)

    @property
    def client(self) -> APIClient:
        """A REST client signed in as this actor."""
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.access_token()}")
        return client


@dataclass(frozen=True)
class Company:
    """A tenant and its people."""

    tenant: Tenant
    api_key: str = field(repr=False)
    alice: Actor
    bob: Actor
    vera: Actor

    @property
    def id(self) -> uuid.UUID:
        return self.tenant.id

    @property
    def owner(self) -> Actor:
        return self.alice

    def scope(self) -> object:
        """The company's tenant scope, as alice."""
        return tenant_scope(self.id, person_id=self.alice.person_id)


def found_company(slug: str) -> Company:
    """A tenant with an owner, a member and a viewer. Their passwords are `PASSWORD`."""
    made = _mould().copy(slug)

    def actor(name: str, role: str) -> Actor:
        person, membership = made.people[role], made.memberships[role]
        return Actor(name, f"{name}@{slug}.example", made.tenant.id, person, membership, role)

    return Company(
        tenant=made.tenant,
        api_key=made.api_key,
        alice=actor("alice", "owner"),
        bob=actor("bob", "member"),
        vera=actor("vera", "viewer"),
    )


@functools.cache
def _mould() -> Mould:
    """What companies are copied from: made by the services, once in a process."""
    return Mould(database_url("test_parley"), found_by_services(f"mould-{secrets.token_hex(8)}"))


def found_by_services(slug: str) -> Tenant:
    """The tenant of such a company, as an operator's commands make it."""
    made = create_tenant(slug=slug, owner_email=f"alice@{slug}.example", password=PASSWORD)
    _join(slug, "bob", "member")
    _join(slug, "vera", "viewer")
    return made.tenant


def hire(company: Company, name: str, role: str) -> Actor:
    """Somebody more in a company."""
    return _join(company.tenant.slug, name, role)


def _join(slug: str, name: str, role: str) -> Actor:
    member = add_member(slug=slug, email=f"{name}@{slug}.example", role=role, name=name, password=PASSWORD)
    return _actor(name, member, role)


def _actor(name: str, member: NewMember, role: str) -> Actor:
    return Actor(
        name=name,
        email=member.person.email,
        tenant_id=member.membership.tenant_id,
        person_id=member.person.id,
        membership_id=member.membership.id,
        role=role,
    )
