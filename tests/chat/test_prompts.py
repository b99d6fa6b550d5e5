"""The prompt library, and what a prompt says with values in it."""

from typing import Any

import pytest

from chat.bounds import MESSAGE_CHARS_MAX
from chat.services.prompts import Variable, render
from kernel.errors import InvalidRequest
from tests.chat.test_rest import call
from tests.support.cast import Actor, Company, hire
from tests.support.outbox import work_off

LETTER = {
    "name": "Letter",
    "text": "Dear {{ name }}, welcome to {{city}}. {{note}}",
    "variables": [
        {"name": "name", "label": "To whom?"},
        {"name": "city", "default": "Oslo"},
        {"name": "note", "required": False},
    ],
}


def prompt(actor: Actor, **terms: Any) -> Any:
    return call(actor, "post", "prompts", {**LETTER, **terms}, status=201)


def test_a_prompt_is_made_read_changed_and_deleted(company: Company) -> None:
    made = prompt(company.alice)
    path = f"prompts/{made['id']}"
    assert made["variables"][0] == {"name": "name", "label": "To whom?", "default": None, "required": True}
    assert made["variables"][1:] == [
        {"name": "city", "label": "", "default": "Oslo", "required": True},
        {"name": "note", "label": "", "default": None, "required": False},
    ]
    assert call(company.alice, "get", path, status=200) == made
    undeclared = call(company.alice, "patch", path, {"version": 1, "variables": []}, status=400)
    assert "city, name, note" in undeclared["message"]
    changed = call(company.alice, "patch", path, {"version": 1, "text": "Hi", "variables": []}, status=200)
    assert (changed["text"], changed["variables"], changed["version"]) == ("Hi", [], 2)
    assert call(company.alice, "patch", path, {"version": 1, "text": "x"}, status=409)["details"]["version"] == 2
    call(company.alice, "delete", path, status=204)
    call(company.alice, "get", path, status=404)


def test_who_sees_and_changes_prompts(company: Company, neighbour: Company) -> None:
    mine, ours = prompt(company.bob)["id"], prompt(company.bob, name="Ours", visibility="shared")["id"]
    for actor, path in ((company.alice, mine), (neighbour.alice, ours)):
        call(actor, "get", f"prompts/{path}", status=404)
        call(actor, "patch", f"prompts/{path}", {"version": 1, "name": "x"}, status=404)
        call(actor, "delete", f"prompts/{path}", status=404)
        call(actor, "post", f"prompts/{path}/render", {"values": {"name": "Bo"}}, status=404)
    assert [one["id"] for one in call(company.vera, "get", "prompts?search=our", status=200)["data"]] == [ours]
    assert call(company.vera, "get", "prompts?search=letter", status=200)["data"] == []
    said = call(company.vera, "post", f"prompts/{ours}/render", {"values": {"name": "Bo"}}, status=200)
    assert said == {"text": "Dear Bo, welcome to Oslo. "}
    call(company.vera, "post", "prompts", LETTER, status=403)
    call(hire(company, "carol", "member"), "delete", f"prompts/{ours}", status=403)
    call(company.alice, "delete", f"prompts/{ours}", status=204)


def test_they_go_and_pass_on_with_their_owner(company: Company) -> None:
    dave = hire(company, "dave", "member")
    prompt(dave)
    ours = prompt(dave, visibility="shared")
    call(company.alice, "delete", f"members/{dave.membership_id}", status=204)
    work_off(company.id)
    left = call(company.alice, "get", "prompts", status=200)["data"]
    assert [(one["id"], one["owner"]) for one in left] == [(ours["id"], str(company.alice.membership_id))]


def test_unknown_and_missing_values_are_named(company: Company) -> None:
    path = f"prompts/{prompt(company.alice)['id']}/render"
    refused = call(company.alice, "post", path, {"values": {"nmae": "Bo", "city": ""}}, status=400)
    assert refused["details"] == {"param": "values", "unknown": ["nmae"], "missing": ["name"]}
    assert "nmae" in refused["message"]
    assert call(company.alice, "post", path, status=400)["details"]["missing"] == ["name"]
    call(company.alice, "post", path, {"values": {"name": "x\x00"}}, status=400)
    call(company.alice, "post", path, {"values": ["Bo"]}, status=400)


@pytest.mark.parametrize(
    "terms",
    [
        {"text": " "},
        {"text": "x" * 20_001, "variables": []},
        {"text": "{{other}}"},
        {"variables": [{"name": "name"}, {"name": "name"}, {"name": "city"}, {"name": "note"}]},
        {"text": "x", "variables": [{"name": f"v{number}"} for number in range(21)]},
        {"text": "x", "variables": [{"name": "1st"}]},
        {"text": "x", "variables": [{"name": "a b"}]},
        {"text": "x", "variables": [{}]},
        {"text": "x", "variables": [{"name": "a", "default": "x" * 2_001}]},
        {"text": "x", "variables": [{"name": "a", "colour": "red"}]},
    ],
)
def test_a_bad_prompt_is_refused(company: Company, terms: Any) -> None:
    assert call(company.alice, "post", "prompts", {**LETTER, **terms}, status=400)["code"] == "invalid_request"
    assert call(company.alice, "get", "prompts", status=200)["data"] == []


@pytest.mark.no_database
def test_values_are_put_in_as_they_are() -> None:
    two = (Variable(name="a"), Variable(name="b"))
    hostile = r"{{b}} {0.__class__} ${b} %(b)s \g<1> {% if %}"
    assert render("{{a}}|{{b}}|{{a}}", two, {"a": hostile, "b": "{{a}}"}) == f"{hostile}|{{{{a}}}}|{hostile}"
    assert render("{a} {{ }} {{a.b}} {{{a}}} {{1}}", two, {"a": "x", "b": "y"}) == "{a} {{ }} {{a.b}} {x} {{1}}"


@pytest.mark.no_database
def test_what_is_rendered_fits_in_a_message() -> None:
    one = (Variable(name="a"),)
    text = "{{a}}" * 4_000
    assert len(render(text, one, {"a": "x" * 25})) == MESSAGE_CHARS_MAX
    with pytest.raises(InvalidRequest):
        render(text, one, {"a": "x" * 26})
    with pytest.raises(InvalidRequest):
        render(text, one, {"a": "x" * MESSAGE_CHARS_MAX})
