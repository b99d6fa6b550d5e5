"""Where models are: connections (accounts at providers), deployments (models on them) and routes (aliases to them).

What an operator offers every tenant lives in tables of its own (`Platform…`); a tenant's own rows may point to either.
Secrets are encrypted for their cell (`kernel.crypto`).
"""

import uuid
from typing import Any, ClassVar

from django.db import models

from kernel.constraints import TenantForeignKey
from kernel.ids import uuid7
from kernel.models import TenantModel, unique_in_tenant
from providers.batches import models as batch_models  # noqa: F401 - those tables are this app's too
from providers.cache import models as cache_models  # noqa: F401 - and those
from providers.cache.semantic import models as semantic_models  # noqa: F401 - and those
from tenants.models import ApiKey, BuiltinRole, Group, Membership


class Strategy(models.TextChoices):
    """How a route chooses among its deployments (`providers.choice`)."""

    PRIORITY = "priority"
    WEIGHTED = "weighted"
    LEAST_IN_FLIGHT = "least_in_flight"
    LOWEST_LATENCY = "lowest_latency"
    CHEAPEST = "cheapest"
    NEAREST_REGION = "nearest_region"


class ConnectionTerms(models.Model):
    """An account at a provider: what kind, where, and the secret."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=64, help_text="a name of providers.registry")
    base_url = models.CharField(max_length=500)
    secret = models.BinaryField(null=True, help_text="encrypted")
    region = models.CharField(max_length=32, blank=True, default="", db_default="", help_text="such as eu-central-1")
    published_models = models.JSONField(null=True, help_text="the names its provider last said that it serves")
    published_at = models.DateTimeField(null=True)
    models_asked_at = models.DateTimeField(null=True, help_text="when a round last asked its provider for its models")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class DeploymentTerms(models.Model):
    """A model on a connection. `price_model` names it in the price book."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=200, help_text="the upstream's name for it")
    price_model = models.CharField(max_length=270)
    prompt_format = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="a name of providers.prompt_formats"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class RouteTerms(models.Model):
    """A model alias, as callers name it, or with `*` at its end all that begin so.

    `fallbacks` are the aliases to go to, in order, when none of its own deployments can answer."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    alias = models.CharField(max_length=200)
    strategy = models.CharField(
        max_length=16, choices=Strategy, default=Strategy.PRIORITY, db_default=Strategy.PRIORITY.value
    )
    fallbacks = models.JSONField(default=list, db_default=[])
    requires = models.JSONField(default=list, db_default=[], help_text="capabilities that each deployment must have")
    max_output_tokens = models.PositiveIntegerField(
        null=True, help_text="how long an answer may be where the caller doesn't say"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class PlatformConnection(ConnectionTerms):
    """An operator's account, offered to every tenant."""

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["name"], name="platform_connection_name_key")
        ]


class PlatformDeployment(DeploymentTerms):
    """A model on an operator's account."""

    connection = models.ForeignKey(PlatformConnection, on_delete=models.CASCADE, related_name="deployments")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["connection", "model"], name="platform_deployment_key")
        ]


class PlatformRoute(RouteTerms):
    """An alias that every tenant may use."""

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["alias"], name="platform_route_alias_key")]


class PlatformRouteTarget(models.Model):
    """A deployment that serves a route; lower positions are tried first."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    route = models.ForeignKey(PlatformRoute, on_delete=models.CASCADE, related_name="targets", db_index=False)
    deployment = models.ForeignKey(PlatformDeployment, on_delete=models.CASCADE, related_name="+")
    position = models.PositiveSmallIntegerField()
    weight = models.PositiveSmallIntegerField(default=1, db_default=1)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["route", "position"], name="platform_route_target_position_key"),
            models.UniqueConstraint(fields=["route", "deployment"], name="platform_route_target_key"),
        ]


class Connection(ConnectionTerms, TenantModel):
    """A tenant's own account. Its address must be a public one, unless an operator vouches for it."""

    vouched = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("connection"),
            models.UniqueConstraint(fields=["tenant", "name"], name="connection_name_key"),
        ]


class Deployment(DeploymentTerms, TenantModel):
    """A model on a tenant's own account."""

    connection = models.ForeignKey(
        Connection, on_delete=models.DO_NOTHING, db_constraint=False, related_name="deployments", db_index=False
    )

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("deployment"),
            TenantForeignKey(name="deployment_connection_fk", field="connection", on_delete="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "connection", "model"], name="deployment_key"),
        ]


class Route(RouteTerms, TenantModel):
    """A tenant's own alias. It goes before the platform's of the same name."""

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("route"),
            models.UniqueConstraint(fields=["tenant", "alias"], name="route_alias_key"),
        ]


class RouteTarget(TenantModel):
    """A deployment, the tenant's own or the platform's, that serves a tenant's route."""

    route = models.ForeignKey(
        Route, on_delete=models.DO_NOTHING, db_constraint=False, related_name="targets", db_index=False
    )
    deployment = models.ForeignKey(
        Deployment, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    platform_deployment = models.ForeignKey(
        PlatformDeployment, null=True, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    position = models.PositiveSmallIntegerField()
    weight = models.PositiveSmallIntegerField(default=1, db_default=1)

    deployment_id: uuid.UUID | None
    platform_deployment_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("route_target"),
            TenantForeignKey(name="route_target_route_fk", field="route", on_delete="CASCADE"),
            TenantForeignKey(name="route_target_deployment_fk", field="deployment", on_delete="CASCADE"),
            models.UniqueConstraint(fields=["tenant", "route", "position"], name="route_target_position_key"),
            models.CheckConstraint(
                name="route_target_one_deployment",
                condition=models.Q(deployment=None, platform_deployment__isnull=False)
                | models.Q(deployment__isnull=False, platform_deployment=None),
            ),
        ]


class ModelRole(TenantModel):
    """The alias that a tenant uses for a purpose, where nobody names a model."""

    class Role(models.TextChoices):
        """The purposes there are; `chat` is what the model `default` means."""

        CHAT = "chat"
        TITLE = "title"
        SUMMARY = "summary"
        EMBEDDING = "embedding"
        MODERATION = "moderation"

    role = models.CharField(max_length=16, choices=Role)
    alias = models.CharField(max_length=200)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("model_role"),
            models.UniqueConstraint(fields=["tenant", "role"], name="model_role_key"),
        ]


class GatewayPolicy(TenantModel):
    """A tenant's rules for what goes through its models: what is denied, what is masked, and whether the contents of
    requests are kept for its own eyes. The one named `default` is in force; a tenant without it has no rules.
    """

    name = models.CharField(max_length=64, default="default")
    deny = models.JSONField(default=list, help_text="[{name, expression}]")
    allow = models.JSONField(default=list, help_text="[expression]")
    mask_secrets = models.BooleanField(default=False)
    mask_cards = models.BooleanField(default=False)
    mask_input = models.BooleanField(default=False)
    capture = models.BooleanField(default=False)
    capture_days = models.PositiveSmallIntegerField(default=7)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["tenant", "name"], name="gateway_policy_key"),
            unique_in_tenant("gateway_policy"),
            models.CheckConstraint(name="gateway_policy_capture_days", condition=models.Q(capture_days__range=(1, 90))),
        ]


class RequestLog(TenantModel):
    """What the usage records don't say of a request: that it was refused before any attempt, or what it said. `id` is the
    request's. Most requests have no row.

    `content` is encrypted, JSON within, and there only where the tenant captures; it goes at `content_until`.
    """

    at = models.DateTimeField()
    surface = models.CharField(max_length=32)
    alias = models.CharField(max_length=200)
    principal_kind = models.CharField(max_length=16)
    membership_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    status = models.PositiveSmallIntegerField(help_text="the HTTP status that was answered")
    error_code = models.CharField(max_length=64, null=True)  # noqa: DJ001 - no error is not an empty one
    latency_ms = models.PositiveIntegerField()
    content = models.BinaryField(null=True)
    content_until = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("request_log")]


class RateLimit(TenantModel):
    """How much of its requests and tokens a tenant lets through a minute: all of them, one key's, or one model's (an alias, or
    the beginning of aliases with `*` after it). A burst is how much of a minute's amount may come at once.
    """

    class Subject(models.TextChoices):
        TENANT = "tenant"
        API_KEY = "api_key"
        MODEL = "model"

    subject = models.CharField(max_length=16, choices=Subject)
    api_key = models.ForeignKey(
        "tenants.ApiKey", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    model = models.CharField(max_length=200, default="", help_text="an alias; empty but for the subject `model`")
    requests_per_minute = models.PositiveIntegerField(null=True)
    tokens_per_minute = models.PositiveIntegerField(null=True)
    requests_burst_percent = models.PositiveSmallIntegerField(default=100)
    tokens_burst_percent = models.PositiveSmallIntegerField(default=100)
    created_at = models.DateTimeField(auto_now_add=True)

    api_key_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("rate_limit"),
            TenantForeignKey(name="rate_limit_api_key_fk", field="api_key", on_delete="CASCADE"),
            models.UniqueConstraint(
                fields=["tenant", "subject", "api_key", "model"], nulls_distinct=False, name="rate_limit_subject_key"
            ),
            models.CheckConstraint(
                name="rate_limit_subject",
                condition=models.Q(subject="tenant", api_key=None, model="")
                | models.Q(subject="api_key", api_key__isnull=False, model="")
                | (models.Q(subject="model", api_key=None) & ~models.Q(model="")),
            ),
            models.CheckConstraint(
                name="rate_limit_says_something",
                condition=models.Q(requests_per_minute__gte=1) | models.Q(tokens_per_minute__gte=1),
            ),
            models.CheckConstraint(
                name="rate_limit_bursts",
                condition=models.Q(requests_burst_percent__range=(1, 1000), tokens_burst_percent__range=(1, 1000)),
            ),
        ]


def _one_at_most(*fields: str) -> models.Q:
    """That no two of the nullable `fields` are set."""
    condition = models.Q()
    for kept in fields:
        condition |= models.Q(**{f"{name}__isnull": True for name in fields if name != kept})
    return condition


class RouteAccess(TenantModel):
    """Somebody who may use a route, the tenant's own or the platform's, that isn't for all.

    A route with such rows is for those alone whom they name: the members of a role or group, a member, a key. One row
    names nobody: it keeps the route closed when the last of the others goes."""

    route = models.ForeignKey(
        Route, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="access", db_index=False
    )
    platform_route = models.ForeignKey(
        PlatformRoute, null=True, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    role = models.ForeignKey(
        BuiltinRole, null=True, on_delete=models.PROTECT, db_column="role", related_name="+", db_index=False
    )
    group = models.ForeignKey(
        Group, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    membership = models.ForeignKey(
        Membership, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    api_key = models.ForeignKey(
        ApiKey, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    route_id: uuid.UUID | None
    platform_route_id: uuid.UUID | None
    role_id: str | None
    group_id: uuid.UUID | None
    membership_id: uuid.UUID | None
    api_key_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("route_access"),
            TenantForeignKey(name="route_access_route_fk", field="route", on_delete="CASCADE"),
            TenantForeignKey(name="route_access_group_fk", field="group", on_delete="CASCADE"),
            TenantForeignKey(name="route_access_membership_fk", field="membership", on_delete="CASCADE"),
            TenantForeignKey(name="route_access_api_key_fk", field="api_key", on_delete="CASCADE"),
            models.CheckConstraint(
                name="route_access_one_route",
                condition=models.Q(route=None, platform_route__isnull=False)
                | models.Q(route__isnull=False, platform_route=None),
            ),
            models.CheckConstraint(
                name="route_access_one_subject", condition=_one_at_most("role", "group", "membership", "api_key")
            ),
            models.UniqueConstraint(
                fields=["tenant", "route", "platform_route", "role", "group", "membership", "api_key"],
                name="route_access_key",
                nulls_distinct=False,
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "platform_route"], name="route_access_of_platform"),
        ]


class StoredResponse(TenantModel):
    """A response that a caller of `/v1/responses` may go on from, or look at again (`providers.responses`).

    `principal_id` is the key or membership whose it is; `previous_id` the response it goes on from, which may be gone."""

    principal_id = models.UUIDField()
    previous_id = models.UUIDField(null=True)
    content = models.BinaryField(help_text="encrypted")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("stored_response")]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["expires_at"], name="stored_response_expires")]
