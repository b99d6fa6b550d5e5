"""Which requests may be answered from the semantic cache at all.

A request is eligible if its answer is a text that depends on nothing but the question and what stands before it.
Whatever is said before the last turn is part of the scope (`context.context_key`); the last turn itself must make
sense alone, so that its vector means what it asks, and must not ask about now, here, or the one who asks. The rules
are patterns in `data/eligibility.toml` and fail closed.

*About the one who asks* means that the answer is a fact about them: the value or the state of something of theirs
("what is my balance", "where is my order", "did my payment go through"). That something is theirs does not make it
so: "how do I activate my card" and "why was my card declined" ask how things work, and have one answer for all who
are told the same in the turns before."""

import re
import tomllib
from functools import cache
from pathlib import Path

from providers.semantic import guard, references
from providers.semantic.context import context_key
from providers.semantic.text import folded, plain
from providers.semantic.values import Question
from providers.types import ChatRequest, Message, ReasoningPart, TextPart, ToolChoice

MAX_QUESTION_CHARS = 600
"""About 130 tokens: what is longer is more than a question, and its vector says little of each part."""
DEFAULT_TEMPERATURE = 1.0
"""What providers use when a request says none."""
_SENTENCES = re.compile(r"(?<=[.?!]) ")
_ASKS = re.compile(
    r"(?:please |can you |could you )*(?:what|where|when|why|who|which|how|is|are|was|were|do|does|did|can|could|will|would|"
    r"should|tell|explain|show|give|help|let|check|look)\b"
)
_PATTERNS = Path(__file__).parent / "data" / "eligibility.toml"
_ASK = r"(?:^|[.?!;,:]\s*|\b(?:hi|hello|hey|please|and|but|so|now)[ ,]+)(?:(?:can|could|would|will) you )?(?:please )?"


def question_of(request: ChatRequest, *, max_temperature: float) -> Question | str:
    """The question of an eligible request; otherwise the reason why it isn't: a short code."""
    if (reason := _unfit(request, max_temperature)) is not None:
        return reason
    text = request.messages[-1].text.strip()
    if (reason := why_not(text)) is not None:
        return reason
    try:
        key = context_key(request)
    except UnicodeError:
        key = None
    if key is None:
        return "unknown_parameter"
    return Question(text, guard.features_of(text), key)


def why_not(text: str) -> str | None:
    """Why a last turn of these words is not eligible (`empty`, `too_long`, `not_self_contained`, `now`, `chance`,
    `here`, `me`), or None."""
    if len(text) > MAX_QUESTION_CHARS:
        return "too_long"
    low = folded(text)
    if not re.search(r"[^\W\d_]{2}", low):
        return "empty"
    for reason, pattern in _patterns():
        if pattern.search(_asking(low) if reason == "now" else low):
            return reason
    return None if references.resolved(plain(text), low) else "not_self_contained"


def _asking(low: str) -> str:
    """The sentences that ask, if some do and others tell what happened: "I paid yesterday. How long does it take?"
    isn't about yesterday."""
    sentences = _SENTENCES.split(low)
    asking = [one for one in sentences if one.endswith("?") or _ASKS.match(one)]
    return " ".join(asking or sentences)


def _unfit(request: ChatRequest, max_temperature: float) -> str | None:
    temperature = DEFAULT_TEMPERATURE if request.temperature is None else request.temperature
    if temperature > max_temperature:
        return "temperature"
    if request.n != 1 or request.logprobs or request.as_text:
        return "shape"
    if request.tools and not (isinstance(request.tool_choice, ToolChoice) and request.tool_choice.mode == "none"):
        return "tools"
    if not request.messages or request.messages[-1].role != "user":
        return "last_turn"
    return next((reason for message in request.messages if (reason := _holds_more(message))), None)


def _holds_more(message: Message) -> str | None:
    if message.role in {"tool", "function"} or message.tool_calls or message.tool_call_id:
        return "tools"
    return None if all(isinstance(part, TextPart | ReasoningPart) for part in message.content) else "files"


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """All patterns of a reason as one, in the order of the file."""
    read = tomllib.loads(_PATTERNS.read_text())
    return tuple(
        (reason, re.compile("|".join(f"(?:{pattern.replace('{ask}', _ASK)})" for pattern in patterns)))
        for reason, patterns in read.items()
    )
