"""Composite foreign keys, as migrations write them and as forms check them."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connections, transaction

from kernel.constraints import TenantForeignKey
from tenants.models import ApiKey
from tests.support.cast import Company

MEMBER = TenantForeignKey(name="api_key_membership_fk", field="membership")


def sql(constraint: TenantForeignKey) -> str:
    with connections["owner"].schema_editor(collect_sql=True) as editor:
        return constraint.constraint_sql(ApiKey, editor)


@pytest.mark.parametrize(
    ("on_delete", "says"),
    [
        ("RESTRICT", "ON DELETE NO ACTION"),
        ("CASCADE", "ON DELETE CASCADE"),
        ("SET NULL", 'ON DELETE SET NULL ("membership_id")'),
    ],
)
def test_it_carries_the_tenant_and_clears_the_pointer_alone(on_delete: Any, says: str) -> None:
    text = sql(TenantForeignKey(name="fk", field="membership", on_delete=on_delete))
    assert 'FOREIGN KEY (tenant_id, "membership_id") REFERENCES "tenants_membership" (tenant_id, id)' in text
    assert says in text
    assert text.endswith("DEFERRABLE INITIALLY DEFERRED")


def test_a_migration_takes_it_away_and_adds_it_again() -> None:
    found = "SELECT count(*) FROM pg_constraint WHERE conname = 'api_key_membership_fk'"
    owner = connections["owner"]
    with transaction.atomic(using="owner"), owner.cursor() as cursor:
        with owner.schema_editor(atomic=False) as editor:
            editor.remove_constraint(ApiKey, MEMBER)
            cursor.execute(found)
            assert cursor.fetchone() == (0,)
            editor.add_constraint(ApiKey, MEMBER)
            cursor.execute(found)
            assert cursor.fetchone() == (1,)
        transaction.set_rollback(True, using="owner")


def test_it_survives_being_written_into_a_migration() -> None:
    path, arguments, keywords = MEMBER.deconstruct()
    assert path == "kernel.constraints.TenantForeignKey"
    again = TenantForeignKey(*arguments, **keywords)
    assert again == MEMBER
    assert hash(again) == hash(MEMBER)
    assert again != TenantForeignKey(name="api_key_membership_fk", field="membership", on_delete="CASCADE")
    assert again != "api_key_membership_fk"


def test_another_tenants_row_is_no_row(acme: Company, evil: Company) -> None:
    key = ApiKey(tenant_id=acme.id, membership_id=evil.alice.membership_id)
    with acme.scope(), transaction.atomic():
        with pytest.raises(ValidationError):
            MEMBER.validate(ApiKey, key)
        key.membership_id = acme.alice.membership_id
        MEMBER.validate(ApiKey, key)
        TenantForeignKey(name="fk", field="replaced_by").validate(ApiKey, key)


def test_models_and_migrations_say_the_same() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
