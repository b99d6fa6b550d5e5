"""Composite foreign keys: a tenant's row can only point to a row of the same tenant.

A Django `ForeignKey` can't carry two columns, so the field is declared with `db_constraint=False` and this constraint
stands beside it in `Meta.constraints`, where `makemigrations` sees it. It refers to the target's unique
`(tenant_id, id)`.
"""

from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

OnDelete = Literal["RESTRICT", "CASCADE", "SET NULL"]


class TenantForeignKey(models.BaseConstraint):
    """`FOREIGN KEY (tenant_id, <field>_id) REFERENCES <target> (tenant_id, id)`, checked when the transaction ends."""

    def __init__(self, *, name: str, field: str, on_delete: OnDelete = "RESTRICT") -> None:
        super().__init__(name=name)
        self.field = field
        self.on_delete: OnDelete = on_delete

    def constraint_sql(self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor) -> str:  # type: ignore[override]
        quote = schema_editor.quote_name
        field = model._meta.get_field(self.field)
        target = field.remote_field.model._meta  # type: ignore[union-attr]
        column = quote(str(field.column))  # type: ignore[union-attr]
        # SET NULL must clear the pointer alone: the tenant of the row stays.
        action = f"SET NULL ({column})" if self.on_delete == "SET NULL" else self.on_delete
        # RESTRICT can't be deferred; NO ACTION refuses just the same, at the end of the transaction.
        action = "NO ACTION" if action == "RESTRICT" else action
        return (
            f"CONSTRAINT {quote(self.name)} FOREIGN KEY (tenant_id, {column}) "
            f"REFERENCES {quote(target.db_table)} (tenant_id, id) ON DELETE {action} DEFERRABLE INITIALLY DEFERRED"
        )

    def create_sql(self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor) -> str:  # type: ignore[override]
        # Constraints given with CREATE TABLE are added in the same statement; later ones come here.
        table = schema_editor.quote_name(model._meta.db_table)
        return f"ALTER TABLE {table} ADD {self.constraint_sql(model, schema_editor)}"

    def remove_sql(self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor) -> str:  # type: ignore[override]
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"

    def validate(
        self, model: type[models.Model], instance: models.Model, exclude: Any = None, using: str = "default"
    ) -> None:
        """A pointer to a row that this tenant can't see is no pointer."""
        field = model._meta.get_field(self.field)
        value = getattr(instance, field.attname)  # type: ignore[union-attr]
        if value is None:
            return
        target = field.remote_field.model  # type: ignore[union-attr]
        if not target._default_manager.using(using).filter(pk=value).exists():
            raise ValidationError(f"{self.field}: there is no such row", code="invalid")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TenantForeignKey):
            return (self.name, self.field, self.on_delete) == (other.name, other.field, other.on_delete)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.field, self.on_delete))

    def deconstruct(self) -> tuple[str, tuple[()], dict[str, Any]]:
        return (
            f"{self.__class__.__module__}.{self.__class__.__qualname__}",
            (),
            {"name": self.name, "field": self.field, "on_delete": self.on_delete},
        )
