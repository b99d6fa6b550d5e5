"""The types of events that people are told of and endpoints are subscribed to: a list in code, to which each app adds its own."""

import re
from collections.abc import Mapping
from types import MappingProxyType

_NAME = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")
_known: dict[str, str] = {}

EVENT_TYPES: Mapping[str, str] = MappingProxyType(_known)
"""Name (`noun.what_happened`) → what it means, in a sentence."""


def event_type(name: str, meaning: str) -> None:
    """Add a type. Raises ValueError for a bad name, or one that is taken."""
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise ValueError(f"{name!r}: small letters and dots are needed, like invoice.paid")
    if _known.setdefault(name, meaning) != meaning:
        raise ValueError(f"{name} is an event type already")
