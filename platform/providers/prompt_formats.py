"""How conversations are written out for models behind servers that only continue text: a template per family, as data.

ChatML is OpenAI's, used by Qwen, SmolLM and many others; `llama-3` is in Meta's model card of Llama 3; `mistral-instruct`
in Mistral's documentation of its instruct models, which know no system role: it goes with the first question."""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from providers.errors import Unsupported
from providers.translate import SAYS_NOTHING
from providers.types import ChatRequest, Message, TextPart


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """`turns` holds a template per role, with `{text}`; `answer` is what the model goes on from, and `stops` what it ends
    its turn with. A format without a system template puts it before the first question."""

    turns: Mapping[str, str]
    answer: str
    stops: tuple[str, ...]
    begin: str = ""


PROMPT_FORMATS: Mapping[str, PromptFormat] = {
    "chatml": PromptFormat(
        turns={
            "system": "<|im_start|>system\n{text}<|im_end|>\n",
            "user": "<|im_start|>user\n{text}<|im_end|>\n",
            "assistant": "<|im_start|>assistant\n{text}<|im_end|>\n",
        },
        answer="<|im_start|>assistant\n",
        stops=("<|im_end|>",),
    ),
    "llama-3": PromptFormat(
        turns={
            "system": "<|start_header_id|>system<|end_header_id|>\n\n{text}<|eot_id|>",
            "user": "<|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>",
            "assistant": "<|start_header_id|>assistant<|end_header_id|>\n\n{text}<|eot_id|>",
        },
        answer="<|start_header_id|>assistant<|end_header_id|>\n\n",
        stops=("<|eot_id|>",),
        begin="<|begin_of_text|>",
    ),
    "mistral-instruct": PromptFormat(
        turns={"user": "[INST] {text} [/INST]", "assistant": " {text}</s>"}, answer="", stops=("</s>",), begin="<s>"
    ),
    "plain": PromptFormat(
        turns={"system": "{text}\n\n", "user": "User: {text}\n", "assistant": "Assistant: {text}\n"},
        answer="Assistant:",
        stops=("\nUser:",),
    ),
}
ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}


def marks(prompt_format: PromptFormat) -> frozenset[str]:
    """What the format itself means something by, which nobody may say in its name."""
    said = [*prompt_format.stops, prompt_format.begin, *prompt_format.turns.values(), prompt_format.answer]
    pieces = {piece for text in said for piece in text.replace("{text}", "\n").split("\n")}
    return frozenset(piece.strip() for piece in pieces if piece.strip().startswith(("<", "[")))


def as_text(request: ChatRequest, name: str) -> ChatRequest:
    """The request as one text to be continued. Raises Unsupported, naming what can't be written so: tools, images, a
    format of the answer."""
    prompt_format = PROMPT_FORMATS.get(name)
    if prompt_format is None:
        raise Unsupported(f"There is no prompt format {name!r}.", param="prompt_format")
    if request.as_text:
        return request
    for field in ("tools", "tool_choice", "response_format"):
        if getattr(request, field) and getattr(request, field) != SAYS_NOTHING.get(field):
            raise Unsupported(f"A model that only continues text can't be given `{field}`.", param=field)
    turns = _turns(request, prompt_format)
    text = prompt_format.begin + "".join(prompt_format.turns[role].format(text=said) for role, said in turns)
    stops = (*request.stop, *(stop for stop in prompt_format.stops if stop not in request.stop))
    prompt = Message("user", (TextPart(text + prompt_format.answer),))
    return replace(request, messages=(prompt,), as_text=True, stop=stops, parallel_tool_calls=None)


def _turns(request: ChatRequest, prompt_format: PromptFormat) -> list[tuple[str, str]]:
    forbidden = marks(prompt_format)
    turns: list[tuple[str, str]] = []
    for number, message in enumerate(request.messages):
        role = ROLES.get(message.role)
        if role is None or message.tool_calls or any(not isinstance(part, TextPart) for part in message.content):
            raise Unsupported("A model that only continues text reads only text.", param=f"messages[{number}]")
        text = message.text
        for mark in forbidden:
            # Whoever writes the format's own marks would speak in another's name.
            text = text.replace(mark, mark[0] + " " + mark[1:])
        if role in prompt_format.turns:
            turns.append((role, text))
        else:
            turns.append(("user-to-be", text))
    return _joined(turns)


def _joined(turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What has no turn of its own goes before the next question."""
    found: list[tuple[str, str]] = []
    before: list[str] = []
    for role, text in turns:
        if role == "user-to-be":
            before.append(text)
        elif role == "user" and before:
            found.append((role, "\n\n".join((*before, text))))
            before = []
        else:
            found.append((role, text))
    if before:
        found.append(("user", "\n\n".join(before)))
    return found
