"""How hard a Gemini model is to think. Up to 2.5 they take a budget of tokens, from 3 on a level instead; what each
effort is worth is what Google's own OpenAI-compatible API makes of it."""

from fnmatch import fnmatchcase

from providers.errors import Unsupported
from providers.types import ChatRequest

BY_BUDGET = ("gemini-1*", "gemini-2*")
"""Models that take a budget; all others take a level."""
ONLY_LOW_OR_MORE = ("gemini-3-pro*", "gemini-3*-pro*")
"""Models that don't know the level `minimal`."""

BUDGETS = {"none": 0, "minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576, "xhigh": 24_576}
LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
_AT_MOST = ((0, "minimal"), (1_024, "low"), (8_192, "medium"))
"""Budgets in tokens, and the level that comes nearest."""


def thinking_config(request: ChatRequest, *, model: str) -> dict[str, object] | None:
    """The `thinkingConfig` of a request; None if it says nothing of thinking. Raises Unsupported for an effort that is
    none."""
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if effort is None and budget is None:
        return None
    if effort is not None and effort not in BUDGETS:
        raise Unsupported(param="reasoning_effort")
    if _is_one_of(model, BY_BUDGET):
        tokens = budget if budget is not None else BUDGETS[effort or "medium"]
        return {"thinkingBudget": tokens, "includeThoughts": tokens != 0}
    level = LEVELS[effort or "medium"] if budget is None else _level(budget)
    if level == "minimal" and _is_one_of(model, ONLY_LOW_OR_MORE):
        level = "low"
    return {"thinkingLevel": level, "includeThoughts": effort != "none" and budget != 0}


def _level(budget: int) -> str:
    return next((level for tokens, level in _AT_MOST if 0 <= budget <= tokens), "high")


def _is_one_of(model: str, patterns: tuple[str, ...]) -> bool:
    name = model.rsplit("/", 1)[-1].lower()
    return any(fnmatchcase(name, pattern) for pattern in patterns)
