"""Questions that look alike and aren't, and questions that look different and are the same.

    python -m bench.minimal_pairs            # how many of each kind, an example, and the digests
    python -m bench.minimal_pairs --freeze   # write the digests: before anything is tuned to the pairs, never after

The templates are in `minimal_pairs.toml`. A minimal pair are two questions from one way of asking, of which one word (or a few)
makes a different question. A paraphrase are two ways of asking the same, at most 0.6 of their words shared. The digests in
`minimal_pairs.sha256` say that what is measured is what was made before the guard and the score were tuned."""

import argparse
import hashlib
import itertools
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).with_suffix(".toml")
FROZEN = Path(__file__).with_suffix(".sha256")
PARAPHRASES = 500
MAX_OVERLAP = 0.6
_SEED = 20
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pair:
    """A stored question, and one that is asked; `kind` is what makes the difference, or of which templates a paraphrase is."""

    kind: str
    stored: str
    asked: str


def minimal_pairs() -> list[Pair]:
    """All pairs of questions that have different answers, without repeats, in the order of the templates."""
    return list(dict.fromkeys(pair for frame in _frames() for pair in _different(frame)))


def paraphrases() -> list[Pair]:
    """`PARAPHRASES` pairs of questions that have the same answer, drawn evenly from the kinds."""
    kinds: dict[str, list[Pair]] = {}
    for pair in dict.fromkeys(pair for frame in _frames() for pair in _same(frame)):
        if overlap(pair.stored, pair.asked) <= MAX_OVERLAP:
            kinds.setdefault(pair.kind, []).append(pair)
    chance = random.Random(_SEED)
    for pairs in kinds.values():
        chance.shuffle(pairs)
    mixed = [pair for row in itertools.zip_longest(*kinds.values()) for pair in row if pair is not None]
    return mixed[:PARAPHRASES]


def overlap(one: str, other: str) -> float:
    """The share of two texts' words that both have (Jaccard)."""
    first, second = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    return len(first & second) / len(first | second)


def digest(pairs: Sequence[Pair]) -> str:
    """The SHA-256 of the pairs, a line each."""
    lines = "".join(f"{pair.kind}\t{pair.stored}\t{pair.asked}\n" for pair in pairs)
    return hashlib.sha256(lines.encode()).hexdigest()


def frozen() -> dict[str, str]:
    """The digests that were written before tuning, by name."""
    lines = (line.split() for line in FROZEN.read_text().splitlines())
    return {name: sha256 for sha256, name in lines}


def _frames() -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = tomllib.loads(TEMPLATES.read_text())["frame"]
    return frames


def _fillings(frame: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], list[list[str]]]]:
    """Values for the slots but {s}, with the pairs for that."""
    own = {"kind", "ways", "others", "swap", "roles", "rows", "same"}
    slots = {name: values for name, values in frame.items() if name not in own}
    for row in frame.get("rows", [{}]):
        fixed = {name: value for name, value in row.items() if name != "swap"}
        for values in itertools.product(*slots.values()):
            yield {**fixed, **dict(zip(slots, values, strict=True))}, row.get("swap", frame.get("swap", []))


def _different(frame: Mapping[str, Any]) -> Iterator[Pair]:
    kind = frame["kind"]
    for row in frame.get("same", []):
        yield from (Pair(kind, one, other) for one, other in itertools.combinations(row, 2))
    for number, (values, swaps) in enumerate(_fillings(frame)):
        for turn, (one, other) in enumerate(swaps):
            for step in (0, 1):
                way = frame["ways"][(number + turn + step) % len(frame["ways"])]
                yield Pair(kind, way.format(**values, s=one), way.format(**values, s=other))
        if roles := frame.get("roles"):
            traded = {**values, roles[0]: values[roles[1]], roles[1]: values[roles[0]]}
            for way in frame["ways"]:
                yield Pair(kind, way.format(**values), way.format(**traded))
        for way, other in zip(frame.get("ways", []), frame.get("others", []), strict=False):
            yield Pair(kind, way.format(**values), other.format(**values))


def _same(frame: Mapping[str, Any]) -> Iterator[Pair]:
    for values, swaps in _fillings(frame):
        for said in [value for pair in swaps for value in pair] or [""]:
            for name in ("ways", "others"):
                asked = [way.format(**values, s=said) for way in frame.get(name, [])]
                yield from (Pair(frame["kind"], one, other) for one, other in itertools.combinations(asked, 2))


def main() -> None:
    """Print what there is, and freeze it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", action="store_true", help="write the digests")
    options = parser.parse_args()
    sets = {"minimal_pairs": minimal_pairs(), "paraphrases": paraphrases()}
    for name, pairs in sets.items():
        print(f"{name}: {len(pairs)}, {digest(pairs)}")
        for kind, count in Counter(pair.kind for pair in pairs).items():
            example = next(pair for pair in pairs if pair.kind == kind)
            print(f"  {kind:16}{count:5}  {example.stored} / {example.asked}")
    if options.freeze:
        FROZEN.write_text("".join(f"{digest(pairs)}  {name}\n" for name, pairs in sets.items()))


if __name__ == "__main__":
    main()
