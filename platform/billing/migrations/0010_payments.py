"""Payments: who a tenant is to a provider, what was paid, what went back, what was told."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, Definer, IsolateByTenant, LookupReads

TENANT_OF = """
    SELECT c.tenant_id FROM public.billing_paymentcustomer c
    WHERE c.provider = provider_name AND c.external_id = customer
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0009_rollups"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="Payment",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=16)),
                ("external_id", models.CharField(help_text="the provider's name for it; known once", max_length=200)),
                (
                    "purpose",
                    models.CharField(
                        choices=[("top_up", "top_up"), ("subscription", "subscription"), ("invoice", "invoice")],
                        max_length=16,
                    ),
                ),
                ("amount_nano", models.BigIntegerField()),
                ("note", models.CharField(blank=True, default="", max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "grant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.creditgrant",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PaymentCustomer",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=16)),
                ("external_id", models.CharField(max_length=200)),
                (
                    "subscription_ref",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="the provider's subscription that pays for the plan",
                        max_length=200,
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PaymentEvent",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=16)),
                ("external_id", models.CharField(max_length=200)),
                ("kind", models.CharField(max_length=100)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PaymentReturn",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(choices=[("refund", "refund"), ("dispute", "dispute")], max_length=8)),
                ("external_id", models.CharField(help_text="of a dispute; empty for refunds", max_length=200)),
                ("amount_nano", models.BigIntegerField(default=0)),
                ("owed_nano", models.BigIntegerField(default=0)),
                ("steps", models.PositiveSmallIntegerField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "payment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="returns",
                        to="billing.payment",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Checkout",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("provider", models.CharField(max_length=16)),
                ("external_id", models.CharField(max_length=200)),
                (
                    "purpose",
                    models.CharField(
                        choices=[("top_up", "top_up"), ("subscription", "subscription"), ("invoice", "invoice")],
                        max_length=16,
                    ),
                ),
                ("amount_nano", models.BigIntegerField(default=0)),
                ("seats", models.PositiveIntegerField(default=1)),
                ("membership_id", models.UUIDField(help_text="who began it", null=True)),
                ("done_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "plan",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.plan",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="checkout_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "provider", "external_id"), name="checkout_key"),
                    models.CheckConstraint(
                        condition=models.Q(("purpose__in", ("top_up", "subscription", "invoice"))),
                        name="checkout_purpose",
                    ),
                ],
            },
        ),
        AddConstraint(
            model_name="payment",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="payment_tenant_id_key"),
        ),
        AddConstraint(
            model_name="payment",
            constraint=models.UniqueConstraint(fields=("tenant", "provider", "external_id"), name="payment_key"),
        ),
        AddConstraint(
            model_name="payment",
            constraint=kernel.constraints.TenantForeignKey(
                field="grant", name="payment_grant_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("purpose__in", ("top_up", "subscription", "invoice"))), name="payment_purpose"
            ),
        ),
        AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__range", (1, 100000000000000000))), name="payment_amount"
            ),
        ),
        AddIndex(
            model_name="paymentcustomer",
            index=models.Index(fields=["tenant", "provider"], name="payment_customer_of"),
        ),
        AddConstraint(
            model_name="paymentcustomer",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="payment_customer_tenant_id_key"),
        ),
        AddConstraint(
            model_name="paymentcustomer",
            constraint=models.UniqueConstraint(fields=("provider", "external_id"), name="payment_customer_key"),
        ),
        AddConstraint(
            model_name="paymentevent",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="payment_event_tenant_id_key"),
        ),
        AddConstraint(
            model_name="paymentevent",
            constraint=models.UniqueConstraint(fields=("tenant", "provider", "external_id"), name="payment_event_key"),
        ),
        AddConstraint(
            model_name="paymentreturn",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="payment_return_tenant_id_key"),
        ),
        AddConstraint(
            model_name="paymentreturn",
            constraint=models.UniqueConstraint(
                fields=("tenant", "payment", "kind", "external_id"), name="payment_return_key"
            ),
        ),
        AddConstraint(
            model_name="paymentreturn",
            constraint=kernel.constraints.TenantForeignKey(
                field="payment", name="payment_return_payment_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="paymentreturn",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("refund", "dispute"))), name="payment_return_kind"
            ),
        ),
        AddConstraint(
            model_name="paymentreturn",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano__gte", 0), ("owed_nano__gte", 0)), name="payment_return_parts"
            ),
        ),
        *(
            IsolateByTenant(table, grants=("SELECT", "INSERT", "UPDATE"))
            for table in ("billing_paymentcustomer", "billing_checkout", "billing_paymentreturn")
        ),
        *(IsolateByTenant(table, grants=("SELECT", "INSERT")) for table in ("billing_payment", "billing_paymentevent")),
        LookupReads("billing_paymentcustomer", "tenant_id, provider, external_id"),
        Definer("tenant_of_payment_customer", "provider_name text, customer text", "uuid", TENANT_OF),
    ]
