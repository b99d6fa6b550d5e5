"""Presets: a model, what it is told first and how it is asked, kept under a name for rooms to use."""

import uuid
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chat.answering import answering
from chat.bounds import INSTRUCTIONS_CHARS_MAX
from chat.checks import check_text
from chat.parameters import PLAIN, Parameters, check_parameters
from chat.services import library
from tenants.principals import Principal


class PresetShape(msgspec.Struct, frozen=True):
    """A preset. `owner` is a membership."""

    id: uuid.UUID
    owner: uuid.UUID
    name: str
    visibility: str
    model: str | None
    instructions: str
    parameters: Parameters
    version: int
    created_at: datetime
    updated_at: datetime


class PresetChange(msgspec.Struct, frozen=True):
    """What to change; what isn't set stays. `parameters` are set as a whole."""

    name: str | UnsetType = UNSET
    visibility: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


PRESETS = library.Shelf("preset", "chat_preset", ("model", "instructions", "parameters"), PresetShape)


async def create_preset(
    *,
    member: Principal,
    name: str,
    visibility: str = "personal",
    model: str | None = None,
    instructions: str = "",
    parameters: Parameters = PLAIN,
) -> PresetShape:
    """A new preset of the member's. Raises `NotFound` for a model that isn't there for them, and as `library.add` does."""
    change = PresetChange(model=model, instructions=instructions, parameters=parameters)
    member.require("rooms.write")
    values = await _checked(member, change)
    return await library.add(PRESETS, member=member, name=name, visibility=visibility, values=values)


async def update_preset(*, member: Principal, preset_id: uuid.UUID, version: int, change: PresetChange) -> PresetShape:
    """Change a preset as it was read at `version`. Raises as `library.change` does, and `NotFound` for the model."""
    await library.current(PRESETS, member=member, id_=preset_id, version=version)
    values = await _checked(member, change)
    return await library.change(PRESETS, member=member, id_=preset_id, version=version, values=values)


async def _checked(member: Principal, change: PresetChange) -> dict[str, Any]:
    """What is set, as it is stored."""
    if change.instructions is not UNSET:
        check_text(change.instructions, field="instructions", chars_max=INSTRUCTIONS_CHARS_MAX, blank=True)
    if change.parameters is not UNSET:
        check_parameters(change.parameters)
    if change.model is not UNSET and change.model is not None:
        await answering().choose_model(principal=member, alias=change.model)
    given: dict[str, Any] = msgspec.to_builtins(change)
    return given
