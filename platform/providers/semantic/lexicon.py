"""The words that the rules know, from `data/lexicon.toml`."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "data" / "lexicon.toml"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What is known of words, folded.

    `function_words` say how words hang together, not what they are about; `persons` are nouns for people; "that" begins
    a clause after one of `takes_that`; `joins` begin one. `habits` are often capitalised and name nothing. `fillers` add nothing
    to a text, nor does one of `after_how` there; `telling` function words add something, and `kinds` hardly do. Of the
    mappings, `phrases` give the one word for several, the others the canonical form: of `sides` and `weak_sides`, the
    axis with + or - ("enable+")."""

    function_words: frozenset[str]
    persons: frozenset[str]
    takes_that: frozenset[str]
    determiners: frozenset[str]
    joins: frozenset[str]
    negations: frozenset[str]
    failures: frozenset[str]
    habits: frozenset[str]
    fillers: frozenset[str]
    after_how: frozenset[str]
    telling: frozenset[str]
    kinds: frozenset[str]
    names: frozenset[str]
    languages: Mapping[str, frozenset[str]]
    phrases: tuple[tuple[re.Pattern[str], str], ...]
    number_words: Mapping[str, int]
    ordinals: Mapping[str, str]
    units: Mapping[str, str]
    short_units: Mapping[str, str]
    dates: Mapping[str, str]
    quantifiers: Mapping[str, str]
    no_quantifiers: re.Pattern[str]
    comparatives: Mapping[str, str]
    sides: Mapping[str, str]
    weak_sides: Mapping[str, str]
    synonyms: Mapping[str, str]
    small_synonyms: Mapping[str, str]


@cache
def lexicon() -> Lexicon:
    """The lexicon, read once."""
    read = tomllib.loads(_FILE.read_text())

    def words(name: str) -> frozenset[str]:
        return frozenset(read[name].split())

    return Lexicon(
        function_words=words("function_words"),
        persons=words("persons"),
        takes_that=words("takes_that"),
        determiners=words("determiners"),
        joins=words("joins"),
        negations=words("negations"),
        failures=words("failures"),
        habits=words("habits"),
        fillers=words("fillers"),
        after_how=words("after_how"),
        telling=words("telling"),
        kinds=words("kinds"),
        ordinals=_joined(read["ordinals"]),
        units=_joined(read["units"]),
        short_units=_joined(read["short_units"]),
        dates=_joined(read["dates"]),
        quantifiers=_joined(read["quantifiers"]),
        comparatives=_joined(read["comparatives"]),
        synonyms=_joined(read["synonyms"]),
        small_synonyms=_joined(read["small_synonyms"]),
        names=frozenset(word.strip() for group in read["names"].values() for word in group.split(",")),
        languages={code: frozenset(group.split()) for code, group in read["languages"].items()},
        phrases=tuple((_any_of(phrases), word) for word, phrases in read["phrases"].items()),
        number_words=read["number_words"],
        no_quantifiers=_any_of(read["no_quantifiers"]["phrases"]),
        sides=_sides(read["antonyms"]),
        weak_sides=_sides(read["weak_antonyms"]),
    )


def _joined(groups: Mapping[str, str]) -> dict[str, str]:
    """Each word of a group (they are separated by commas) to the group's name."""
    return {word.strip(): name for name, words in groups.items() for word in words.split(",")}


def _sides(axes: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        word.strip(): f"{axis}{side}"
        for axis, (one, other) in axes.items()
        for words, side in ((one, "+"), (other, "-"))
        for word in words.split(",")
    }


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """The phrases as whole words; `{}` in one stands for one to four words."""
    # The longest first, so that a phrase isn't taken for a shorter one that begins it.
    ordered = sorted(phrases, key=len, reverse=True)
    return re.compile(
        r"\b(?:" + "|".join(re.escape(one).replace(r"\{\}", r"((?:[\w'-]+ ){0,3}[\w'-]+)") for one in ordered) + r")\b"
    )
