"""The list of models in OpenAI's format."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Listed(Protocol):
    """A model to list: its alias, who provides it, and since when (seconds since 1970)."""

    @property
    def alias(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def created(self) -> int: ...


def encode_models(models: Sequence[Listed]) -> bytes:
    """The body of `GET /v1/models`."""
    return msgspec.json.encode({"object": "list", "data": [_model(model) for model in models]})


def encode_model(model: Listed) -> bytes:
    """The body of `GET /v1/models/{alias}`."""
    return msgspec.json.encode(_model(model))


def _model(model: Listed) -> dict[str, object]:
    return {"id": model.alias, "object": "model", "created": model.created, "owned_by": model.provider}
