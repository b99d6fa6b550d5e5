"""How Claude models differ in what they can be told, as data.

Facts are found by the longest pattern that fits the model's name. A model that no pattern knows is taken for a new one."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

MIN_BUDGET = 1_024
"""Tokens: the least that a model can be told to think."""

BUDGETS: dict[str, int] = {
    "minimal": MIN_BUDGET,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 65_536,
}
"""What an effort is in tokens, for models that are told a number; and the reverse for those that are told an effort."""

EFFORTS: dict[str, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""What the efforts of all formats are called in this one."""

SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True, slots=True)
class Facts:
    """`thinking` says how a model is told to think: never, by a `budget` of tokens, or by effort (`adaptive`);
    `sampling` whether it takes `SAMPLING`."""

    thinking: Literal["never", "budget", "adaptive"] = "adaptive"
    sampling: bool = True


FACTS: dict[str, Facts] = {
    "claude-3-*": Facts("never"),
    "claude-3-5-*": Facts("never"),
    "claude-3-7-*": Facts("budget"),
    "claude-*-4-2025*": Facts("budget"),
    "claude-*-4-0*": Facts("budget"),
    "claude-*-4-1*": Facts("budget"),
    "claude-*-4-5*": Facts("budget"),
    "claude-*-4-6*": Facts("adaptive"),
    "claude-*-4-7*": Facts("adaptive", sampling=False),
    "claude-*-4-8*": Facts("adaptive", sampling=False),
    "claude-*-5*": Facts("adaptive", sampling=False),
    "claude-mythos-*": Facts("adaptive", sampling=False),
}
NEW = Facts()


def facts(model: str) -> Facts:
    """What is known of a model, by the upstream's name for it."""
    name = model.rsplit("/", 1)[-1].lower()
    fits = [pattern for pattern in FACTS if fnmatchcase(name, pattern)]
    return FACTS[max(fits, key=len)] if fits else NEW
