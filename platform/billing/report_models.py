"""What is derived from the usage records, and what was found when the books were verified."""

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from kernel.models import TenantModel, unique_in_tenant

GRAIN = (
    "bucket",
    "alias",
    "model",
    "provider",
    "connection",
    "platform_paid",
    "membership_id",
    "api_key_id",
    "subject_kind",
    "subject_id",
    "cache",
    "status",
)
"""What usage is summed by: all of it together, so that sums by any of these, or several, are right."""

SUMS = (
    "attempts",
    "requests",
    "estimated",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "cost_nano",
    "sell_nano",
    "loss_nano",
    "latency_ms",
)
"""What is summed."""


class UsageRollup(TenantModel):
    """The usage of a quarter of an hour, by all of `GRAIN`. Derived: `billing.rollups` says how, `billing_verify` recounts."""

    bucket = models.DateTimeField(help_text="begins the quarter of an hour in which the attempts ended")
    alias = models.CharField(max_length=200)
    model = models.CharField(max_length=200)
    provider = models.CharField(max_length=64)
    connection = models.CharField(max_length=120)
    platform_paid = models.BooleanField()
    membership_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    subject_kind = models.CharField(max_length=32, null=True)  # noqa: DJ001 - no subject is not an empty one
    subject_id = models.UUIDField(null=True)
    cache = models.CharField(max_length=16)
    status = models.CharField(max_length=16)
    attempts = models.BigIntegerField()
    requests = models.BigIntegerField(help_text="those whose first attempt is among these")
    estimated = models.BigIntegerField(help_text="attempts of which the provider did not say what was used")
    input = models.BigIntegerField()
    cache_read = models.BigIntegerField()
    cache_write = models.BigIntegerField()
    output = models.BigIntegerField()
    reasoning = models.BigIntegerField()
    cost_nano = models.BigIntegerField()
    sell_nano = models.BigIntegerField()
    loss_nano = models.BigIntegerField()
    latency_ms = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("usage_rollup"),
            models.UniqueConstraint(fields=["tenant", *GRAIN], name="usage_rollup_key", nulls_distinct=False),
        ]


class RollupMark(TenantModel):
    """How far a tenant's usage is rolled up: every record of a transaction before `below_tx`, and none after."""

    name = models.CharField(max_length=32)
    below_tx = models.BigIntegerField(default=0, help_text="PostgreSQL's transaction id, 64 bits")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("rollup_mark"),
            models.UniqueConstraint(fields=["tenant", "name"], name="rollup_mark_key"),
        ]


class Verification(TenantModel):
    """One verification of a tenant's books, and what it found."""

    at = models.DateTimeField(db_default=Now())
    took_ms = models.IntegerField()
    checked = models.JSONField(default=dict, help_text="how many rows each check looked at")
    differences = models.JSONField(default=list, help_text="the first ones; empty when the books are right")

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("verification")]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "at"], name="verification_by_time")]
