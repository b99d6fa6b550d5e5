"""A conversation from elsewhere, in no product's words."""

from typing import Literal

import msgspec

Role = Literal["user", "assistant", "system", "tool"]
ROLES: tuple[Role, ...] = ("user", "assistant", "system", "tool")


class Said(msgspec.Struct, frozen=True):
    """A message: `key` and `parent` are the file's own words, `at` is in Unix seconds."""

    key: str
    parent: str | None
    role: Role
    name: str
    text: str
    at: float | None


class Conversation(msgspec.Struct, frozen=True):
    """Messages, each after the one that it follows. `leaf` is where the conversation was left; `skipped` names what could
    not be taken over."""

    source: str
    title: str
    at: float | None
    messages: tuple[Said, ...]
    leaf: str | None
    skipped: tuple[str, ...] = ()


class BadConversation(Exception):
    """A conversation can't be taken over: a stable code, and why."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)
