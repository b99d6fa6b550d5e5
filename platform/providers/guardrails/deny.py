"""inspect_in: refuse what a tenant's rules deny, and keep from the models what they mask."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from kernel.errors import InvalidRequest
from providers.guardrails.mask import Mask, masked_value
from providers.guardrails.rules import Rules
from providers.types import (
    EmbeddingRequest,
    Extras,
    FunctionTool,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    Request,
    ResponseFormat,
    TextPart,
    ToolCall,
)


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
    forgiven = _Forgiven(text, rules)
    for rule in rules.deny:
        for found in rule.expression.finditer(text):
            if not forgiven.holds(found.start(), found.end()):
                raise ContentDenied(
                    f"Your organisation's rule {rule.name!r} refuses this.", details={"param": param, "rule": rule.name}
                )


class _Forgiven:
    """Where a text is allowed: found once, at the first denial, however many there are."""

    def __init__(self, text: str, rules: Rules) -> None:
        self._text = text
        self._rules = rules

    @cached_property
    def _spans(self) -> list[tuple[list[int], list[int]]]:
        """Of each expression the starts and ends of what it finds, in order; matches of one don't overlap."""
        spans = []
        for allowed in self._rules.allow:
            found = [match.span() for match in allowed.finditer(self._text)]
            spans.append(([start for start, _ in found], [end for _, end in found]))
        return spans

    def holds(self, start: int, end: int) -> bool:
        """Whether one match of an allowing expression covers this."""
        for starts, ends in self._spans:
            before = bisect_right(starts, start)
            if before and end <= ends[before - 1]:
                return True
        return False


def _texts(request: Request) -> Iterator[tuple[str, str]]:
    if isinstance(request, EmbeddingRequest):
        yield from ((f"input[{i}]", item) for i, item in enumerate(request.inputs) if isinstance(item, str))
        return
    for i, message in enumerate(request.messages):
        yield from ((f"messages[{i}]{where}", text) for where, text in _texts_of_message(message))
    for i, tool in enumerate(request.tools):
        yield from ((f"tools[{i}]", text) for text in _strings(_described(tool)))
    if request.response_format is not None:
        yield from (("response_format", text) for text in _strings(_described(request.response_format)))
    if request.suffix:
        yield "suffix", request.suffix
    if request.extras is not None:
        yield from ((name, text) for name, said in _said(request.extras).items() for text in _strings(said))


def _texts_of_message(message: Message) -> Iterator[tuple[str, str]]:
    if message.text:
        yield "", message.text
    for j, part in enumerate(message.content):
        if isinstance(part, Opaque):
            yield from ((f".content[{j}]", text) for text in _strings(_said(part.extras)))
        elif isinstance(part, ReasoningPart):
            yield f".content[{j}]", part.text
    for call in message.tool_calls:
        said = call.arguments if isinstance(call, ToolCall) else _said(call.extras)
        yield from ((".tool_calls", text) for text in _strings(said))
    if message.extras is not None:
        yield from (("", text) for text in _strings(_said(message.extras)))


def _masked(request: Request, mask: Callable[[str], str]) -> Request:
    if isinstance(request, EmbeddingRequest):
        return replace(request, inputs=tuple(mask(i) if isinstance(i, str) else i for i in request.inputs))
    return replace(
        request,
        messages=tuple(_masked_message(message, mask) for message in request.messages),
        tools=tuple(_masked_tool(tool, mask) for tool in request.tools),
        extras=_masked_extras(request.extras, mask),
    )


def _masked_message(message: Message, mask: Callable[[str], str]) -> Message:
    return replace(
        message,
        content=tuple(_masked_part(part, mask) for part in message.content),
        tool_calls=tuple(
            replace(call, arguments=mask(call.arguments)) if isinstance(call, ToolCall) else _masked_opaque(call, mask)
            for call in message.tool_calls
        ),
        extras=_masked_extras(message.extras, mask),
    )


def _masked_part(part: Part, mask: Callable[[str], str]) -> Part:
    match part:
        case Opaque():
            return _masked_opaque(part, mask)
        case TextPart():
            return replace(part, text=mask(part.text))
        case ReasoningPart() if (masked := mask(part.text)) != part.text:
            # Signed is what it was before.
            return ReasoningPart(masked)
    return part


def _masked_tool(tool: FunctionTool | Opaque, mask: Callable[[str], str]) -> FunctionTool | Opaque:
    if isinstance(tool, Opaque):
        return _masked_opaque(tool, mask)
    description, parameters = tool.description, tool.parameters
    if parameters is not None:
        said = _read(parameters)
        masked = masked_value(said, mask)
        parameters = parameters if masked == said else Raw(msgspec.json.encode(masked))
    return replace(tool, description=description and mask(description), parameters=parameters)


def _described(value: FunctionTool | ResponseFormat | Opaque) -> list[Any]:
    """What models are told of a tool, or of how they shall answer."""
    if isinstance(value, Opaque):
        return [_said(value.extras)]
    schema = value.parameters if isinstance(value, FunctionTool) else value.schema
    extras = {} if value.extras is None else _said(value.extras)
    return [value.name, value.description, None if schema is None else _read(schema), extras]


def _said(extras: Extras) -> dict[str, Any]:
    """What only one format knows."""
    return {name: _read(value) for name, value in extras.fields.items()}


def _read(value: Raw) -> Any:
    """A JSON value. Raises InvalidRequest where it can't be told what it says."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest("A part of the request can't be read.") from error


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, but the names of types."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            for name, item in value.items():
                if name != "type" or not isinstance(item, str):
                    yield from _strings(item)


def _masked_opaque(opaque: Opaque, mask: Callable[[str], str]) -> Opaque:
    masked = _masked_extras(opaque.extras, mask)
    return opaque if masked is None or masked is opaque.extras else replace(opaque, extras=masked)


def _masked_extras(extras: Extras | None, mask: Callable[[str], str]) -> Extras | None:
    if extras is None:
        return None
    said = _said(extras)
    masked = masked_value(said, mask)
    if masked == said:
        return extras
    fields = {
        name: extras.fields[name] if masked[name] == said[name] else Raw(msgspec.json.encode(masked[name]))
        for name in said
    }
    return replace(extras, fields=fields)
