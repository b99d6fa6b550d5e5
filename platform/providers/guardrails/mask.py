"""Secrets and card numbers in a text, replaced.

Secrets are known by the forms their issuers give them (prefixes and lengths as the issuers' documentation says); card numbers
by ISO/IEC 7812: 13 to 19 digits that begin with 3 to 6 and pass the Luhn check."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import re2

SECRET_SAYS = "[secret removed]"  # noqa: S105 - stands where one was
CARD_SAYS = "[card number removed]"

PEM_BEGINS = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")
PEM_ENDS = re.compile(r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----")

# RE2, because it runs in time linear in the text, whatever that is.
_SECRET = re2.compile(
    "|".join(
        (
            r"\bsk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter, Parley
            r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS access key ids
            r"\bAIza[0-9A-Za-z_-]{35}",  # Google
            r"\bgh[pousr]_[A-Za-z0-9]{36,}",  # GitHub
            r"\bgithub_pat_[A-Za-z0-9_]{22,}",
            r"\bglpat-[A-Za-z0-9_-]{20,}",  # GitLab
            r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",  # Slack
            r"\bhf_[A-Za-z0-9]{30,}",  # Hugging Face
            r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JSON Web Tokens (RFC 7519)
        )
    )
)
_CARD = re.compile(r"(?<![\d.])[3-6](?:[ -]?\d){12,18}(?![\d])")
_DIGITS = "0123456789"
_IN_SECRETS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" + _DIGITS + "_.+/=-"
_BEGINS_CARD = re.compile(r"[0-9.]")
_MIGHT_BE_PEM = re.compile(r"-{1,5}(?:B[A-Z0-9 ]*-{0,5})?\Z")


@dataclass(frozen=True, slots=True)
class Mask:
    """Which of the two is replaced."""

    secrets: bool
    cards: bool

    def text(self, text: str) -> str:
        """The text without them."""
        if self.secrets:
            text = _without_pem(text)
            text = _SECRET.sub(SECRET_SAYS, text)
        if self.cards:
            text = _CARD.sub(_card, text)
        return text

    def undecided(self, text: str) -> int:
        """Where the end of `text` begins that may be part of something to replace, depending on what follows."""
        # From the end backwards: a search for what reaches the end would begin anew at every character before.
        word = len(text.rstrip(_IN_SECRETS))
        starts = [len(text)]
        if self.secrets:
            starts.append(word)
            if pem := _MIGHT_BE_PEM.search(text):
                starts.append(pem.start())
        if self.cards:
            number = len(text[:word].rstrip(_DIGITS + " -"))
            if number and text[number - 1] == ".":
                number -= 1
            if card := _BEGINS_CARD.search(text, number):
                starts.append(card.start())
        return min(starts)


def masked_value(value: Any, mask: Callable[[str], str]) -> Any:
    """A JSON value whose every text is masked."""
    match value:
        case str():
            return mask(value)
        case list():
            return [masked_value(item, mask) for item in value]
        case dict():
            return {name: masked_value(item, mask) for name, item in value.items()}
    return value


def _without_pem(text: str) -> str:
    pieces: list[str] = []
    position = 0
    while begins := PEM_BEGINS.search(text, position):
        pieces += (text[position : begins.start()], SECRET_SAYS)
        ends = PEM_ENDS.search(text, begins.end())
        if ends is None:
            return "".join(pieces)
        position = ends.end()
    return "".join((*pieces, text[position:]))


def _card(found: re.Match[str]) -> str:
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    return CARD_SAYS if 13 <= len(digits) <= 19 and passes_luhn(digits) else found[0]


def passes_luhn(digits: list[int]) -> bool:
    """Whether the last digit is the right check digit (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0
