"""What may be said of a connection or of a deployment, whoever says it."""

import re

from kernel.errors import InvalidRequest
from providers.prompt_formats import PROMPT_FORMATS

_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


def check_region(region: str) -> str:
    """Where a connection's provider computes, as `providers.choice.distance` compares it; empty for unknown. Raises
    `InvalidRequest`."""
    if region and not _REGION.fullmatch(region):
        raise InvalidRequest(
            "region: up to 32 lower-case letters, digits and inner hyphens, such as eu-central-1.",
            details={"param": "region"},
        )
    return region


def check_prompt_format(name: str) -> str:
    """How a deployment's conversations are written out; empty for one that takes conversations. Raises `InvalidRequest`."""
    if name and name not in PROMPT_FORMATS:
        raise InvalidRequest(f"prompt_format: one of {', '.join(PROMPT_FORMATS)}.", details={"param": "prompt_format"})
    return name
