"""inspect_in: refuse what a tenant's rules deny, and keep from the models what they mask."""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from kernel.errors import InvalidRequest
from providers.guardrails.mask import Mask
from providers.guardrails.rules import Rules
from providers.types import EmbeddingRequest, Message, Part, Request, TextPart, ToolCall


class ContentDenied(InvalidRequest):
    """The tenant's rules refuse what the request says."""

    code = "content_denied"


def inspect_in(request: Request, rules: Rules) -> Request:
    """The request as it may go on. Raises ContentDenied with the rule's name and where it found something."""
    if rules.deny:
        for param, text in _texts(request):
            _check(text, param, rules)
    if rules.masks and rules.mask_input:
        return _masked(request, Mask(secrets=rules.mask_secrets, cards=rules.mask_cards).text)
    return request


def _check(text: str, param: str, rules: Rules) -> None:
    # RE2 counts in bytes of UTF-8 or in characters by the type it is given; both searches get the same.
    for rule in rules.deny:
        for found in rule.expression.finditer(text):
            if not any(
                forgiven.start() <= found.start() and found.end() <= forgiven.end()
                for allowed in rules.allow
                for forgiven in allowed.finditer(text)
            ):
                raise ContentDenied(
                    f"Your organisation's rule {rule.name!r} refuses this.", details={"param": param, "rule": rule.name}
                )


def _texts(request: Request) -> Iterator[tuple[str, str]]:
    if isinstance(request, EmbeddingRequest):
        yield from ((f"input[{i}]", item) for i, item in enumerate(request.inputs) if isinstance(item, str))
        return
    for i, message in enumerate(request.messages):
        if message.text:
            yield f"messages[{i}]", message.text
        for call in message.tool_calls:
            if isinstance(call, ToolCall):
                yield f"messages[{i}].tool_calls", call.arguments
    if request.suffix:
        yield "suffix", request.suffix


def _masked(request: Request, mask: Callable[[str], str]) -> Request:
    if isinstance(request, EmbeddingRequest):
        return replace(request, inputs=tuple(mask(i) if isinstance(i, str) else i for i in request.inputs))
    return replace(request, messages=tuple(_masked_message(message, mask) for message in request.messages))


def _masked_message(message: Message, mask: Callable[[str], str]) -> Message:
    return replace(
        message,
        content=tuple(_masked_part(part, mask) for part in message.content),
        tool_calls=tuple(
            replace(call, arguments=mask(call.arguments)) if isinstance(call, ToolCall) else call
            for call in message.tool_calls
        ),
    )


def _masked_part(part: Part, mask: Callable[[str], str]) -> Part:
    return replace(part, text=mask(part.text)) if isinstance(part, TextPart) else part
