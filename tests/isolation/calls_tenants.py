"""Example calls of identity."""

import secrets
import uuid

from django.db import transaction

from tenants.models import Membership
from tenants.services.api_keys import issue_key
from tenants.services.groups import add_member_to_group, create_group
from tenants.services.provisioning import add_member
from tests.isolation import calls_notifications, calls_webhooks
from tests.isolation.calls import Call, Made
from tests.support.cast import PASSWORD, Company


def _member(company: Company) -> uuid.UUID:
    """A new member, who can't sign in."""
    email = f"{secrets.token_hex(6)}@{company.tenant.slug}.example"
    return add_member(slug=company.tenant.slug, email=email, role="member", password=PASSWORD).membership.id


def _key(company: Company) -> uuid.UUID:
    with company.scope(), transaction.atomic():
        return issue_key(membership=Membership.objects.get(id=company.owner.membership_id), name="a key").row.id


def _group(company: Company) -> uuid.UUID:
    """A group of one member."""
    member = _member(company)
    with company.scope(), transaction.atomic():
        group = create_group(caller=company.owner.principal, name=f"group {secrets.token_hex(6)}")
        add_member_to_group(caller=company.owner.principal, group_id=group.id, member_id=member)
        return group.id


def _group_of(company: Company) -> Made:
    group, member = _group(company), _member(company)
    with company.scope(), transaction.atomic():
        add_member_to_group(caller=company.owner.principal, group_id=group, member_id=member)
    return Made(ids={"group_id": group, "member_id": member})


def _login(company: Company) -> Made:
    return Made(body={"email": company.owner.email, "password": PASSWORD, "transport": "body"})


CALLS = (
    Call("POST", "auth/login", _login, public=True),
    Call("POST", "auth/refresh", lambda company: Made(body={}), status=401, public=True),
    Call("POST", "auth/logout", lambda company: Made(body={}), status=204, public=True),
    Call(
        "POST",
        "auth/switch",
        lambda company: Made(body={"tenant": company.tenant.slug}),
        foreign={"tenant": "no-such-tenant"},
    ),
    Call("POST", "auth/ws-ticket"),
    Call("GET", "me", lambda company: Made(listed=(company.owner.person_id,))),
    Call("PATCH", "me", lambda company: Made(body={"name": "Alice"})),
    Call("GET", "members", lambda company: Made(listed=(company.bob.membership_id,))),
    Call("GET", "members/<uuid:member_id>", lambda company: Made(ids={"member_id": company.bob.membership_id})),
    Call(
        "PATCH",
        "members/<uuid:member_id>",
        lambda company: Made(ids={"member_id": _member(company)}, body={"role": "viewer"}),
    ),
    Call("DELETE", "members/<uuid:member_id>", lambda company: Made(ids={"member_id": _member(company)}), status=204),
    Call("GET", "groups", lambda company: Made(listed=(_group(company),))),
    Call("POST", "groups", lambda company: Made(body={"name": f"group {secrets.token_hex(6)}"}), status=201),
    Call("GET", "groups/<uuid:group_id>", lambda company: Made(ids={"group_id": _group(company)})),
    Call(
        "PATCH",
        "groups/<uuid:group_id>",
        lambda company: Made(ids={"group_id": _group(company)}, body={"name": f"group {secrets.token_hex(6)}"}),
    ),
    Call("DELETE", "groups/<uuid:group_id>", lambda company: Made(ids={"group_id": _group(company)}), status=204),
    Call("GET", "groups/<uuid:group_id>/members", lambda company: Made(ids={"group_id": _group(company)})),
    Call(
        "POST",
        "groups/<uuid:group_id>/members",
        lambda company: Made(ids={"group_id": _group(company)}, body={"member_id": str(_member(company))}),
        status=201,
        foreign={"member_id": None},
    ),
    Call("DELETE", "groups/<uuid:group_id>/members/<uuid:member_id>", _group_of, status=204),
    *calls_notifications.CALLS,
    *calls_webhooks.CALLS,
    Call("GET", "roles"),
    Call("GET", "api-keys", lambda company: Made(listed=(_key(company),))),
    Call("POST", "api-keys", lambda company: Made(body={"name": "another key"}), status=201),
    Call("GET", "api-keys/<uuid:key_id>", lambda company: Made(ids={"key_id": _key(company)})),
    Call(
        "PATCH",
        "api-keys/<uuid:key_id>",
        lambda company: Made(ids={"key_id": _key(company)}, body={"max_priority": "batch"}),
    ),
    Call("DELETE", "api-keys/<uuid:key_id>", lambda company: Made(ids={"key_id": _key(company)}), status=204),
    Call(
        "POST",
        "api-keys/<uuid:key_id>/rotate",
        lambda company: Made(ids={"key_id": _key(company)}, body={"overlap_s": 60}),
        status=201,
    ),
)
