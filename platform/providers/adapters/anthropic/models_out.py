"""The list of models in Anthropic's format."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec


class Listed(Protocol):
    """A model to list: its alias, since when (seconds since 1970), and the tokens of its context."""

    @property
    def alias(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def context_tokens(self) -> int | None: ...


def encode_models(models: Sequence[Listed], *, has_more: bool) -> bytes:
    """The body of `GET /v1/models`: one page of them."""
    return msgspec.json.encode(
        {
            "data": [_model(model) for model in models],
            "has_more": has_more,
            "first_id": models[0].alias if models else None,
            "last_id": models[-1].alias if models else None,
        }
    )


def encode_model(model: Listed) -> bytes:
    """The body of `GET /v1/models/{alias}`."""
    return msgspec.json.encode(_model(model))


def _model(model: Listed) -> dict[str, object]:
    return {
        "type": "model",
        "id": model.alias,
        "display_name": model.alias,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens,
    }
