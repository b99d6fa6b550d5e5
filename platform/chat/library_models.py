"""What members write once and use again: presets for rooms, and prompts. Each its owner's alone, or the tenant's."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from chat.bounds import ALIAS_CHARS_MAX, LIBRARY_NAME_CHARS_MAX
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant


class Visibility(models.TextChoices):
    """Who sees one: whoever has it, or everybody in the tenant."""

    PERSONAL = "personal"
    SHARED = "shared"


class Preset(TenantModel):
    """An assistant: a model, what it is told first, and how it is asked. `version` rises with each change."""

    owner = within_tenant("tenants.Membership")
    name = models.CharField(max_length=LIBRARY_NAME_CHARS_MAX)
    visibility = models.CharField(max_length=16, choices=Visibility)
    model = models.CharField(  # noqa: DJ001 - null is the default, not a blank alias
        max_length=ALIAS_CHARS_MAX, null=True, help_text="alias; null: the default"
    )
    instructions = models.TextField()
    parameters = models.JSONField()
    version = models.PositiveIntegerField(default=1, db_default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    owner_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("preset"),
            models.CheckConstraint(name="preset_visibility", condition=models.Q(visibility__in=Visibility.values)),
            TenantForeignKey(name="preset_owner_fk", field="owner"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "owner", "id"], name="presets_of_member"),
            models.Index(fields=["tenant", "visibility", "id"], name="presets_seen"),
        ]


class Prompt(TenantModel):
    """A text with places for `variables`. `version` rises with each change."""

    owner = within_tenant("tenants.Membership")
    name = models.CharField(max_length=LIBRARY_NAME_CHARS_MAX)
    visibility = models.CharField(max_length=16, choices=Visibility)
    text = models.TextField()
    variables = models.JSONField()
    version = models.PositiveIntegerField(default=1, db_default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    owner_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("prompt"),
            models.CheckConstraint(name="prompt_visibility", condition=models.Q(visibility__in=Visibility.values)),
            TenantForeignKey(name="prompt_owner_fk", field="owner"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "owner", "id"], name="prompts_of_member"),
            models.Index(fields=["tenant", "visibility", "id"], name="prompts_seen"),
        ]
