"""What the cache keeps in the database: each tenant's settings, and the answers that outlive restarts."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from kernel.models import TenantModel, unique_in_tenant

DEFAULT_NAME = "default"
MIN_TTL_S, MAX_TTL_S, DEFAULT_TTL_S = 1, 30 * 86_400, 3_600
MIN_BYTES, MAX_BYTES, DEFAULT_BYTES = 1024 * 1024, 16 * 1024**3, 256 * 1024**2


class CacheNamespace(TenantModel):
    """How a tenant wants its answers kept. There is one, named `DEFAULT_NAME`; without it, the defaults hold.

    `generation` and `model_generations` (alias → number) are part of every key: raising one forgets all that was kept
    before. `evicted` holds the keys (hex) of single entries that were deleted, with the time in seconds since 1970:
    older answers under them don't count, wherever they are still kept."""

    class Sharing(models.TextChoices):
        """Among whom an answer is shared."""

        PRINCIPAL = "principal"
        GROUP = "group"
        TENANT = "tenant"

    name = models.CharField(max_length=64, default=DEFAULT_NAME)
    enabled = models.BooleanField(default=True)
    ttl_s = models.PositiveIntegerField(default=DEFAULT_TTL_S)
    sharing = models.CharField(max_length=16, choices=Sharing.choices, default=Sharing.PRINCIPAL)
    max_bytes = models.BigIntegerField(default=DEFAULT_BYTES)
    opt_in_all = models.BooleanField(default=False)
    max_temperature = models.FloatField(default=0.0)
    generation = models.PositiveIntegerField(default=0)
    model_generations = models.JSONField(default=dict)
    evicted = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("cache_namespace"),
            models.UniqueConstraint(fields=["tenant", "name"], name="cache_namespace_key"),
            models.CheckConstraint(
                name="cache_namespace_sharing", condition=Q(sharing__in=["principal", "group", "tenant"])
            ),
            models.CheckConstraint(name="cache_namespace_ttl", condition=Q(ttl_s__gte=MIN_TTL_S, ttl_s__lte=MAX_TTL_S)),
            models.CheckConstraint(
                name="cache_namespace_bytes", condition=Q(max_bytes__gte=MIN_BYTES, max_bytes__lte=MAX_BYTES)
            ),
        ]


class CacheEntry(TenantModel):
    """An answer kept for when memory and Redis have lost it. `body` is packed, then encrypted for its cell; `size` are
    its bytes; `tokens` is what the answer took, all meters together."""

    key = models.BinaryField(max_length=32)
    alias = models.CharField(max_length=200)
    body = models.BinaryField(help_text="encrypted")
    size = models.PositiveIntegerField()
    tokens = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("cache_entry"),
            models.UniqueConstraint(fields=["tenant", "key"], name="cache_entry_key"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["expires_at"], name="cache_entry_expires"),
        ]
