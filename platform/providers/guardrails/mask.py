"""Secrets and card numbers in a text, replaced.

Secrets are known by the forms their issuers give them (prefixes and lengths as the issuers' documentation says); card numbers
by ISO/IEC 7812: 13 to 19 digits that begin with 3 to 6 and pass the Luhn check."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import re2

CARD_DIGITS_MIN, CARD_DIGITS_MAX = 13, 19
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
_NUMBERS = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,}")
_GROUP = re.compile(r"\d+")
_GROUP_DIGITS_MIN = 4
"""Of a card number among other numbers, all groups but the last have so many: a row of small numbers is none."""
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
            text = _NUMBERS.sub(_without_cards, text)
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


def _without_cards(found: re.Match[str]) -> str:
    """Numbers in a row without the card numbers among them, which others stand before and behind: an amount, the date, the
    code of the card."""
    row = found[0]
    groups = [group.span() for group in _GROUP.finditer(row)]
    pieces: list[str] = []
    position = first = 0
    while first < len(groups):
        last = _end_of_card(row, groups, first)
        if last is None:
            first += 1
            continue
        pieces += (row[position : groups[first][0]], CARD_SAYS)
        position, first = groups[last][1], last + 1
    return "".join((*pieces, row[position:]))


def _end_of_card(row: str, groups: Sequence[tuple[int, int]], first: int) -> int | None:
    """The group with which the longest card number ends that begins with the group `first`; None where none does."""
    if row[groups[first][0]] not in "3456":
        return None
    ends = None
    is_grouped, digits = True, ""
    for last in range(first, len(groups)):
        digits += row[slice(*groups[last])]
        if len(digits) > CARD_DIGITS_MAX:
            break
        is_all = first == 0 and last == len(groups) - 1
        if (is_grouped or is_all) and len(digits) >= CARD_DIGITS_MIN and passes_luhn([int(digit) for digit in digits]):
            ends = last
        is_grouped = is_grouped and groups[last][1] - groups[last][0] >= _GROUP_DIGITS_MIN
    return ends


def passes_luhn(digits: list[int]) -> bool:
    """Whether the last digit is the right check digit (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0
