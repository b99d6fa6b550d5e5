"""Example calls of history as a tree: single messages, branches, answers begun and begun anew."""

import uuid
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat.models import Feedback, Generation, Message, Summary
from kernel.ids import uuid7
from tests.isolation.calls import Call, Made
from tests.isolation.calls_routes import a_model
from tests.isolation.made_chat import message_in, room_of
from tests.support.cast import Company


def message_of(company: Company) -> uuid.UUID:
    """A message of the owner's in a room of its own, and a model that could answer it."""
    a_model(company)
    return message_in(company, room_of(company))


def ended_generation_of(company: Company) -> uuid.UUID:
    """An answer that failed, by a model that is there."""
    alias = a_model(company)
    room_id = room_of(company)
    prompt_id = message_in(company, room_id)
    with company.scope(), transaction.atomic():
        return Generation.objects.create(
            tenant_id=company.id,
            room_id=room_id,
            prompt_id=prompt_id,
            model=alias,
            status="failed",
            requested_by_id=company.owner.membership_id,
            request_id=uuid7(),
            finished_at=timezone.now(),
        ).id


def _message(company: Company) -> Made:
    return Made(ids={"message_id": message_of(company)})


def _asked(company: Company) -> Made:
    return Made(ids={"message_id": message_of(company)}, body={})


def _with(**body: Any) -> Callable[[Company], Made]:
    return lambda company: Made(ids={"message_id": message_of(company)}, body=body)


def _siblings(company: Company) -> Made:
    message_id = message_of(company)
    return Made(ids={"message_id": message_id}, listed=(message_id,))


def _ended(company: Company) -> Made:
    return Made(ids={"generation_id": ended_generation_of(company)}, body={})


def _summarised(company: Company) -> Made:
    room_id = room_of(company)
    message_id = message_in(company, room_id)
    with company.scope(), transaction.atomic():
        summary = Summary.objects.create(
            tenant_id=company.id,
            room_id=room_id,
            until_id=message_id,
            text="They said hello.",
            covers=1,
            model="echo",
            request_id=uuid7(),
        )
    return Made(ids={"room_id": room_id}, listed=(summary.id,))


def _answer(company: Company) -> Message:
    room_id = room_of(company)
    with company.scope(), transaction.atomic():
        return Message.objects.create(
            tenant_id=company.id, room_id=room_id, author_kind="model", model="echo", text="hello", parts=[]
        )


def _answered(company: Company) -> Made:
    return Made(ids={"message_id": _answer(company).id})


def _judged(company: Company) -> Made:
    return Made(ids={"message_id": _answer(company).id}, body={"rating": "down", "comment": "Wrong."})


def _feedback(company: Company) -> uuid.UUID:
    answer = _answer(company)
    with company.scope(), transaction.atomic():
        return Feedback.objects.create(
            tenant_id=company.id,
            room_id=answer.room_id,
            message_id=answer.id,
            membership_id=company.owner.membership_id,
            model="echo",
            rating="up",
        ).id


def _branch(company: Company) -> Made:
    room_id = room_of(company)
    return Made(ids={"room_id": room_id}, body={"message": str(message_in(company, room_id))})


def _said_after(company: Company) -> Made:
    room_id = room_of(company)
    body = {"text": "hello", "generate": False, "parent": str(message_in(company, room_id))}
    return Made(ids={"room_id": room_id}, body=body)


HISTORY_CALLS = (
    Call(
        "POST",
        "rooms/<uuid:room_id>/messages",
        _said_after,
        status=201,
        private=True,
        foreign={"parent": None},
    ),
    Call("GET", "rooms/<uuid:room_id>/summaries", _summarised, private=True),
    Call("PUT", "rooms/<uuid:room_id>/branch", _branch, private=True, foreign={"message": None}),
    Call("GET", "messages/<uuid:message_id>", _message, private=True),
    Call("GET", "messages/<uuid:message_id>/siblings", _siblings, private=True),
    Call("PATCH", "messages/<uuid:message_id>", _with(text="other"), private=True),
    Call("DELETE", "messages/<uuid:message_id>", _message, status=204, private=True),
    Call("POST", "messages/<uuid:message_id>/branches", _with(text="x", generate=False), status=201, private=True),
    Call("POST", "messages/<uuid:message_id>/reactions", _with(emoji="👍"), private=True),
    Call("PUT", "messages/<uuid:message_id>/feedback", _judged, private=True),
    Call("DELETE", "messages/<uuid:message_id>/feedback", _answered, status=204, private=True),
    Call("GET", "feedback", lambda company: Made(listed=(_feedback(company),))),
    Call("POST", "messages/<uuid:message_id>/generations", _asked, status=201, private=True),
    Call("POST", "generations/<uuid:generation_id>/regenerate", _ended, status=201, private=True),
)
