"""Numbers in digits and in words, with their units; dates and times; versions."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from providers.semantic.lexicon import lexicon

_VERSION = re.compile(
    r"\bv\d[\w.]*(?:-?(?:alpha|beta|rc|pre)[\w.]*)?|\bversions? \d[\d.]*|\b\d+(?:\.\d+)+(?:-?(?:alpha|beta|rc|pre)[\w.]*)?"
    r"|\b[a-z]+/\d(?:\.\d)?\b"
)
_DATE = re.compile(
    r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b\d{1,2}:\d{2}\b|\b\d{1,2} ?(?:am|pm)\b|\bo'clock\b"
    r"|\b(?:1[5-9]|20)\d{2}s?\b|\b\d0s\b|\bq[1-4]\b"
)
_MAY = re.compile(
    r"\b(?:in|of|since|until|by|for|during|on|last|next|late|early|\d{1,2}(?:st|nd|rd|th)?) may\b(?! (?:i|we|you|not|be)\b)"
    r"|\bmay \d"
)
_ORDINAL = re.compile(r"\b\d+(?:st|nd|rd|th)\b")
_TIMES = frozenset(
    ("second", "minute", "hour", "day", "week", "month", "year", "decade", "century", "daily", "weekly", "hourly")
)
_ROUGH = frozenset(("today", "tonight", "tomorrow", "yesterday", "morning", "afternoon", "evening", "night"))
_MEASURES = frozenset(("in", "many", "per", "of", "every", "to"))
_SCALES = frozenset((100, 1000, 10**6, 10**9, 10**12))
_MULTIPLIED = {"k": 1000, "m": 10**6, "bn": 10**9}
_GROUPED = re.compile(r"^\d{1,3}(?:,\d{3})+$")


def versions(low: str) -> tuple[tuple[str, ...], str]:
    """The versions in a folded text, and the text without them."""
    found = [one.removeprefix("versions ").removeprefix("version ").removeprefix("v") for one in _VERSION.findall(low)]
    return tuple(sorted(found)), _VERSION.sub(" ", low)


def dates(low: str) -> tuple[tuple[str, ...], str]:
    """The dates, days, seasons and times in a folded text, and the text without those that are numbers."""
    found = [re.sub(r"\s", "", one) for one in _DATE.findall(low)]
    known = lexicon().dates
    found += [
        f"~{known[word]}" if known[word] in _ROUGH else known[word]
        for word in re.findall(r"[^\W\d_]+(?:\.m)?", low)
        if word in known
    ]
    if _MAY.search(low):
        found.append("may")
    return tuple(sorted(set(found))), _DATE.sub(" ", low)


def numbers(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The numbers of a text's words (each with its unit, if it has one) and the units, both sorted.

    "one" is no number here: it stands for things ("which one") more often than it counts them."""
    known = lexicon()
    found: list[str] = []
    units = {_spoken(words, index) for index, word in enumerate(words) if word in known.units}
    for value, begin, end in _values(words):
        after = words[end] if end < len(words) else ""
        before = words[begin - 1] if begin else ""
        unit = known.units.get(after) or known.short_units.get(after)
        if unit is None and not before.isalpha():
            unit = known.units.get(before)
        if unit is not None:
            units.add(unit)
            units.discard(f"~{unit}")
        found.append(f"{value} {unit}" if unit else value)
    found += [
        known.ordinals[word]
        for word, after in pairwise((*words, ""))
        if word in known.ordinals and not after.startswith("part")
    ]
    return tuple(sorted(found)), tuple(sorted(units))


def _spoken(words: Sequence[str], index: int) -> str:
    """The unit at `index`; with ~ before it if it is one of time that nothing is measured in."""
    unit = lexicon().units[words[index]]
    measured = index > 0 and words[index - 1] in _MEASURES
    return f"~{unit}" if unit in _TIMES and not measured else unit


def _values(words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Each number, with where it begins and ends. "two hundred and five" is one."""
    known = lexicon().number_words
    index = 0
    while index < len(words):
        begin, word = index, words[index]
        index += 1
        if word[0].isdigit():
            value = word.replace(",", "") if _GROUPED.match(word) else word
            if value.isdigit() and index < len(words) and words[index] in _MULTIPLIED and words[index] != "m":
                value, index = str(int(value) * _MULTIPLIED[words[index]]), index + 1
            elif value.isdigit() and index < len(words) and known.get(words[index]) in _SCALES:
                value, index = str(int(value) * known[words[index]]), index + 1
            yield value, begin, index
        elif word in known:
            total, part = 0, known[word]
            while index < len(words) and (
                words[index] in known
                or (
                    words[index] == "and" and words[index + 1 : index + 2] and words[index + 1] in known and part >= 100
                )
            ):
                if words[index] == "and":
                    index += 1
                    continue
                value_of = known[words[index]]
                if value_of in _SCALES:
                    part = (part or 1) * value_of
                elif part >= 100 or (part >= 20 and part % 10 == 0 and value_of < 10):
                    part += value_of
                else:
                    break
                index += 1
            yield str(total + part), begin, index
