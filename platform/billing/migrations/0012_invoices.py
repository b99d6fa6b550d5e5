"""Invoices, their lines, and what was paid of them. What is final, the database keeps as it is."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob

# Of what is final only that may change which says what became of it.
INVOICES = """
CREATE FUNCTION billing_guard_invoice() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    free text[] := ARRAY[
        'state', 'settled_nano', 'overdue_at', 'paid_at', 'void_at', 'written_at', 'replaced', 'reason'
    ];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'draft' THEN
            RAISE EXCEPTION 'an invoice begins as a draft' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.state = 'draft' THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.state = 'draft' OR (OLD.state = 'void' AND NEW.state <> 'void')
       OR to_jsonb(NEW) - free IS DISTINCT FROM to_jsonb(OLD) - free
       OR (NEW.reason <> OLD.reason AND NOT (OLD.state = 'final' AND NEW.state = 'void')) THEN
        RAISE EXCEPTION 'a final invoice stays as it is' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION billing_guard_invoice() FROM PUBLIC;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON billing_invoice
    FOR EACH ROW EXECUTE FUNCTION billing_guard_invoice();
"""

# Looked at once for each statement: an invoice may have a hundred thousand lines.
LINES = """
CREATE FUNCTION billing_guard_lines() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM public.billing_invoice i
        WHERE i.state <> 'draft' AND (i.tenant_id, i.id) IN (SELECT DISTINCT c.tenant_id, c.invoice_id FROM changed c)
    ) THEN
        RAISE EXCEPTION 'a final invoice keeps its lines' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION billing_guard_lines() FROM PUBLIC;
CREATE TRIGGER guard_inserted AFTER INSERT ON billing_invoiceline
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_lines();
CREATE TRIGGER guard_deleted AFTER DELETE ON billing_invoiceline
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_lines();
CREATE TRIGGER no_update BEFORE UPDATE ON billing_invoiceline FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_invoicepayment
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_balances_of"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="Invoice",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("invoice", "invoice"), ("credit_note", "credit_note")],
                        default="invoice",
                        max_length=12,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("draft", "draft"), ("final", "final"), ("paid", "paid"), ("void", "void")],
                        default="draft",
                        max_length=8,
                    ),
                ),
                (
                    "number",
                    models.PositiveIntegerField(
                        help_text="counts the tenant's documents of a kind, without gaps", null=True
                    ),
                ),
                (
                    "label",
                    models.CharField(blank=True, default="", help_text="the number as people see it", max_length=80),
                ),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("since_tx", models.BigIntegerField(default=0)),
                ("until_tx", models.BigIntegerField(help_text="null: its lines were not gathered yet", null=True)),
                ("time_zone", models.CharField(max_length=64)),
                ("replaced", models.BooleanField(default=False)),
                (
                    "reason",
                    models.CharField(
                        blank=True, default="", help_text="of a credit note, or for being void", max_length=200
                    ),
                ),
                ("seller", models.JSONField(default=dict)),
                ("buyer", models.JSONField(default=dict)),
                ("currency", models.CharField(default="USD", max_length=3)),
                ("tax_name", models.CharField(blank=True, default="", max_length=40)),
                ("tax_bps", models.IntegerField(default=0)),
                ("tax_note", models.CharField(blank=True, default="", max_length=200)),
                (
                    "credit_mark_nano",
                    models.BigIntegerField(default=0, help_text="the credit drawn by its end since the beginning"),
                ),
                (
                    "credited_nano",
                    models.BigIntegerField(default=0, help_text="of that, what it and those before it took off"),
                ),
                ("net_nano", models.BigIntegerField(default=0)),
                ("tax_nano", models.BigIntegerField(default=0)),
                ("total_nano", models.BigIntegerField(default=0)),
                (
                    "carry_nano",
                    models.BigIntegerField(
                        default=0, help_text="what it left to the next one: less than a cent, or credit"
                    ),
                ),
                ("lines", models.IntegerField(default=0)),
                ("settled_nano", models.BigIntegerField(default=0, help_text="paid of it; of a credit note, used")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finalize_at", models.DateTimeField(null=True)),
                ("final_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("overdue_at", models.DateTimeField(help_text="when it was noticed that nobody paid", null=True)),
                ("paid_at", models.DateTimeField(null=True)),
                ("void_at", models.DateTimeField(null=True)),
                ("written_at", models.DateTimeField(help_text="when its PDF was made", null=True)),
                (
                    "corrects",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="credit_notes",
                        to="billing.invoice",
                    ),
                ),
                (
                    "replaces",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.invoice",
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
            name="InvoiceLine",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("position", models.IntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("plan", "plan"),
                            ("usage", "usage"),
                            ("adjustment", "adjustment"),
                            ("credit", "credit"),
                            ("carried_in", "carried_in"),
                            ("carried_out", "carried_out"),
                            ("correction", "correction"),
                        ],
                        max_length=12,
                    ),
                ),
                ("description", models.CharField(blank=True, default="", max_length=200)),
                ("amount_nano", models.BigIntegerField()),
                (
                    "period_since",
                    models.DateTimeField(help_text="of an adjustment: the period that it is of", null=True),
                ),
                ("period_until", models.DateTimeField(null=True)),
                ("day", models.DateField(help_text="in the invoice's time zone", null=True)),
                ("alias", models.CharField(blank=True, default="", max_length=200)),
                ("model", models.CharField(blank=True, default="", max_length=200)),
                ("provider", models.CharField(blank=True, default="", max_length=64)),
                ("connection", models.CharField(blank=True, default="", max_length=120)),
                ("membership_id", models.UUIDField(null=True)),
                ("api_key_id", models.UUIDField(null=True)),
                (
                    "prices",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        default=list,
                        help_text="the versions of prices that were charged by, in order",
                        size=None,
                    ),
                ),
                ("attempts", models.BigIntegerField(default=0)),
                ("input", models.BigIntegerField(default=0)),
                ("cache_read", models.BigIntegerField(default=0)),
                ("cache_write", models.BigIntegerField(default=0)),
                ("output", models.BigIntegerField(default=0)),
                ("reasoning", models.BigIntegerField(default=0)),
                (
                    "charge",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.plancharge",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.invoice",
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
            name="InvoicePayment",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("amount_nano", models.BigIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "credit_note",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.invoice",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="billing.invoice",
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
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
            name="InvoiceSchedule",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(default="months", max_length=32)),
                ("next_at", models.DateTimeField()),
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
            name="BillingProfile",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.CharField(default="default", max_length=32)),
                ("name", models.CharField(blank=True, default="", max_length=200)),
                ("address", models.CharField(blank=True, default="", help_text="in lines", max_length=500)),
                ("country", models.CharField(blank=True, default="", help_text="ISO 3166, two letters", max_length=2)),
                ("tax_id", models.CharField(blank=True, default="", max_length=64)),
                (
                    "email",
                    models.CharField(blank=True, default="", help_text="where invoices are sent", max_length=254),
                ),
                (
                    "reference",
                    models.CharField(
                        blank=True, default="", help_text="a purchase order, for instance", max_length=120
                    ),
                ),
                ("tax_bps", models.IntegerField(help_text="tax rate in hundredths of a percent", null=True)),
                (
                    "tax_note",
                    models.CharField(
                        blank=True, default="", help_text="why a rate of nothing, for instance", max_length=200
                    ),
                ),
                ("due_days", models.PositiveSmallIntegerField(null=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="billing_profile_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "key"), name="billing_profile_key"),
                    models.CheckConstraint(
                        condition=models.Q(("tax_bps", None), ("tax_bps__range", (0, 10000)), _connector="OR"),
                        name="billing_profile_tax",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("due_days", None), ("due_days__lte", 365), _connector="OR"),
                        name="billing_profile_due",
                    ),
                ],
            },
        ),
        AddIndex(
            model_name="invoice",
            index=models.Index(condition=models.Q(("state", "draft")), fields=["finalize_at"], name="invoice_drafts"),
        ),
        AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("overdue_at", None), ("state", "final")), fields=["due_at"], name="invoice_due"
            ),
        ),
        AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("number__gte", 1), ("written_at", None)),
                fields=["final_at"],
                name="invoice_unwritten",
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="invoice_tenant_id_key"),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(fields=("tenant", "kind", "number"), name="invoice_number"),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(
                condition=models.Q(("kind", "invoice"), ("replaced", False)),
                fields=("tenant", "until"),
                name="invoice_period",
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=kernel.constraints.TenantForeignKey(
                field="corrects", name="invoice_corrects_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=kernel.constraints.TenantForeignKey(
                field="replaces", name="invoice_replaces_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ("invoice", "credit_note"))), name="invoice_kind"
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ("draft", "final", "paid", "void"))), name="invoice_state"
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("number", None), ("state", "draft")),
                    models.Q(
                        models.Q(("state", "draft"), _negated=True), ("number__gte", 1), ("until_tx__isnull", False)
                    ),
                    _connector="OR",
                ),
                name="invoice_numbered",
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("tax_bps__range", (0, 10000)),
                    (
                        "total_nano",
                        django.db.models.expressions.CombinedExpression(
                            models.F("net_nano"), "+", models.F("tax_nano")
                        ),
                    ),
                ),
                name="invoice_amounts",
            ),
        ),
        AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("settled_nano__gte", 0),
                    models.Q(("settled_nano__lt", models.F("total_nano")), ("state", "paid"), _negated=True),
                ),
                name="invoice_settled",
            ),
        ),
        AddIndex(
            model_name="invoiceline",
            index=models.Index(
                condition=models.Q(("charge", None), _negated=True),
                fields=["tenant", "charge"],
                name="invoice_line_charge",
            ),
        ),
        AddConstraint(
            model_name="invoiceline",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="invoice_line_tenant_id_key"),
        ),
        AddConstraint(
            model_name="invoiceline",
            constraint=models.UniqueConstraint(fields=("tenant", "invoice", "position"), name="invoice_line_position"),
        ),
        AddConstraint(
            model_name="invoiceline",
            constraint=kernel.constraints.TenantForeignKey(
                field="invoice", name="invoice_line_invoice_fk", on_delete="CASCADE"
            ),
        ),
        AddConstraint(
            model_name="invoiceline",
            constraint=kernel.constraints.TenantForeignKey(
                field="charge", name="invoice_line_charge_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoiceline",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ("plan", "usage", "adjustment", "credit", "carried_in", "carried_out", "correction"))
                ),
                name="invoice_line_kind",
            ),
        ),
        AddIndex(
            model_name="invoicepayment",
            index=models.Index(fields=["tenant", "invoice"], name="invoice_payment_of"),
        ),
        AddIndex(
            model_name="invoicepayment",
            index=models.Index(fields=["tenant", "payment"], name="invoice_payment_from"),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="invoice_payment_tenant_id_key"),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=kernel.constraints.TenantForeignKey(
                field="invoice", name="invoice_payment_invoice_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=kernel.constraints.TenantForeignKey(
                field="payment", name="invoice_payment_payment_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=kernel.constraints.TenantForeignKey(
                field="credit_note", name="invoice_payment_note_fk", on_delete="RESTRICT"
            ),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("credit_note", None), ("payment__isnull", False)),
                    models.Q(("credit_note__isnull", False), ("payment", None)),
                    _connector="OR",
                ),
                name="invoice_payment_source",
            ),
        ),
        AddConstraint(
            model_name="invoicepayment",
            constraint=models.CheckConstraint(
                condition=models.Q(("amount_nano", 0), _negated=True), name="invoice_payment_amount"
            ),
        ),
        AddConstraint(
            model_name="invoiceschedule",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="invoice_schedule_tenant_id_key"),
        ),
        AddConstraint(
            model_name="invoiceschedule",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="invoice_schedule_key"),
        ),
        migrations.RunSQL(INVOICES),
        migrations.RunSQL(LINES),
        IsolateByTenant("billing_invoice"),
        IsolateByTenant("billing_invoiceline", grants=("SELECT", "INSERT", "DELETE")),
        IsolateByTenant("billing_invoicepayment", grants=("SELECT", "INSERT")),
        *(
            IsolateByTenant(table, grants=("SELECT", "INSERT", "UPDATE"))
            for table in ("billing_billingprofile", "billing_invoiceschedule")
        ),
        PlatformJob(
            "billing_invoice",
            "invoices",
            "SELECT",
            columns="id, tenant_id, kind, state, number, until, until_tx, finalize_at, final_at, due_at, overdue_at, written_at",
        ),
        PlatformJob("billing_invoiceschedule", "invoices", "SELECT"),
    ]
