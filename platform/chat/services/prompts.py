"""The prompt library: texts with `{{variables}}`, and what they say once those have values."""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chat.bounds import (
    MESSAGE_CHARS_MAX,
    PROMPT_CHARS_MAX,
    PROMPT_VARIABLES_MAX,
    VARIABLE_DEFAULT_CHARS_MAX,
    VARIABLE_LABEL_CHARS_MAX,
    VARIABLE_NAME_CHARS_MAX,
)
from chat.checks import check_text
from chat.services import library
from kernel.errors import InvalidRequest
from tenants.principals import Principal

_NAME = rf"[A-Za-z][A-Za-z0-9_]{{0,{VARIABLE_NAME_CHARS_MAX - 1}}}"
_IS_NAME = re.compile(_NAME)
_PLACE = re.compile(rf"\{{\{{ {{0,4}}({_NAME}) {{0,4}}\}}\}}")
"""Where a value goes. Braces around anything else are text."""


class Variable(msgspec.Struct, frozen=True):
    """A value to be given. `label` says for people what is wanted; without a value the `default` stands, if there is one."""

    name: str
    label: str = ""
    default: str | None = None
    required: bool = True


class PromptShape(msgspec.Struct, frozen=True):
    """A prompt. `owner` is a membership."""

    id: uuid.UUID
    owner: uuid.UUID
    name: str
    visibility: str
    text: str
    variables: tuple[Variable, ...]
    version: int
    created_at: datetime
    updated_at: datetime


class PromptChange(msgspec.Struct, frozen=True):
    """What to change; what isn't set stays. `variables` are set as a whole."""

    name: str | UnsetType = UNSET
    visibility: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    variables: tuple[Variable, ...] | UnsetType = UNSET


PROMPTS = library.Shelf("prompt", "chat_prompt", ("text", "variables"), PromptShape)


async def create_prompt(
    *, member: Principal, name: str, text: str, variables: tuple[Variable, ...] = (), visibility: str = "personal"
) -> PromptShape:
    """A new prompt of the member's. Raises as `library.add` does, and `InvalidRequest` for a place without a variable."""
    _check(text, variables)
    values = {"text": text, "variables": _plain(variables)}
    return await library.add(PROMPTS, member=member, name=name, visibility=visibility, values=values)


async def update_prompt(*, member: Principal, prompt_id: uuid.UUID, version: int, change: PromptChange) -> PromptShape:
    """Change a prompt as it was read at `version`. Raises as `library.change` does, and as `create_prompt`."""
    now = await library.current(PROMPTS, member=member, id_=prompt_id, version=version)
    _check(
        now.text if change.text is UNSET else change.text,
        now.variables if change.variables is UNSET else change.variables,
    )
    values: dict[str, Any] = msgspec.to_builtins(change)
    if change.variables is not UNSET:
        values["variables"] = _plain(change.variables)
    return await library.change(PROMPTS, member=member, id_=prompt_id, version=version, values=values)


async def render_prompt(*, member: Principal, prompt_id: uuid.UUID, values: Mapping[str, str]) -> str:
    """What a prompt says with these values. Raises `NotFound`, `PermissionDenied`, and `InvalidRequest` as `render`."""
    prompt = await library.read(PROMPTS, member=member, id_=prompt_id)
    return render(prompt.text, prompt.variables, values)


def render(text: str, variables: Sequence[Variable], values: Mapping[str, str]) -> str:
    """The text with the values in their places. A value is put there as it is: places in it are text.

    Raises `InvalidRequest` that names unknown variables and required ones without a value, and for what is too long to be
    a message."""
    unknown = sorted(values.keys() - {variable.name for variable in variables})[:PROMPT_VARIABLES_MAX]
    filled = {variable.name: values.get(variable.name) or variable.default or "" for variable in variables}
    missing = [variable.name for variable in variables if variable.required and not filled[variable.name]]
    if unknown or missing:
        raise InvalidRequest(
            _said("unknown", unknown) + _said("missing", missing),
            details={"param": "values", "unknown": unknown, "missing": missing},
        )
    pieces: list[str] = []
    chars = end = 0
    for place in _PLACE.finditer(text):
        pieces += (text[end : place.start()], filled[place.group(1)])
        chars += len(pieces[-2]) + len(pieces[-1])
        end = place.end()
    if chars + len(text) - end > MESSAGE_CHARS_MAX:
        raise InvalidRequest(
            f"values: with these it is longer than {MESSAGE_CHARS_MAX:,} characters.", details={"param": "values"}
        )
    return check_text("".join((*pieces, text[end:])), field="values", chars_max=MESSAGE_CHARS_MAX, blank=True)


def _said(what: str, names: Sequence[str]) -> str:
    return f"values: {what}: {', '.join(names)}. " if names else ""


def _check(text: str, variables: Sequence[Variable]) -> None:
    check_text(text, field="text", chars_max=PROMPT_CHARS_MAX)
    if len(variables) > PROMPT_VARIABLES_MAX:
        raise _invalid(f"at most {PROMPT_VARIABLES_MAX}.")
    names = [variable.name for variable in variables]
    if len(set(names)) < len(names):
        raise _invalid("one name twice.")
    for variable in variables:
        if _IS_NAME.fullmatch(variable.name) is None:
            raise _invalid(f"a name is a letter, then at most {VARIABLE_NAME_CHARS_MAX - 1} letters, digits and _.")
        check_text(variable.label, field="variables", chars_max=VARIABLE_LABEL_CHARS_MAX, blank=True)
        check_text(variable.default or "", field="variables", chars_max=VARIABLE_DEFAULT_CHARS_MAX, blank=True)
    undeclared = sorted({place.group(1) for place in _PLACE.finditer(text)} - set(names))
    if undeclared:
        raise _invalid(f"the text names others: {', '.join(undeclared[:PROMPT_VARIABLES_MAX])}.")


def _plain(variables: Sequence[Variable]) -> list[Any]:
    return [msgspec.to_builtins(variable) for variable in variables]


def _invalid(why: str) -> InvalidRequest:
    return InvalidRequest(f"variables: {why}", details={"param": "variables"})
