"""Every table says what becomes of its rows."""

import pytest
from django.apps import apps

from kernel.retention import RETENTION, Fate

pytestmark = pytest.mark.no_database


def test_every_table_declares_its_fate() -> None:
    assert {model._meta.label for model in apps.get_models()} == RETENTION.keys()


def test_every_declaration_gives_its_reason() -> None:
    assert all(len(declared.reason) > 10 for declared in RETENTION.values())


def test_what_holds_secrets_is_erased() -> None:
    """Digests, password hashes and encrypted secrets don't outlive whom they belong to."""
    fields = {"digest", "password_hash", "secret"}
    for model in apps.get_models():
        if fields & {field.name for field in model._meta.get_fields()} and hasattr(model, "tenant"):
            assert RETENTION[model._meta.label].fate is Fate.ERASE, model
    assert RETENTION["tenants.Credential"].fate is Fate.ERASE
    assert RETENTION["tenants.RefreshToken"].fate is Fate.ERASE
