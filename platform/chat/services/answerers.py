"""Who answers a message, and whom it names.

Models that the sender names in the command answer, side by side. Else, in a shared room, those that the text mentions
(`@alias`). A text in a shared room that mentions people and no model is for them: nobody answers. Whatever else is said in
a room, its model answers, or its preset's, or the tenant's default; in a shared room whose `answers` are `mentioned`, only
if mentioned.
"""

import re
import uuid
from collections.abc import Sequence

import msgspec

from chat import selectors
from chat.access import RoomAccess
from chat.answering import answering
from chat.bounds import ALIAS_CHARS_MAX, MENTIONS_PER_MESSAGE_MAX, MODELS_PER_MESSAGE_MAX
from chat.store import transaction
from kernel import lifecycle
from kernel.errors import InvalidRequest, NotFound, Unavailable
from tenants.principals import Principal

_AT = re.compile(r"(?<![\w@])@(?=\w)")
_ALIAS = re.compile(rf"[\w./:+\-]{{1,{ALIAS_CHARS_MAX}}}")
_AFTER_NAME = re.compile(r"\W|$")
_NO_ALIAS_END = ".:/-+"


class Addressed(msgspec.Struct, frozen=True):
    """The models that answer, and the memberships that are named."""

    aliases: tuple[str, ...] = ()
    mentions: tuple[uuid.UUID, ...] = ()


class _Mentions(msgspec.Struct, frozen=True):
    members: tuple[uuid.UUID, ...]
    aliases: tuple[str, ...]


async def addressed(
    *,
    member: Principal,
    room: RoomAccess,
    text: str,
    model: str | None = None,
    models: Sequence[str] = (),
    generate: bool = True,
) -> Addressed:
    """Whom a message addresses. Raises `NotFound` for a model that isn't there for the sender, `PermissionDenied` for one
    who may use none, `InvalidRequest` for too many, and `Unavailable` in a process that is going down.
    """
    mentioned = await _mentioned(member, room, text, models=generate)
    aliases: tuple[str, ...] = ()
    if generate:
        aliases = await _answerers(member, room, mentioned, named=(*((model,) if model else ()), *models))
    return Addressed(aliases=aliases, mentions=mentioned.members)


async def chosen_models(*, member: Principal, aliases: Sequence[str | None]) -> tuple[str, ...]:
    """The models that will answer, each once; None stands for the default. Raises as `addressed` does."""
    if not aliases:
        return ()
    member.require("models.use")
    if lifecycle.is_draining():
        raise Unavailable("This process is about to restart. Try again.")
    wanted = list(dict.fromkeys(aliases))
    if len(wanted) > MODELS_PER_MESSAGE_MAX:
        raise InvalidRequest(
            f"models: at most {MODELS_PER_MESSAGE_MAX} answer one message.", details={"param": "models"}
        )
    chosen = [await answering().choose_model(principal=member, alias=alias) for alias in wanted]
    return tuple(dict.fromkeys(chosen))


async def model_of(room: RoomAccess) -> str | None:
    """The model that answers in the room whoever has it open: its own, else its preset's; None for the default."""
    if room.model is not None or room.preset is None:
        return room.model
    async with transaction(room.tenant_id) as connection:
        preset = await selectors.preset_terms(connection, room.preset, membership_id=room.membership_id)
    return preset.model if preset else None


async def _answerers(
    member: Principal, room: RoomAccess, mentioned: _Mentions, *, named: Sequence[str]
) -> tuple[str, ...]:
    if named:
        return await chosen_models(member=member, aliases=named)
    if mentioned.aliases:
        return await chosen_models(member=member, aliases=mentioned.aliases)
    if mentioned.members or (room.kind == "shared" and room.answers == "mentioned"):
        return ()
    return await chosen_models(member=member, aliases=[await model_of(room)])


async def _mentioned(member: Principal, room: RoomAccess, text: str, *, models: bool) -> _Mentions:
    """Whom a text in a shared room names, each after an @: people in the room by name, and with `models` those by alias."""
    if room.kind != "shared" or "@" not in text:
        return _Mentions(members=(), aliases=())
    async with transaction(member.tenant_id) as connection:
        places = await selectors.room_members(connection, room_id=room.room_id)
    names = _names([(place.member.name, place.member.id) for place in places.values()])
    members: dict[uuid.UUID, None] = {}
    aliases: dict[str, None] = {}
    for at in list(_AT.finditer(text))[:MENTIONS_PER_MESSAGE_MAX]:
        rest = text[at.end() : at.end() + ALIAS_CHARS_MAX]
        if (person := _person(rest, names)) is not None:
            members[person] = None
        elif models and (alias := await _alias(member, rest)) is not None:
            aliases[alias] = None
    return _Mentions(
        members=tuple(id_ for id_ in members if id_ != room.membership_id),
        aliases=tuple(aliases)[:MODELS_PER_MESSAGE_MAX],
    )


def _names(people: Sequence[tuple[str, uuid.UUID]]) -> list[tuple[str, uuid.UUID]]:
    """What people may be called by, longest first: the name, the name without spaces, and a first name that no other has."""
    found: dict[str, set[uuid.UUID]] = {}
    for name, id_ in people:
        whole = " ".join(name.split()).casefold()
        for called in {whole, whole.replace(" ", ""), whole.partition(" ")[0]} - {""}:
            found.setdefault(called, set()).add(id_)
    sole = [(called, ids.pop()) for called, ids in found.items() if len(ids) == 1]
    return sorted(sole, key=lambda pair: len(pair[0]), reverse=True)


def _person(rest: str, names: Sequence[tuple[str, uuid.UUID]]) -> uuid.UUID | None:
    folded = rest.casefold()
    for called, id_ in names:
        if folded.startswith(called) and _AFTER_NAME.match(folded, len(called)):
            return id_
    return None


async def _alias(member: Principal, rest: str) -> str | None:
    found = _ALIAS.match(rest)
    if found is None:
        return None
    alias = found.group().rstrip(_NO_ALIAS_END)
    try:
        return await answering().choose_model(principal=member, alias=alias)
    except NotFound:
        return None
