"""What texts are written in. Western letters in Helvetica, which every reader of PDF has; others in Noto Sans, of which what is
used is put into the file; Chinese, Japanese and Korean in the fonts that readers have for them; further scripts in the operator's
own fonts (`INVOICE_FONTS`). Names are never spelled in other letters: what no font has is a box, and so is what is written
from right to left, which would come out backwards."""

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby

from django.conf import settings
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

REGULAR, BOLD, NOTO = "Helvetica", "Helvetica-Bold", "ParleyFont"
CHINESE, JAPANESE, KOREAN = "STSong-Light", "HeiseiKakuGo-W5", "HYGothic-Medium"
SIGNS, BOX = "ZapfDingbats", "\u274f"
ELLIPSIS = "…"
TEXTS_KEPT = 20_000

_EAST_ASIAN = ((0x2E80, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF), (0xFF00, 0xFFEF))
_BACKWARDS = ("R", "AL")
_KANA, _HANGUL = (0x3040, 0x30FF), (0xAC00, 0xD7AF)

_PLAIN = frozenset(range(32, 127)) - frozenset(b"()\\")
_FIGURE, _POINT, _DASH = 0.556, 0.278, 0.333
"""Helvetica's metrics."""

Run = tuple[str, str]
"""A font, and the text that it writes."""


@cache
def _embedded() -> tuple[tuple[str, frozenset[int]], ...]:
    """The fonts that are put into files, and the characters of each: Noto Sans, then the operator's."""
    folder = files("fontpkg_noto_sans").joinpath("files")
    found = []
    for number, path in enumerate((str(folder.joinpath("NotoSans[wdth,wght].ttf")), *settings.INVOICE_FONTS)):
        name = f"{NOTO}{number}"
        font = TTFont(name, path)
        pdfmetrics.registerFont(font)
        found.append((name, frozenset(font.face.charToGlyph)))
    for name in (CHINESE, JAPANESE, KOREAN):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return tuple(found)


@lru_cache(maxsize=TEXTS_KEPT)
def runs_of(text: str, font: str = REGULAR) -> tuple[Run, ...]:
    """The text, as runs of one font each."""
    if is_western(text):
        return ((font, text),)
    text = "".join(BOX if unicodedata.bidirectional(letter) in _BACKWARDS else letter for letter in text)
    for name, known in _embedded():
        if all(ord(letter) in known for letter in text):
            return ((name, text),)
    east_asian = _east_asian_of(text)
    chosen = [_font_of(letter, font, east_asian) for letter in text]
    return tuple((name, "".join(one[1] for one in part)) for name, part in groupby(chosen, key=lambda one: one[0]))


def width_of(text: str, size: float, font: str = REGULAR) -> float:
    """How wide a text is, in points."""
    return sum(float(pdfmetrics.stringWidth(part, name, size)) for name, part in runs_of(text, font))


@lru_cache(maxsize=TEXTS_KEPT)
def cut(text: str, width: float, size: float, font: str = REGULAR) -> str:
    """As much of a text as fits a width, with an ellipsis where that isn't all."""
    if width_of(text, size, font) <= width:
        return text
    least, most = 0, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if width_of(text[:middle].rstrip() + ELLIPSIS, size, font) <= width:
            least = middle
        else:
            most = middle - 1
    return text[:least].rstrip() + ELLIPSIS


@lru_cache(maxsize=TEXTS_KEPT)
def literal(text: str) -> str:
    """A western text as PDF writes it in `REGULAR` (ISO 32000-1, 7.3.4.2): what isn't plain is an octal number."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode("cp1252"))


def figures_width(text: str) -> float:
    """How wide a number is in `REGULAR` of size 1: all its figures are equally wide, and so are its points and commas."""
    points = text.count(".") + text.count(",")
    dashes = text.count("-")
    return (len(text) - points - dashes) * _FIGURE + points * _POINT + dashes * _DASH


def wrap(text: str, width: float, size: float, *, lines: int, font: str = REGULAR) -> list[str]:
    """A text in lines that fit a width: broken between words, within a word that is longer than a line; at most so many."""
    found: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in _pieces(paragraph.split(), width, size, font):
            longer = f"{line} {word}".strip()
            if line and width_of(longer, size, font) > width:
                found.append(line)
                line = word
            else:
                line = longer
        if line:
            found.append(line)
    if len(found) > lines:
        found[lines - 1] = cut(f"{found[lines - 1]} {found[lines]}", width, size, font)
    return found[:lines]


def _pieces(words: Iterable[str], width: float, size: float, font: str) -> Iterable[str]:
    for word in words:
        rest = word
        while width_of(rest, size, font) > width and len(rest) > 1:
            end = next((n for n in range(len(rest) - 1, 1, -1) if width_of(rest[:n], size, font) <= width), 1)
            yield rest[:end]
            rest = rest[end:]
        yield rest


def is_western(text: str) -> bool:
    """Whether `REGULAR` has all its letters."""
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def _font_of(letter: str, font: str, east_asian: str) -> Run:
    if is_western(letter):
        return font, letter
    code = ord(letter)
    for name, known in _embedded():
        if code in known:
            return name, letter
    if any(first <= code <= last for first, last in _EAST_ASIAN):
        return (KOREAN if _within(code, _HANGUL) else east_asian), letter
    return SIGNS, BOX


def _east_asian_of(text: str) -> str:
    """Chinese characters look different in Japanese; whoever also writes kana means those."""
    return JAPANESE if any(_within(ord(letter), _KANA) for letter in text) else CHINESE


def _within(code: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= code <= bounds[1]
