"""Constraints and indexes in migrations: what Django's own operations do to the state of models, with no class made anew."""

from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState

from kernel.migrations import AddConstraint, AddIndex

pytestmark = pytest.mark.no_database

CONSTRAINTS = [
    models.UniqueConstraint(fields=["name"], name="one_name"),
    models.CheckConstraint(condition=models.Q(size__gte=0), name="size_not_negative"),
]
INDEX = models.Index(fields=["size", "name"], name="by_size")


def state() -> ProjectState:
    """A model, and one that refers to it, with their classes made."""
    made = ProjectState()
    box = [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField()), ("size", models.IntegerField())]
    lid = [
        ("id", models.BigAutoField(primary_key=True)),
        ("box", models.ForeignKey("toy.Box", on_delete=models.CASCADE)),
    ]
    made.add_model(ModelState("toy", "Box", box))
    made.add_model(ModelState("toy", "Lid", lid))
    assert made.apps.get_model("toy", "lid")
    return made


def after(
    constraint: type[migrations.AddConstraint], index: type[migrations.AddIndex]
) -> tuple[ProjectState, ProjectState]:
    """The state before the last operation, and after them all."""
    made = state()
    for one in CONSTRAINTS:
        constraint("Box", one).state_forwards("toy", made)
    before = made.clone()
    index("box", INDEX).state_forwards("toy", made)
    return before, made


def told(made: ProjectState) -> tuple[Any, ...]:
    options, meta = made.models["toy", "box"].options, made.apps.get_model("toy", "Box")._meta
    return options["constraints"], options["indexes"], meta.constraints, meta.indexes


def test_the_state_is_as_by_djangos_operations() -> None:
    before, ours = after(AddConstraint, AddIndex)
    assert told(ours) == (CONSTRAINTS, [INDEX], CONSTRAINTS, [INDEX])
    assert told(ours) == told(after(migrations.AddConstraint, migrations.AddIndex)[1])
    assert before.models["toy", "box"].options["indexes"] == []


def test_no_class_is_made_anew() -> None:
    made = state()
    classes = [made.apps.get_model("toy", name) for name in ("box", "lid")]
    AddConstraint("box", CONSTRAINTS[0]).state_forwards("toy", made)
    AddIndex("box", INDEX).state_forwards("toy", made)
    assert [made.apps.get_model("toy", name) for name in ("box", "lid")] == classes


def test_without_classes_only_the_state_changes() -> None:
    made = ProjectState({("toy", "box"): ModelState("toy", "Box", [("id", models.BigAutoField(primary_key=True))])})
    AddIndex("box", INDEX).state_forwards("toy", made)
    assert "apps" not in made.__dict__
    assert made.models["toy", "box"].options["indexes"] == [INDEX]
