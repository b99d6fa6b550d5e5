"""Which invoice somebody was sent to pay."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
from kernel.migrations import AddConstraint


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_ledger_by_key")]

    operations = [
        migrations.AddField(
            model_name="checkout",
            name="invoice",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                help_text="the one that it pays first",
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="billing.invoice",
            ),
        ),
        AddConstraint(
            model_name="checkout",
            constraint=kernel.constraints.TenantForeignKey(
                field="invoice", name="checkout_invoice_fk", on_delete="RESTRICT"
            ),
        ),
    ]
