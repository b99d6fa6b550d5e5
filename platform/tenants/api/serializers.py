"""The shapes of identity in REST."""

from typing import Any

from rest_framework import serializers

from kernel.api.serializers import StrictSerializer, list_of
from tenants.models import ApiKey, Membership, Person
from tenants.permissions import BUILTIN_ROLES, effective_permissions
from tenants.principals import PRIORITIES
from tenants.selectors import TenantOfPerson
from tenants.services.sessions import Session

_ROLE_SLUGS = list(BUILTIN_ROLES)


class LoginInput(StrictSerializer):
    """A log-in."""

    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=256, trim_whitespace=False)
    tenant = serializers.CharField(max_length=63, required=False, help_text="The slug; the first one if absent.")
    transport = serializers.ChoiceField(
        ["cookie", "body"],
        default="cookie",
        help_text="Where the refresh token goes: `body` is for native clients.",
    )


class RefreshInput(StrictSerializer):
    """A refresh; without `refresh` the cookie is used."""

    refresh = serializers.CharField(max_length=200, required=False)


class SwitchInput(StrictSerializer):
    """Another tenant of the same person."""

    tenant = serializers.CharField(max_length=63)
    refresh = serializers.CharField(max_length=200, required=False, help_text="For native clients.")


class PersonOutput(serializers.Serializer[Any]):
    """Somebody."""

    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField()


class TenantOutput(serializers.Serializer[Any]):
    """A tenant, as its members see it."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()


class CurrentMembershipOutput(serializers.Serializer[Any]):
    """The caller's membership."""

    id = serializers.UUIDField()
    role = serializers.ChoiceField(_ROLE_SLUGS)
    permissions = serializers.ListField(child=serializers.CharField())


class MembershipOfPersonOutput(serializers.Serializer[Any]):
    """One of the tenants the person can switch to."""

    id = serializers.UUIDField()
    role = serializers.ChoiceField(_ROLE_SLUGS)
    tenant = TenantOutput()


class MeOutput(serializers.Serializer[Any]):
    """Who is calling."""

    person = PersonOutput()
    tenant = TenantOutput()
    membership = CurrentMembershipOutput()
    memberships = MembershipOfPersonOutput(many=True)


class SessionOutput(MeOutput):
    """A session: an access token to send as Bearer, and who it is for."""

    access = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds until the access token ends.")
    refresh = serializers.CharField(required=False, help_text="Only with transport `body`.")


class MeInput(StrictSerializer):
    """What a person changes about themselves."""

    name = serializers.CharField(min_length=1, max_length=120)


class TicketOutput(serializers.Serializer[Any]):
    """A ticket for one socket."""

    ticket = serializers.CharField()
    expires_in = serializers.IntegerField()


class MemberOutput(serializers.Serializer[Any]):
    """A member of the tenant."""

    id = serializers.UUIDField()
    person = PersonOutput()
    role = serializers.ChoiceField(_ROLE_SLUGS)
    created_at = serializers.DateTimeField()


class RoleInput(StrictSerializer):
    """Another role for a member."""

    role = serializers.ChoiceField(_ROLE_SLUGS)


class RoleOutput(serializers.Serializer[Any]):
    """A role and what it permits."""

    slug = serializers.CharField()
    name = serializers.CharField()
    permissions = serializers.ListField(child=serializers.CharField())


RolesOutput = list_of(RoleOutput(many=True), "Roles")


class ApiKeyInput(StrictSerializer):
    """A new key."""

    name = serializers.CharField(min_length=1, max_length=120)
    scopes = serializers.ListField(child=serializers.CharField(max_length=64), required=False, max_length=64)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    allowed_models = serializers.ListField(
        child=serializers.CharField(max_length=200),
        required=False,
        allow_null=True,
        default=None,
        max_length=100,
    )
    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        allow_null=True,
        default=None,
        max_length=100,
    )
    max_priority = serializers.ChoiceField(
        PRIORITIES, default="normal", help_text="The highest class that requests with it may ask for."
    )
    pace_tokens_per_s = serializers.IntegerField(
        min_value=1,
        max_value=1_000_000,
        required=False,
        allow_null=True,
        default=None,
        help_text="How fast answers are streamed; null: as they come.",
    )


class ApiKeyChanges(StrictSerializer):
    """What is changed of a key; what isn't named stays."""

    max_priority = serializers.ChoiceField(PRIORITIES, required=False)
    pace_tokens_per_s = serializers.IntegerField(min_value=1, max_value=1_000_000, required=False, allow_null=True)


class RotateInput(StrictSerializer):
    """How long the old key goes on working."""

    overlap_s = serializers.IntegerField(min_value=0, max_value=7 * 24 * 3600, default=0)


class ApiKeyOutput(serializers.Serializer[Any]):
    """A key, without its secret."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="The key's last characters.")
    member = MemberOutput()
    scopes = serializers.ListField(child=serializers.CharField())
    allowed_models = serializers.ListField(child=serializers.CharField(), allow_null=True)
    allowed_ips = serializers.ListField(child=serializers.CharField(), allow_null=True)
    max_priority = serializers.ChoiceField(PRIORITIES)
    pace_tokens_per_s = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(["active", "revoked", "expired"])
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class IssuedKeyOutput(serializers.Serializer[Any]):
    """A key just made. `secret` is shown this once."""

    key = ApiKeyOutput()
    secret = serializers.CharField()


def person_body(person: Person) -> dict[str, Any]:
    """`PersonOutput`."""
    return {"id": str(person.id), "email": person.email, "name": person.name}


def member_body(member: Membership) -> dict[str, Any]:
    """`MemberOutput`."""
    return {
        "id": str(member.id),
        "person": person_body(member.person),
        "role": member.role_id,
        "created_at": member.created_at,
    }


def me_body(
    *, person: Person, current: TenantOfPerson, memberships: list[TenantOfPerson], permissions: frozenset[str]
) -> dict[str, Any]:
    """`MeOutput`."""
    return {
        "person": person_body(person),
        "tenant": _tenant_body(current),
        "membership": {
            "id": str(current.membership_id),
            "role": current.role,
            "permissions": sorted(permissions),
        },
        "memberships": [
            {"id": str(item.membership_id), "role": item.role, "tenant": _tenant_body(item)}
            for item in memberships
            if not item.suspended
        ],
    }


def session_body(session: Session, *, expires_in: int, with_refresh: bool) -> dict[str, Any]:
    """`SessionOutput`."""
    body = me_body(
        person=session.person,
        current=session.current,
        memberships=list(session.memberships),
        permissions=effective_permissions(session.current.role),
    )
    body |= {"access": session.access, "expires_in": expires_in}
    return body | {"refresh": session.refresh} if with_refresh else body


def api_key_body(key: ApiKey, *, now: Any) -> dict[str, Any]:
    """`ApiKeyOutput`."""
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": str(key.id),
        "name": key.name,
        "hint": key.hint,
        "member": member_body(key.membership),
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "allowed_ips": key.allowed_networks,
        "max_priority": key.max_priority,
        "pace_tokens_per_s": key.pace_tokens_per_s,
        "status": "revoked" if key.revoked_at else "expired" if expired else "active",
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _tenant_body(tenant: TenantOfPerson) -> dict[str, Any]:
    return {"id": str(tenant.tenant_id), "slug": tenant.slug, "name": tenant.name}
