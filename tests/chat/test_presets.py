"""Presets: who sees and changes them, what a room makes of one, and what becomes of them when who has them goes."""

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from chat.answering import Question
from chat.bounds import LIBRARY_PERSONAL_MAX
from chat.models import Preset
from chat.parameters import PLAIN, Parameters
from chat.pipeline_answering import _request
from chat.services import library
from chat.services.messages import send_message
from chat.services.presets import PRESETS, PresetChange, create_preset, update_preset
from kernel.errors import PermissionDenied
from kernel.loop import on_loop
from tenants.models import AuditEvent
from tests.chat.test_rest import call, shared_room
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company, hire
from tests.support.conversations import answer
from tests.support.outbox import work_off

EDITOR = {
    "name": "Editor",
    "model": "other",
    "instructions": "Correct the text.",
    "parameters": {"temperature": 0.2, "top_p": 0.9, "max_output_tokens": 500, "stop": ["END"]},
}
NOBODY = uuid.UUID(int=7)


def preset(actor: Actor, **terms: Any) -> Any:
    return call(actor, "post", "presets", {**EDITOR, **terms}, status=201)


def names(actor: Actor, query: str = "") -> list[str]:
    return [one["name"] for one in call(actor, "get", f"presets{query}", status=200)["data"]]


def asked(answering: FakeAnswering, actor: Actor, room: str, **options: Any) -> Question:
    """What a model is asked when somebody writes in a room."""

    async def ask() -> Question:
        sent = await send_message(member=actor.principal, room_id=uuid.UUID(room), text="Hi", **options)
        assert sent.generation is not None
        question = (await answering.answer_of(sent.generation.id)).question
        await answer(answering, sent.generation.id, "Hello")
        return question

    return on_loop(ask())


def test_a_preset_is_made_read_changed_and_deleted(company: Company) -> None:
    made = preset(company.alice)
    path = f"presets/{made['id']}"
    assert {**made, **EDITOR} == made
    assert (made["visibility"], made["version"], made["owner"]) == ("personal", 1, str(company.alice.membership_id))
    assert call(company.alice, "get", path, status=200) == made
    change = {"version": 1, "name": "Reader", "model": None, "parameters": {}}
    changed = call(company.alice, "patch", path, change, status=200)
    assert (changed["name"], changed["model"], changed["parameters"], changed["version"]) == ("Reader", None, {}, 2)
    assert changed["instructions"] == EDITOR["instructions"]
    late = call(company.alice, "patch", path, {"version": 1, "name": "Late"}, status=409)
    assert late["details"] == {"reason": "version", "version": 2}
    assert call(company.alice, "get", path, status=200) == changed
    call(company.alice, "patch", path, {"name": "No version"}, status=400)
    call(company.alice, "delete", path, status=204)
    call(company.alice, "get", path, status=404)
    call(company.alice, "delete", path, status=404)


def test_personal_ones_are_their_owners_alone_and_shared_ones_are_everybodys(
    company: Company, neighbour: Company
) -> None:
    mine, ours = preset(company.bob, name="Mine"), preset(company.bob, name="Ours", visibility="shared")
    assert names(company.bob) == ["Ours", "Mine"]
    assert names(company.vera) == names(company.alice) == ["Ours"]
    assert names(neighbour.alice) == []
    for actor, path in ((company.alice, mine["id"]), (neighbour.alice, ours["id"]), (neighbour.alice, mine["id"])):
        assert call(actor, "get", f"presets/{path}", status=404) | {"request_id": ""} == call(
            actor, "get", f"presets/{NOBODY}", status=404
        ) | {"request_id": ""}
        call(actor, "patch", f"presets/{path}", {"version": 1, "name": "x"}, status=404)
        call(actor, "delete", f"presets/{path}", status=404)
    assert call(company.vera, "get", f"presets/{ours['id']}", status=200) == ours


def test_what_is_shared_is_changed_by_its_owner_and_by_who_manages_rooms(company: Company) -> None:
    carol = hire(company, "carol", "member")
    path = f"presets/{preset(company.bob, visibility='shared')['id']}"
    refused = call(carol, "patch", path, {"version": 1, "name": "Hers"}, status=403)
    assert refused["details"] == {"reason": "not_owner"}
    call(carol, "delete", path, status=403)
    assert call(company.alice, "patch", path, {"version": 1, "name": "Better"}, status=200)["owner"] == str(
        company.bob.membership_id
    )
    taken = call(company.alice, "patch", path, {"version": 2, "visibility": "personal"}, status=403)
    assert taken["details"] == {"reason": "not_owner"}
    assert call(company.bob, "patch", path, {"version": 2, "visibility": "personal"}, status=200)["version"] == 3
    assert names(company.alice) == []
    with company.scope(), transaction.atomic():
        written = AuditEvent.objects.filter(subject_kind="preset").order_by("id").values_list("action", "actor_id")
        assert list(written) == [
            ("preset.shared", company.bob.membership_id),
            ("preset.changed", company.alice.membership_id),
            ("preset.changed", company.bob.membership_id),
        ]


def test_viewers_make_none_and_share_none(company: Company) -> None:
    assert call(company.vera, "post", "presets", EDITOR, status=403)["details"] == {"permission": "rooms.write"}
    assert company.bob.principal.may("presets.share")
    assert not company.vera.principal.may("presets.share")


def test_sharing_is_a_permission_of_its_own(company: Company) -> None:
    bob = company.bob.principal
    without = replace(bob, permissions=bob.permissions - {library.SHARE})
    mine = on_loop(create_preset(member=without, name="Mine"))
    with pytest.raises(PermissionDenied):
        on_loop(create_preset(member=without, name="Ours", visibility="shared"))
    change = PresetChange(visibility="shared")
    with pytest.raises(PermissionDenied):
        on_loop(update_preset(member=without, preset_id=mine.id, version=1, change=change))
    assert on_loop(update_preset(member=bob, preset_id=mine.id, version=1, change=change)).visibility == "shared"
    with pytest.raises(PermissionDenied):
        on_loop(update_preset(member=without, preset_id=mine.id, version=2, change=PresetChange(name="x")))
    assert on_loop(library.read(PRESETS, member=without, id_=mine.id)).name == "Mine"


def test_lists_are_paged_and_searched(company: Company) -> None:
    for name in ("a_1", "b%2", "Alpha", "beta"):
        preset(company.alice, name=name)
    first = call(company.alice, "get", "presets?limit=3", status=200)
    assert [one["name"] for one in first["data"]] == ["beta", "Alpha", "b%2"]
    rest = call(company.alice, "get", f"presets?limit=3&cursor={first['next_cursor']}", status=200)
    assert ([one["name"] for one in rest["data"]], rest["next_cursor"]) == (["a_1"], None)
    assert names(company.alice, "?search=ALPH") == ["Alpha"]
    assert names(company.alice, "?search=%25") == ["b%2"]
    assert names(company.alice, "?search=_") == ["a_1"]
    call(company.alice, "get", f"presets?search={'x' * 101}", status=400)
    call(company.alice, "get", "presets?search=%00", status=400)


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"visibility": "public"}, "visibility"),
        ({"instructions": "x" * 20_001}, "instructions"),
        ({"parameters": {"temperature": 2.1}}, "temperature"),
        ({"parameters": {"temperature": "nan"}}, "temperature"),
        ({"parameters": {"top_p": 0}}, "top_p"),
        ({"parameters": {"max_output_tokens": 0}}, "max_output_tokens"),
        ({"parameters": {"stop": ["a", "b", "c", "d", "e"]}}, "stop"),
        ({"parameters": {"stop": [""]}}, "stop"),
        ({"parameters": {"colour": "red"}}, "colour"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_preset_is_refused(company: Company, terms: Any, field: str) -> None:
    refused = call(company.alice, "post", "presets", {**EDITOR, **terms}, status=400)
    assert field in refused["message"] + str(refused["details"])
    assert names(company.alice) == []


def test_a_model_that_is_not_there_is_refused(company: Company) -> None:
    call(company.alice, "post", "presets", {**EDITOR, "model": "nothing"}, status=404)
    made = preset(company.alice)
    call(company.alice, "patch", f"presets/{made['id']}", {"version": 1, "model": "nothing"}, status=404)
    assert call(company.alice, "get", f"presets/{made['id']}", status=200) == made


def test_there_is_room_for_so_many(company: Company) -> None:
    with company.scope(), transaction.atomic():
        Preset.objects.bulk_create(
            Preset(
                tenant_id=company.id,
                owner_id=company.alice.membership_id,
                name="x",
                visibility="personal",
                instructions="",
                parameters={},
            )
            for _ in range(LIBRARY_PERSONAL_MAX)
        )
    full = call(company.alice, "post", "presets", EDITOR, status=409)
    assert full["details"] == {"reason": "full"}
    preset(company.bob)
    preset(company.alice, visibility="shared")


def test_a_room_answers_as_its_preset_says(company: Company, answering: FakeAnswering) -> None:
    made = preset(company.alice)
    body = {"kind": "private", "instructions": "Be brief.", "preset": made["id"]}
    room = call(company.alice, "post", "rooms", body, status=201)
    assert room["preset"] == made["id"]
    question = asked(answering, company.alice, room["id"])
    assert question.alias == "other"
    assert question.instructions == "Correct the text.\n\nBe brief."
    assert question.parameters == Parameters(temperature=0.2, top_p=0.9, max_output_tokens=500, stop=("END",))
    request = _request(question)
    assert (request.model, request.temperature, request.top_p) == ("other", 0.2, 0.9)
    assert (request.max_output_tokens, request.stop) == (500, ("END",))
    assert request.messages[0].text == "Correct the text.\n\nBe brief."
    # What the message says, and what the room says, goes before.
    assert asked(answering, company.alice, room["id"], model="fake").alias == "fake"
    call(company.alice, "patch", f"rooms/{room['id']}", {"model": "fake"}, status=200)
    question = asked(answering, company.alice, room["id"])
    assert (question.alias, question.parameters.temperature) == ("fake", 0.2)
    call(
        company.alice,
        "patch",
        f"presets/{made['id']}",
        {"version": 1, "instructions": "", "parameters": {}},
        status=200,
    )
    question = asked(answering, company.alice, room["id"])
    assert (question.instructions, question.parameters) == ("Be brief.", PLAIN)


def test_without_its_preset_a_room_answers_by_its_own_terms(company: Company, answering: FakeAnswering) -> None:
    room = call(company.alice, "post", "rooms", {"kind": "private", "instructions": "Be brief."}, status=201)
    path = f"rooms/{room['id']}"
    made = preset(company.alice)
    assert call(company.alice, "patch", path, {"preset": made["id"]}, status=200)["preset"] == made["id"]
    assert asked(answering, company.alice, room["id"]).alias == "other"
    call(company.alice, "delete", f"presets/{made['id']}", status=204)
    question = asked(answering, company.alice, room["id"])
    assert (question.alias, question.instructions, question.parameters) == ("fake", "Be brief.", PLAIN)
    again = preset(company.alice)
    call(company.alice, "patch", path, {"preset": again["id"]}, status=200)
    assert call(company.alice, "patch", path, {"preset": None}, status=200)["preset"] is None
    assert asked(answering, company.alice, room["id"]).parameters == PLAIN


def test_a_personal_preset_in_a_shared_room_is_its_owners_alone(company: Company, answering: FakeAnswering) -> None:
    room, made = shared_room(company), preset(company.alice)
    call(company.alice, "patch", f"rooms/{room}", {"preset": made["id"]}, status=200)
    assert asked(answering, company.alice, room).alias == "other"
    question = asked(answering, company.bob, room)
    assert (question.alias, question.instructions, question.parameters) == ("fake", "", PLAIN)
    call(company.alice, "patch", f"presets/{made['id']}", {"version": 1, "visibility": "shared"}, status=200)
    question = asked(answering, company.bob, room)
    assert (question.alias, question.instructions) == ("other", "Correct the text.")


def test_a_room_takes_no_preset_that_its_owner_does_not_see(company: Company, neighbour: Company) -> None:
    foreign = preset(neighbour.alice, visibility="shared")["id"]
    room = call(company.bob, "post", "rooms", {"kind": "private"}, status=201)
    for unseen in (foreign, preset(company.alice)["id"], str(NOBODY)):
        call(company.bob, "post", "rooms", {"kind": "private", "preset": unseen}, status=404)
        call(company.bob, "patch", f"rooms/{room['id']}", {"preset": unseen}, status=404)
    assert call(company.bob, "get", f"rooms/{room['id']}", status=200)["preset"] is None
    call(company.bob, "patch", f"rooms/{room['id']}", {"preset": "x"}, status=400)


def test_what_was_shared_passes_to_whoever_removed_its_owner(company: Company) -> None:
    carol, dave = hire(company, "carol", "admin"), hire(company, "dave", "member")
    ours = preset(dave, name="Ours", visibility="shared")
    preset(dave, name="Mine")
    call(carol, "delete", f"members/{dave.membership_id}", status=204)
    work_off(company.id)
    with company.scope(), transaction.atomic():
        left = [(one.name, one.owner_id) for one in Preset.objects.all()]
    assert left == [("Ours", carol.membership_id)]
    assert call(company.vera, "get", f"presets/{ours['id']}", status=200)["instructions"] == "Correct the text."


def test_nothing_passes_on_while_its_owner_is_there_and_an_owner_stands_in(company: Company) -> None:
    carol, dave = hire(company, "carol", "admin"), hire(company, "dave", "member")
    preset(dave, name="Ours", visibility="shared")
    on_loop(library.pass_on(PRESETS, company.id, dave.membership_id, to=carol.membership_id))
    assert call(dave, "get", "presets", status=200)["data"][0]["owner"] == str(dave.membership_id)
    call(company.alice, "delete", f"members/{dave.membership_id}", status=204)
    call(company.alice, "delete", f"members/{carol.membership_id}", status=204)
    on_loop(library.pass_on(PRESETS, company.id, dave.membership_id, to=carol.membership_id))
    assert call(company.bob, "get", "presets", status=200)["data"][0]["owner"] == str(company.alice.membership_id)
    work_off(company.id)
