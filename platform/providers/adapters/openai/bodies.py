"""What reading the bodies of OpenAI's APIs has in common: bad ones are refused by the path of what is wrong, and what is
unknown is kept."""

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec
from msgspec import Raw, UnsetType

from kernel.errors import InvalidRequest

Fields = dict[str, Raw]
Shape = TypeVar("Shape")

fields_of = msgspec.json.Decoder(Fields).decode
"""The members of a JSON object, undecoded."""
list_of_fields = msgspec.json.Decoder(list[Fields]).decode

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_OTHER_MODELS = "models"
"""What aggregators (OpenRouter) may answer with in place of the model."""
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def read_body(body: bytes, shape: msgspec.json.Decoder[Shape]) -> tuple[Shape, Fields]:
    """A body in the shape it must have, and all its members as they came.

    Raises InvalidRequest, `details.param` being the path of what is wrong (`messages[2].content`), or None when the
    body as a whole is not what it should be. What no model's price and access could be held against is wrong, too."""
    try:
        body.decode()  # strings that are only skipped below would otherwise pass on unchecked
        asked, fields = shape.decode(body), fields_of(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}", details={"param": None}) from error
    except RecursionError as error:
        raise too_deep() from error
    if _OTHER_MODELS in fields and bytes(fields[_OTHER_MODELS]) not in (b"null", b"[]"):
        raise wrong(_OTHER_MODELS, "other models are those that the route of model falls back to")
    return asked, fields


def too_deep() -> InvalidRequest:
    """The error of a body whose parts are nested beyond what can be read."""
    return InvalidRequest("The body is nested too deeply.", details={"param": None})


def invalid(error: msgspec.ValidationError) -> InvalidRequest:
    """The error of what is not in the shape it must have."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"]) if match else (str(error), None)
    missing = _MISSING.search(what)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        what = "it is required"
    return wrong(path, what[:1].lower() + what[1:])


def wrong(param: str | None, what: str) -> InvalidRequest:
    """The error of a parameter that is not valid; `what` says why, as the second half of a sentence."""
    place = f"`{param}` is not valid" if param else "The body is not valid"
    return InvalidRequest(f"{place}: {what.replace('`', '')}.", details={"param": param})


def without(fields: Fields, known: Collection[str]) -> Fields:
    """The members that are not known."""
    return {key: value for key, value in fields.items() if key not in known}


def inner(fields: Fields, key: str, known: Collection[str]) -> Fields:
    """What the object under `key` holds beyond what is known, as an overlay of its parent."""
    value = bytes(fields[key])
    rest = without(fields_of(value), known) if value.startswith(b"{") else {}
    return {key: Raw(msgspec.json.encode(rest))} if rest else {}


def given(raw: Raw | UnsetType | None) -> Raw | None:
    """The JSON, unless it is null or absent."""
    return None if raw is None or isinstance(raw, UnsetType) or bytes(raw) == b"null" else raw
