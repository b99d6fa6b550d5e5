"""How much of a period's included credit was given, whatever plans it had."""

import uuid
from typing import Any

from django.db import migrations, models

from kernel.migrations import for_each_tenant


def _as_the_plan_says(apps: Any, alias: str, tenant_id: uuid.UUID) -> None:
    for sub in apps.get_model("billing", "Subscription").objects.using(alias).select_related("plan"):
        sub.included_nano = sub.plan.included_nano
        sub.save(update_fields=["included_nano"])


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_checkout_invoice")]

    operations = [
        migrations.AddField(
            model_name="subscription",
            name="included_nano",
            field=models.BigIntegerField(default=0, help_text="the most that a plan of this period comes with"),
        ),
        for_each_tenant(_as_the_plan_says),
    ]
