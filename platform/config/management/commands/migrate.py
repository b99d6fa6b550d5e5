"""`manage.py migrate`, which makes an empty database ready in half the time.

After each operation Django makes anew the classes of all models that are related to the changed one, in either direction and
however remotely. Here every row belongs to a tenant, so these are all models there are, hundreds of times.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands.migrate import Command as DjangosCommand
from django.db.migrations.state import ProjectState

_CHOICE = "_find_reload_model"


class Command(DjangosCommand):
    """Migrates as Django does, and makes fewer classes."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate."""
        with making_few_classes():
            super().handle(*args, **options)


@contextmanager
def making_few_classes() -> Iterator[None]:
    """Have only the models made anew that must be: the changed one, and those that refer to it."""
    djangos = getattr(ProjectState, _CHOICE)
    setattr(ProjectState, _CHOICE, _referring)
    try:
        yield
    finally:
        setattr(ProjectState, _CHOICE, djangos)


def _referring(state: ProjectState, app_label: str, model_name: str, delay: bool = False) -> set[tuple[str, str]]:
    """A model and all that refer to it, perhaps by way of others. Their classes hold the changed one's; what it refers to
    is still as it was.
    """
    # Python in a migration is given classes that were all made at once, whose reverse relations are sure to be right.
    state.is_delayed = True
    found: set[tuple[str, str]] = set()
    left = [(app_label, model_name)]
    while left:
        model = left.pop()
        if model not in found:
            found.add(model)
            left += state.relations.get(model, ())
    return found
