"""How providers that share OpenAI's format differ, as data."""

from dataclasses import dataclass
from typing import Literal

CapField = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between them.

    `cap_field` names the output cap; None sends the name the caller used, or `max_tokens`.

    `usage_in_stream` says that `stream_options.include_usage` is understood, so that usage can be asked for.
    `developer_role` says that the role `developer` is known; where not, it is sent as `system`.
    """

    cap_field: CapField | None = None
    usage_in_stream: bool = True
    developer_role: bool = False


COMPATIBLE = Dialect()
OPENAI = Dialect(cap_field="max_completion_tokens", developer_role=True)
LEGACY_CAP = Dialect(cap_field="max_tokens")
MISTRAL = Dialect(cap_field="max_tokens", usage_in_stream=False)
"""Mistral always reports usage with the last chunk, and refuses fields it doesn't know."""
