"""What the cache keeps in the database: each tenant's settings, and the answers that outlive restarts."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from kernel.models import TenantModel, unique_in_tenant
from providers.semantic.embedders import DEFAULT as DEFAULT_EMBEDDER

DEFAULT_NAME = "default"
MIN_TTL_S, MAX_TTL_S, DEFAULT_TTL_S = 1, 30 * 86_400, 3_600
MIN_BYTES, MAX_BYTES, DEFAULT_BYTES = 1024 * 1024, 16 * 1024**3, 256 * 1024**2
MIN_RATE, MAX_RATE, DEFAULT_RATE = 0.001, 0.1, 0.01
DEFAULT_SEMANTIC_TTL_S = 86_400
DEFAULT_AUDIT_SHARE = 0.02
MIN_ENTRIES, MAX_ENTRIES, DEFAULT_ENTRIES = 100, 200_000, 10_000
EMBEDDER_CHARS_MAX = 300
VERSION_CHARS_MAX = 100
PROBLEM_CHARS_MAX = 300


class CacheNamespace(TenantModel):
    """How a tenant wants its answers kept. There is one, named `DEFAULT_NAME`; without it, the defaults hold.

    `generation` and `model_generations` (alias → number) are part of every key: raising one forgets all that was kept
    before. `semantic_rate` is how often a semantic hit may be wrong; `semantic_since` (seconds since 1970) is from when
    audits count, `semantic_tightened` how often they made the cut stricter, and `semantic_problem` what they found.
    `semantic_calibration` is the version of the tenant's own calibration that holds, if any. `evicted` holds the keys (hex)
    of single entries that were deleted, with the time in seconds since 1970: older answers under them don't count, wherever
    they are still kept."""

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
    semantic = models.BooleanField(default=False)
    semantic_rate = models.FloatField(default=DEFAULT_RATE)
    semantic_ttl_s = models.PositiveIntegerField(default=DEFAULT_SEMANTIC_TTL_S)
    semantic_audit_share = models.FloatField(default=DEFAULT_AUDIT_SHARE)
    semantic_max_entries = models.PositiveIntegerField(default=DEFAULT_ENTRIES)
    semantic_embedder = models.CharField(max_length=EMBEDDER_CHARS_MAX, default=DEFAULT_EMBEDDER)
    semantic_calibration = models.CharField(max_length=VERSION_CHARS_MAX, default="", blank=True)
    semantic_tightened = models.PositiveSmallIntegerField(default=0)
    semantic_since = models.FloatField(default=0.0)
    semantic_problem = models.CharField(max_length=PROBLEM_CHARS_MAX, default="", blank=True)
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
            models.CheckConstraint(
                name="cache_namespace_semantic",
                condition=Q(
                    semantic_rate__gte=MIN_RATE,
                    semantic_rate__lte=MAX_RATE,
                    semantic_ttl_s__gte=MIN_TTL_S,
                    semantic_ttl_s__lte=MAX_TTL_S,
                    semantic_audit_share__gte=0,
                    semantic_audit_share__lte=1,
                    semantic_max_entries__gte=MIN_ENTRIES,
                    semantic_max_entries__lte=MAX_ENTRIES,
                ),
            ),
        ]


class CacheEntry(TenantModel):
    """An answer kept for when memory and Redis have lost it. `body` is packed, then encrypted for its cell; `size` are
    its bytes; `tokens` is what the answer took, all meters together."""

    key = models.BinaryField(max_length=32)
    alias = models.CharField(max_length=200)
    subject_id = models.UUIDField(null=True, help_text="the room that asked, if one did")
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
            models.Index(
                fields=["tenant", "subject_id"], name="cache_entry_subject", condition=Q(subject_id__isnull=False)
            ),
        ]
