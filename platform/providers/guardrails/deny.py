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
from providers.types import EmbeddingRequest, Message, Opaque, Part, Request, TextPart, ToolCall


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
        if message.text:
            yield f"messages[{i}]", message.text
        for j, part in enumerate(message.content):
            if isinstance(part, Opaque):
                yield from ((f"messages[{i}].content[{j}]", text) for text in _strings(_said(part)))
        for call in message.tool_calls:
            if isinstance(call, ToolCall):
                yield f"messages[{i}].tool_calls", call.arguments
            else:
                yield from ((f"messages[{i}].tool_calls", text) for text in _strings(_said(call)))
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
            replace(call, arguments=mask(call.arguments)) if isinstance(call, ToolCall) else _masked_opaque(call, mask)
            for call in message.tool_calls
        ),
    )


def _masked_part(part: Part, mask: Callable[[str], str]) -> Part:
    if isinstance(part, Opaque):
        return _masked_opaque(part, mask)
    return replace(part, text=mask(part.text)) if isinstance(part, TextPart) else part


def _said(opaque: Opaque) -> dict[str, Any]:
    """What an opaque part holds. Raises InvalidRequest where that can't be told."""
    try:
        return {name: msgspec.json.decode(value) for name, value in opaque.extras.fields.items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"What is in the part {opaque.kind[:100]!r} can't be read.") from error


def _strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _strings(item)
        case dict():
            for item in value.values():
                yield from _strings(item)


def _masked_opaque(opaque: Opaque, mask: Callable[[str], str]) -> Opaque:
    said = _said(opaque)
    masked = masked_value(said, mask)
    if masked == said:
        return opaque
    fields = {
        name: opaque.extras.fields[name] if masked[name] == said[name] else Raw(msgspec.json.encode(masked[name]))
        for name in said
    }
    return replace(opaque, extras=replace(opaque.extras, fields=fields))
