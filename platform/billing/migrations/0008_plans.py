"""Plans, subscriptions and credit."""

import django.db.models.deletion
import django.db.models.expressions
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_ledger"),
        ("tenants", "0005_notices"),
    ]

    operations = [
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.CharField(max_length=64)),
                ("version", models.PositiveSmallIntegerField(default=1)),
                ("name", models.CharField(max_length=120)),
                (
                    "kind",
                    models.CharField(
                        choices=[("free", "free"), ("seat", "seat"), ("prepaid", "prepaid"), ("payg", "payg")],
                        max_length=8,
                    ),
                ),
                (
                    "price_nano",
                    models.BigIntegerField(default=0, help_text="nano-USD a month, of `seat` for each seat"),
                ),
                ("included_nano", models.BigIntegerField(default=0, help_text="credit given each period, in nano-USD")),
                (
                    "included_lasts",
                    models.CharField(
                        choices=[("period", "period"), ("next_period", "next_period"), ("forever", "forever")],
                        default="period",
                        help_text="how long that credit can be used",
                        max_length=12,
                    ),
                ),
                (
                    "markup_bps",
                    models.IntegerField(
                        help_text="on cost, in hundredths of a percent; null: the price book", blank=True, null=True
                    ),
                ),
                ("trial_days", models.PositiveSmallIntegerField(default=0)),
                (
                    "grace_days",
                    models.PositiveSmallIntegerField(default=7, help_text="from a payment that failed to suspension"),
                ),
                ("max_seats", models.PositiveIntegerField(default=100000)),
                (
                    "is_offered",
                    models.BooleanField(default=True, help_text="tenants may choose it; operators may give any"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("slug", "version"), name="plan_key"),
                    models.CheckConstraint(
                        condition=models.Q(("slug__regex", "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")),
                        name="plan_slug_form",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ("free", "seat", "prepaid", "payg"))), name="plan_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("included_lasts__in", ("period", "next_period", "forever"))),
                        name="plan_included_lasts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("included_nano__range", (0, 100000000000000000)),
                            ("price_nano__range", (0, 100000000000000000)),
                        ),
                        name="plan_amounts",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("markup_bps", None), ("markup_bps__range", (-10000, 1000000)), _connector="OR"
                        ),
                        name="plan_markup",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("grace_days__lte", 365),
                            ("max_seats__gte", 1),
                            ("max_seats__lte", 100000),
                            ("trial_days__lte", 365),
                            ("version__gte", 1),
                        ),
                        name="plan_bounds",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CreditGrant",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=200)),
                (
                    "source",
                    models.CharField(
                        choices=[("plan", "plan"), ("topup", "topup"), ("gift", "gift"), ("refund", "refund")],
                        max_length=8,
                    ),
                ),
                ("amount_nano", models.BigIntegerField()),
                ("priority", models.SmallIntegerField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("allocated_nano", models.BigIntegerField(default=0)),
                ("expired_nano", models.BigIntegerField(default=0)),
                (
                    "withdrawn_nano",
                    models.BigIntegerField(default=0, help_text="taken back: a refund, a disputed payment"),
                ),
                ("expiries", models.PositiveSmallIntegerField(default=0, help_text="in how many steps it has expired")),
                ("is_open", models.BooleanField(default=True, help_text="there is something left of it")),
                ("note", models.CharField(blank=True, default="", max_length=200)),
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
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("is_open", True)), fields=["tenant", "priority"], name="credit_grant_open"
                    ),
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False), ("is_open", True)),
                        fields=["expires_at"],
                        name="credit_grant_expiry",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="credit_grant_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "key"), name="credit_grant_key"),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ("plan", "topup", "gift", "refund"))),
                        name="credit_grant_source",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("amount_nano__range", (1, 100000000000000000))), name="credit_grant_amount"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("allocated_nano__gte", 0),
                            (
                                "amount_nano__gte",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("allocated_nano"), "+", models.F("expired_nano")
                                    ),
                                    "+",
                                    models.F("withdrawn_nano"),
                                ),
                            ),
                            ("expired_nano__gte", 0),
                            ("withdrawn_nano__gte", 0),
                        ),
                        name="credit_grant_parts",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Funds",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("uncovered_nano", models.BigIntegerField(default=0)),
                ("needs_check", models.BooleanField(default=False)),
                (
                    "budget",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.budget",
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
                "indexes": [
                    models.Index(condition=models.Q(("needs_check", True)), fields=["tenant"], name="funds_to_check")
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="funds_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "budget"), name="funds_budget_key"),
                    kernel.constraints.TenantForeignKey(field="budget", name="funds_budget_fk", on_delete="RESTRICT"),
                    models.CheckConstraint(condition=models.Q(("uncovered_nano__gte", 0)), name="funds_uncovered"),
                ],
            },
        ),
        migrations.CreateModel(
            name="PlanCharge",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("period", "period"),
                            ("proration", "proration"),
                            ("proration_credit", "proration_credit"),
                        ],
                        max_length=20,
                    ),
                ),
                ("seats", models.PositiveIntegerField()),
                ("amount_nano", models.BigIntegerField()),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "plan",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.plan"
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="plan_charge_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "key"), name="plan_charge_key"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ("period", "proration", "proration_credit"))),
                        name="plan_charge_kind",
                    ),
                    models.CheckConstraint(condition=models.Q(("amount_nano__gt", 0)), name="plan_charge_amount"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("trialing", "trialing"),
                            ("active", "active"),
                            ("past_due", "past_due"),
                            ("suspended", "suspended"),
                            ("cancelled", "cancelled"),
                        ],
                        max_length=12,
                    ),
                ),
                ("seats", models.PositiveIntegerField(default=1)),
                ("anchor_day", models.PositiveSmallIntegerField()),
                ("period_start", models.DateTimeField()),
                ("period_end", models.DateTimeField()),
                ("has_tried", models.BooleanField(default=False, help_text="a tenant has one trial")),
                ("next_seats", models.PositiveIntegerField(null=True)),
                ("cancel_at_period_end", models.BooleanField(default=False)),
                ("past_due_since", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "next_plan",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.plan",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="billing.plan"
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
                "indexes": [
                    models.Index(
                        condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="subscription_due"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="subscription_tenant_id_key"),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "cancelled"), _negated=True),
                        fields=("tenant",),
                        name="subscription_one",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ("trialing", "active", "past_due", "suspended", "cancelled"))),
                        name="subscription_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("anchor_day__range", (1, 31))), name="subscription_anchor"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("seats__range", (1, 100000))), name="subscription_seats"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))), name="subscription_period"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("past_due_since__isnull", False), ("state__in", ("past_due", "suspended"))),
                            models.Q(
                                models.Q(("state__in", ("past_due", "suspended")), _negated=True),
                                ("past_due_since", None),
                            ),
                            _connector="OR",
                        ),
                        name="subscription_owing",
                    ),
                ],
            },
        ),
        migrations.RunSQL("GRANT SELECT ON billing_plan TO parley_app"),
        migrations.RunSQL("GRANT SELECT, INSERT, UPDATE (is_offered) ON billing_plan TO parley_platform"),
        *(
            IsolateByTenant(table, grants=("SELECT", "INSERT", "UPDATE"))
            for table in ("billing_subscription", "billing_funds", "billing_creditgrant")
        ),
        IsolateByTenant("billing_plancharge", grants=("SELECT", "INSERT")),
        PlatformJob("billing_subscription", "plans", "SELECT", columns="tenant_id, due_at"),
        PlatformJob("billing_funds", "plans", "SELECT", columns="tenant_id, needs_check"),
        PlatformJob("billing_creditgrant", "plans", "SELECT", columns="tenant_id, is_open, expires_at, source"),
    ]
