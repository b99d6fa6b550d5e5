"""Which classes `migrate` makes anew: those that hold the changed one, and no others."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import get_commands
from django.db import models
from django.db.migrations import AddField, CreateModel, RunPython
from django.db.migrations.state import ModelState, ProjectState

from config.management.commands.migrate import making_few_classes

pytestmark = pytest.mark.no_database

NAMES = ("shelf", "box", "lid", "label")


def refers(model: str) -> Any:
    return models.ForeignKey(f"toy.{model}", on_delete=models.CASCADE)


def number() -> Any:
    return models.BigAutoField(primary_key=True)


@pytest.fixture
def state() -> ProjectState:
    """A label on a lid on a box on a shelf, with their classes made."""
    made = ProjectState()
    made.add_model(ModelState("toy", "Shelf", [("id", number())]))
    made.add_model(ModelState("toy", "Box", [("id", number()), ("shelf", refers("Shelf"))]))
    made.add_model(ModelState("toy", "Lid", [("id", number()), ("box", refers("Box"))]))
    made.add_model(ModelState("toy", "Label", [("id", number()), ("lid", refers("Lid")), ("text", models.TextField())]))
    assert made.apps.get_model("toy", "label")
    return made


def classes(state: ProjectState) -> dict[str, type[models.Model]]:
    return {model._meta.model_name or "": model for model in state.apps.get_models()}


def made_anew(before: dict[str, type[models.Model]], state: ProjectState) -> set[str]:
    after = classes(state)
    return {name for name in before if after[name] is not before[name]}


def relations(state: ProjectState) -> dict[str, tuple[set[str], dict[str, str]]]:
    """What points to each model, and what each points to; and that it's these very classes."""
    now = classes(state)
    pointed = {
        name: {field.name: field.related_model for field in model._meta.fields if field.is_relation}
        for name, model in now.items()
    }
    assert all(target in now.values() for fields in pointed.values() for target in fields.values())
    return {
        name: (
            {relation.related_model._meta.label for relation in model._meta.related_objects},
            {field: target._meta.label for field, target in pointed[name].items()},  # type: ignore[union-attr]
        )
        for name, model in now.items()
    }


def as_made_at_once(state: ProjectState) -> dict[str, tuple[set[str], dict[str, str]]]:
    return relations(ProjectState(dict(state.models)))


def test_the_command_is_ours() -> None:
    assert get_commands()["migrate"] == "config"


def test_what_refers_to_the_changed_model_is_made_anew(state: ProjectState) -> None:
    before = classes(state)
    with making_few_classes():
        AddField("Box", "size", models.IntegerField(default=0)).state_forwards("toy", state)
    assert made_anew(before, state) == {"box", "lid", "label"}
    assert [field.name for field in classes(state)["box"]._meta.fields] == ["id", "shelf", "size"]
    assert relations(state) == as_made_at_once(state)


def test_a_new_model_makes_no_other_anew(state: ProjectState) -> None:
    before = classes(state)
    with making_few_classes():
        CreateModel("Key", [("id", number()), ("lid", refers("Lid"))]).state_forwards("toy", state)
    assert made_anew(before, state) == set()
    assert relations(state) == as_made_at_once(state)
    assert relations(state)["lid"][0] == {"toy.Label", "toy.Key"}


def test_models_that_refer_to_each_other_are_both_made_anew(state: ProjectState) -> None:
    AddField("Box", "best", refers("Label")).state_forwards("toy", state)
    before = classes(state)
    with making_few_classes():
        AddField("Label", "size", models.IntegerField(default=0)).state_forwards("toy", state)
    assert made_anew(before, state) == {"box", "lid", "label"}
    assert relations(state) == as_made_at_once(state)


def test_python_in_a_migration_gets_classes_made_at_once(state: ProjectState) -> None:
    with making_few_classes():
        AddField("Box", "size", models.IntegerField(default=0)).state_forwards("toy", state)
        before, given = classes(state), []
        python = RunPython(lambda apps, _: given.append(apps))
        python.state_forwards("toy", state)
        editor: Any = SimpleNamespace(connection=SimpleNamespace(alias="default"))
        python.database_forwards("toy", editor, state, state)
    assert all(given[0].get_model("toy", name) is not before[name] for name in NAMES)


def test_afterwards_django_chooses_again(state: ProjectState) -> None:
    with making_few_classes():
        pass
    before = classes(state)
    AddField("Box", "size", models.IntegerField(default=0)).state_forwards("toy", state)
    assert "shelf" in made_anew(before, state)
