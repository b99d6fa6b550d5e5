"""What the semantic tier keeps in the database."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant
from providers.cache.models import EMBEDDER_CHARS_MAX, VERSION_CHARS_MAX

MAX_DIMENSIONS = 4_096


class RealsField(models.Field):  # type: ignore[type-arg]  # it has no parameters at run time
    """Single-precision numbers, `real[]`: written and compared by SQL of `storage` alone. Where the extension is installed,
    PostgreSQL casts it to pgvector's type; where it isn't, the table is the same."""

    def db_type(self, connection: Any) -> str:
        return "real[]"


class SemanticEntry(TenantModel):
    """A question that was answered, and its answer.

    `scope` (32 bytes) digests all that must be equal for the answer to be of use to another request; `digest` (16 bytes) the
    question within it; `exact_key` is where the exact cache keeps the answer. `question` (its text and the guard's features)
    and `body` (the packed answer) are encrypted for their cells; `size` are the body's bytes.

    `membership_id` is whose request was answered; with `confirmed`, an independent answer for another member was the same.
    `cluster` is shared by entries with one answer. `wrong` counts who said that the answer was wrong where it was served:
    it is served no more, its cells are empty, and `size` is 0."""

    scope = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=16)
    exact_key = models.BinaryField(max_length=32)
    alias = models.CharField(max_length=200)
    subject_id = models.UUIDField(null=True, help_text="the room that asked, if one did")
    membership_id = models.UUIDField()
    confirmed = models.BooleanField(default=False)
    shared = models.BooleanField(default=False, help_text="among members, by the tenant's settings when it was written")
    embedder = models.CharField(max_length=EMBEDDER_CHARS_MAX)
    calibration = models.CharField(max_length=VERSION_CHARS_MAX)
    dimensions = models.PositiveSmallIntegerField()
    embedding = RealsField()
    answer_embedding = RealsField()
    cluster = models.UUIDField()
    question = models.BinaryField(help_text="encrypted")
    body = models.BinaryField(help_text="encrypted")
    size = models.PositiveIntegerField()
    input_tokens = models.PositiveBigIntegerField()
    output_tokens = models.PositiveBigIntegerField()
    cost_nano = models.BigIntegerField(help_text="what the answer was sold at")
    wrong = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("semantic_entry"),
            models.UniqueConstraint(fields=["tenant", "scope", "digest"], name="semantic_entry_question"),
            models.CheckConstraint(
                name="semantic_entry_dimensions", condition=Q(dimensions__gte=1, dimensions__lte=MAX_DIMENSIONS)
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["expires_at"], name="semantic_entry_expires"),
            models.Index(
                fields=["tenant", "subject_id"], name="semantic_entry_subject", condition=Q(subject_id__isnull=False)
            ),
        ]


class SemanticUse(TenantModel):
    """How often an entry was served, and when last. Beside the entry, because a new version of that would be indexed anew."""

    entry = models.ForeignKey(
        SemanticEntry, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    hits = models.PositiveBigIntegerField()
    used_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("semantic_use"),
            models.UniqueConstraint(fields=["tenant", "entry"], name="semantic_use_entry"),
            TenantForeignKey(name="semantic_use_entry_fk", field="entry", on_delete="CASCADE"),
        ]


class SemanticAudit(TenantModel):
    """A question that could have been answered from the cache and was asked of the provider all the same. `agreed`: the
    provider's answer was that of the entry. `seen` (what the judge saw, for calibrating) is encrypted."""

    entry = models.UUIDField(help_text="which may be gone")
    alias = models.CharField(max_length=200)
    subject_id = models.UUIDField(null=True, help_text="the room that asked, if one did")
    agreed = models.BooleanField()
    score = models.FloatField()
    cosine = models.FloatField()
    embedder = models.CharField(max_length=EMBEDDER_CHARS_MAX)
    calibration = models.CharField(max_length=VERSION_CHARS_MAX)
    seen = models.BinaryField(help_text="encrypted")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("semantic_audit")]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["at"], name="semantic_audit_at")]


class SemanticCalibration(TenantModel):
    """A calibration of a tenant's own, with its certificate: the newest of an embedder holds. `body` is a
    `providers.semantic.values.Calibration` as JSON."""

    version = models.CharField(max_length=VERSION_CHARS_MAX)
    embedder = models.CharField(max_length=EMBEDDER_CHARS_MAX)
    body = models.JSONField()
    source = models.CharField(max_length=16)
    pairs = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("semantic_calibration"),
            models.UniqueConstraint(fields=["tenant", "embedder", "version"], name="semantic_calibration_version"),
            models.CheckConstraint(name="semantic_calibration_source", condition=Q(source__in=["pairs", "audits"])),
        ]
