"""A tenant's rules, compiled. Expressions are RE2's: they run in time linear in the text, whatever a tenant writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from kernel.errors import InvalidRequest

MAX_EXPRESSIONS = 200
MAX_EXPRESSION_CHARS = 1_000
MAX_NAME_CHARS = 64
_MEMORY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DenyRule:
    """Refuses what `expression` finds. Callers are told the `name`, never the expression."""

    name: str
    expression: Any


@dataclass(frozen=True, slots=True)
class Rules:
    """What a tenant wants inspected. `allow` forgives what a deny rule finds inside of it.

    With `mask_input` secrets and card numbers are also kept from the models, not only from the answers.
    With `capture_days` the contents of requests to /v1 are kept that long for the tenant's own eyes."""

    deny: tuple[DenyRule, ...] = ()
    allow: tuple[Any, ...] = ()
    mask_secrets: bool = False
    mask_cards: bool = False
    mask_input: bool = False
    capture_days: int | None = None

    @property
    def masks(self) -> bool:
        """Whether answers are looked through."""
        return self.mask_secrets or self.mask_cards


NO_RULES = Rules()


def compile_expression(expression: str) -> Any:
    """The compiled expression. Raises InvalidRequest with what RE2 says of it."""
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(expression, options=options)
    except re2.error as error:
        said = error.args[0] if error.args else b""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise InvalidRequest(f"The expression {expression[:80]!r} is not valid: {words}.") from error


def compile_rules(
    *,
    deny: Sequence[Mapping[str, str]],
    allow: Sequence[str],
    mask_secrets: bool,
    mask_cards: bool,
    mask_input: bool,
    capture_days: int | None,
) -> Rules:
    """The rules of stored values. `deny` holds `{name, expression}`."""
    return Rules(
        deny=tuple(DenyRule(item["name"], compile_expression(item["expression"])) for item in deny),
        allow=tuple(compile_expression(item) for item in allow),
        mask_secrets=mask_secrets,
        mask_cards=mask_cards,
        mask_input=mask_input,
        capture_days=capture_days,
    )
