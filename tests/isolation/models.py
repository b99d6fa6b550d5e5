"""The tenant tables, known before a database is: the catalogue test holds the two lists together."""

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model


def _is_tenants(model: type[Model]) -> bool:
    if model._meta.db_table == "tenants_tenant":
        return True
    try:
        return bool(model._meta.get_field("tenant_id" if not hasattr(model, "tenant") else "tenant"))
    except FieldDoesNotExist:
        return False


TENANT_TABLES = sorted(model._meta.db_table for model in apps.get_models() if _is_tenants(model))
