"""What a tenant decides about its rooms."""

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from kernel.models import TenantModel, unique_in_tenant

RETENTION_DAYS_MAX = 3_650


def retention_days_check(name: str) -> models.CheckConstraint:
    """A retention is of some days, or of no end."""
    return models.CheckConstraint(
        name=name,
        condition=models.Q(retention_days=None)
        | models.Q(retention_days__gte=1, retention_days__lte=RETENTION_DAYS_MAX),
    )


class RoomPolicy(TenantModel):
    """A tenant's rules for all of its rooms. There is one, named `default`; without it, messages are kept and nothing is
    shared by link."""

    name = models.CharField(max_length=16, default="default", db_default="default")
    retention_days = models.PositiveIntegerField(null=True, help_text="messages are deleted after so many; null: never")
    sharing = models.BooleanField(default=False, db_default=False, help_text="whether rooms may be shared by link")
    titles = models.BooleanField(default=True, db_default=True, help_text="whether models give rooms their titles")
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("room_policy"),
            models.UniqueConstraint(fields=["tenant", "name"], name="room_policy_one"),
            retention_days_check("room_policy_retention"),
        ]
