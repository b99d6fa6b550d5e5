"""What is said without words: operators of code and arithmetic, flags of commands, symbols, how lines are indented."""

import re
import unicodedata

from providers.semantic.text import plain

_OPERATOR = re.compile(
    r"<=>|[=!]==?|[<>]=|<<|>>|->|=>|[-+*/%&|^]=|\*\*|//|&&|\|\||\+\+|::|:=|(?<=\w )\?\?(?= \w)|(?<=\d) ?[-+*/^] ?(?=\d)"
    r"|(?<![^\s(`'\"])-(?=\d)|[=<>|~^*]|(?<![^\s`])[-+/&!](?=\s\w+`)"
)
_FLAG = re.compile(r"(?<![^\s`'\"(])(?:--[A-Za-z][\w-]*|-[A-Za-z]\b)")
_ADDRESS = re.compile(r"https?://\S+")
_INDENT = re.compile(r"\n([ \t]+)(?=\S)")


def signs(text: str) -> tuple[str, ...]:
    """The signs in a text as it was written, sorted."""
    rest = _ADDRESS.sub(" ", plain(text))
    found = _FLAG.findall(rest)
    found += [one.strip() for one in _OPERATOR.findall(_FLAG.sub(" ", rest))]
    found += [letter for letter in rest if not letter.isascii() and unicodedata.category(letter) in {"So", "Sm"}]
    found += [f"indent {len(indent)}" for indent in _INDENT.findall(text)]
    return tuple(sorted(found))
