"""Prices of long prompts and other services, and of the meters that some vendors price apart."""

from django.db import migrations, models

from kernel.migrations import AddConstraint


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_usage_cache"),
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="price",
            name="price_meter",
        ),
        migrations.RemoveConstraint(
            model_name="tenantprice",
            name="tenant_price_meter",
        ),
        AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "meter__in",
                        (
                            "input",
                            "cache_read",
                            "cache_write",
                            "output",
                            "reasoning",
                            "input_audio",
                            "cache_write_1h",
                            "output_audio",
                        ),
                    )
                ),
                name="price_meter",
            ),
        ),
        AddConstraint(
            model_name="price",
            constraint=models.CheckConstraint(
                condition=models.Q(("tier__regex", "^(standard|batch|flex|priority)(>[1-9][0-9]{0,8})?$")),
                name="price_tier",
            ),
        ),
        AddConstraint(
            model_name="tenantprice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "meter__in",
                        (
                            "input",
                            "cache_read",
                            "cache_write",
                            "output",
                            "reasoning",
                            "input_audio",
                            "cache_write_1h",
                            "output_audio",
                        ),
                    )
                ),
                name="tenant_price_meter",
            ),
        ),
        AddConstraint(
            model_name="tenantprice",
            constraint=models.CheckConstraint(
                condition=models.Q(("tier__regex", "^(standard|batch|flex|priority)(>[1-9][0-9]{0,8})?$")),
                name="tenant_price_tier",
            ),
        ),
    ]
