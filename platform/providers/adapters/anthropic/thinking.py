"""How much a model is to think: an effort or a number of tokens, as other formats say it, in the words that a model of
this one takes."""

from typing import NamedTuple

from providers.adapters.anthropic.facts import BUDGETS, EFFORTS, MIN_BUDGET, facts
from providers.errors import Unsupported
from providers.types import ChatRequest, ReasoningPart

NO_EFFORT = "none"


class Thinking(NamedTuple):
    """The fields `thinking` and `output_config.effort` of a request; None for what is not said."""

    config: dict[str, object] | None = None
    effort: str | None = None


NOT_SAID = Thinking()


def as_came(request: ChatRequest) -> Thinking:
    """Of a request that came in this format: what it said."""
    budget = request.reasoning_budget
    config: dict[str, object] | None = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    return Thinking(config, request.reasoning_effort)


def translated(request: ChatRequest, *, model: str, cap: int) -> Thinking:
    """Of a request in another format, whose answer may have `cap` tokens. Raises Unsupported for a model that can't
    think, or an effort that nobody knows."""
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if effort is None and budget is None:
        return NOT_SAID
    kind = facts(model).thinking
    if effort == NO_EFFORT or budget == 0:
        return Thinking({"type": "disabled"}) if kind == "adaptive" else NOT_SAID
    if kind == "never" or (budget is None and effort not in EFFORTS):
        raise Unsupported(param="reasoning_budget" if effort is None else "reasoning_effort")
    if kind == "adaptive":
        return Thinking({"type": "adaptive"}, EFFORTS[effort] if effort in EFFORTS else _effort(budget or 0))
    tokens = BUDGETS[str(effort)] if budget is None else budget
    tokens = min(max(tokens, MIN_BUDGET), cap - 1)
    # An answer that may not have as many tokens as the shortest thoughts is given without any; so is one that goes on from
    # calls which were made without thoughts, as far as is known here: with them it is refused.
    if _goes_on_without_thoughts(request):
        return NOT_SAID
    return Thinking({"type": "enabled", "budget_tokens": tokens}) if tokens >= MIN_BUDGET else NOT_SAID


def _goes_on_without_thoughts(request: ChatRequest) -> bool:
    """Whether the model is in the middle of a turn that doesn't begin with a thought it can check (a signed one)."""
    last = next((message for message in reversed(request.messages) if message.role == "assistant"), None)
    if last is None or not (last.tool_calls or last is request.messages[-1]):
        return False
    first = last.content[0] if last.content else None
    return not isinstance(first, ReasoningPart) or first.extras is None


def _effort(budget: int) -> str:
    """The least effort whose thoughts have room for so many tokens."""
    return next((EFFORTS[effort] for effort, tokens in BUDGETS.items() if budget <= tokens), "max")
