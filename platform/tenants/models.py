"""Tenants, the people who belong to them, and what they sign in with.

`Person`, `Credential` and `RefreshToken` are global: one person, many tenants. The web role reaches the latter two only
through the definer functions of schema `lookup`.
"""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower

from kernel.constraints import TenantForeignKey
from kernel.ids import uuid7
from kernel.models import TenantModel, unique_in_tenant
from tenants.notifications import models as notification_models  # noqa: F401 - those tables are this app's too
from tenants.webhooks import models as webhook_models  # noqa: F401 - and those


class Tenant(models.Model):
    """A company: the unit of isolation, of budgets and of bills."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.CharField(max_length=63, unique=True)
    name = models.CharField(max_length=120)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    timezone = models.CharField(max_length=64, default="UTC")
    monthly_limit_nano = models.BigIntegerField(null=True, help_text="nano-USD a month; null is no limit")
    epoch = models.PositiveIntegerField(default=1, help_text="rises when every principal must be looked at again")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(
                name="tenant_slug_form",
                condition=models.Q(slug__regex=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
            ),
            models.CheckConstraint(name="tenant_status", condition=models.Q(status__in=["active", "suspended"])),
            models.CheckConstraint(
                name="tenant_limit_not_negative",
                condition=models.Q(monthly_limit_nano=None) | models.Q(monthly_limit_nano__gte=0),
            ),
        ]


class Person(AbstractBaseUser):
    """Somebody with an address. Passwords live in `Credential`, out of the web role's reach."""

    password = None  # type: ignore[assignment]
    last_login = None

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=120)
    is_active = models.BooleanField(default=True)
    email_verified_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]
    objects: ClassVar[models.Manager["Person"]] = models.Manager()

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(Lower("email"), name="person_email_key")]


class Credential(models.Model):
    """A person's password, hashed with Argon2id. No grants: read and written by definer functions."""

    person = models.OneToOneField(Person, primary_key=True, on_delete=models.CASCADE, related_name="+")
    password_hash = models.CharField(max_length=256)
    changed_at = models.DateTimeField(auto_now=True)


class BuiltinRole(models.Model):
    """A role that every tenant has; what it permits is in `tenants.permissions`."""

    slug = models.CharField(primary_key=True, max_length=32)


class Membership(TenantModel):
    """A person in a tenant, with a role. Removal keeps the row: messages and bills go on naming it."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        REMOVED = "removed"

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="memberships")
    role = models.ForeignKey(BuiltinRole, on_delete=models.PROTECT, db_column="role", related_name="+", db_index=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    epoch = models.PositiveIntegerField(default=1, help_text="rises when sessions and keys must be looked at again")
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True)

    role_id: str
    person_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("membership"),
            models.UniqueConstraint(fields=["tenant", "person"], name="membership_person_key"),
            models.CheckConstraint(name="membership_status", condition=models.Q(status__in=["active", "removed"])),
        ]


class Group(TenantModel):
    """Members taken together, to be given access together."""

    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("group"),
            models.UniqueConstraint("tenant", Lower("name"), name="group_name_key"),
        ]


class GroupMember(TenantModel):
    """A member's place in a group."""

    group = models.ForeignKey(
        Group, on_delete=models.DO_NOTHING, db_constraint=False, related_name="members", db_index=False
    )
    membership = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="groups", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("group_member"),
            TenantForeignKey(name="group_member_group_fk", field="group", on_delete="CASCADE"),
            TenantForeignKey(name="group_member_membership_fk", field="membership", on_delete="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "membership", "group"], name="group_member_key"),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "group"], name="group_member_of_group")]


class ApiKey(TenantModel):
    """A program's credential. The key itself is shown once; `digest` is HMAC-SHA-256 of it under the pepper."""

    lookup_id = models.CharField(max_length=16, unique=True, help_text="the public part of the key")
    digest = models.BinaryField(max_length=32)
    membership = models.ForeignKey(
        Membership, on_delete=models.DO_NOTHING, db_constraint=False, related_name="api_keys", db_index=False
    )
    name = models.CharField(max_length=120)
    hint = models.CharField(max_length=8, help_text="the last characters, to tell keys apart")
    scopes = ArrayField(models.CharField(max_length=64), default=list)
    allowed_models = ArrayField(models.CharField(max_length=200), null=True)
    allowed_networks = ArrayField(models.CharField(max_length=64), null=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    replaced_by = models.ForeignKey(
        "self", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    max_priority = models.CharField(
        max_length=16, default="normal", help_text="the highest class that requests with this key may ask for"
    )
    pace_tokens_per_s = models.PositiveIntegerField(null=True, help_text="how fast answers are streamed; null: at once")
    bound_by = ArrayField(
        models.UUIDField(), db_default=[], help_text="keys whose budgets and limits hold for this one as well"
    )
    line = models.UUIDField(
        null=True, help_text="the first of the keys that this one came from by rotation; null: itself"
    )
    epoch = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)

    membership_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("api_key"),
            TenantForeignKey(name="api_key_membership_fk", field="membership"),
            TenantForeignKey(name="api_key_replaced_by_fk", field="replaced_by", on_delete="SET NULL"),
            models.CheckConstraint(
                name="api_key_max_priority", condition=models.Q(max_priority__in=["interactive", "normal", "batch"])
            ),
            models.CheckConstraint(
                name="api_key_pace_positive",
                condition=models.Q(pace_tokens_per_s=None) | models.Q(pace_tokens_per_s__gte=1),
            ),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "membership"], name="api_key_of_member")]


class RefreshToken(models.Model):
    """One link of a family of refresh tokens. Only the digest is kept. No grants: definer functions do it all."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    family_id = models.UUIDField(db_index=True)
    digest = models.BinaryField(max_length=32, unique=True)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="+")
    tenant_ref = models.UUIDField(help_text="the tenant that the session is in")
    issued_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    spent_at = models.DateTimeField(null=True, help_text="when its child was minted")
    used_at = models.DateTimeField(null=True, help_text="when it was first presented")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[Any]] = [models.Index(fields=["expires_at"], name="refresh_token_expiry")]


class AuditEvent(TenantModel):
    """Who did what to which thing, for the tenant's own eyes. Append-only."""

    at = models.DateTimeField(auto_now_add=True)
    actor_kind = models.CharField(max_length=16, help_text="member, api_key or operator")
    actor_id = models.UUIDField(null=True)
    action = models.CharField(max_length=64)
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField(null=True)
    data = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("audit_event")]
