"""How far counted tokens are from what a model's own vocabulary makes of the same text: percent, by what it is written in.

    python -m bench.tokens --vocabulary llama3.2=tokenizer.json --vocabulary mistral-large=tekken.json qwen3=qwen.tiktoken

Each vocabulary is a model's name and its published file: `tokenizer.json` (needs the package `tokenizers`), a list of ranks
(`.tiktoken`) or Mistral's `tekken*.json`. Without any, only the bundled vocabularies are checked: token by token against their
ranks, as `tiktoken` applies these. The texts are this repository's pages and programs, and Django's translations, in pieces of
about 2,000 characters, as answers are; with `--texts FOLDER` those of its `.txt` files instead. An ADR keeps the figures:
docs/adr/0010-counting-tokens.md.
"""

import argparse
import ast
import base64
import gzip
import hashlib
import importlib
import importlib.util
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import django
import tiktoken
from tiktoken_ext import openai_public

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from providers.vocabularies import CL100K, O200K, PACKAGE, Vocabulary, count_tokens, vocabulary_of  # noqa: E402

Count = Callable[[str], int]
PIECE_CHARS = 2_000
LANGUAGES = (
    *("de", "fr", "es", "it", "pt", "nl", "pl", "cs", "tr", "vi", "fi", "sv", "hu", "ro"),
    *("ru", "uk", "bg", "el", "he", "ar", "fa", "hi", "bn", "th", "ko", "ja", "zh_Hans", "zh_Hant"),
)
PIECES = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def translation(language: str) -> str:
    """What Django's apps say in a language, one after the other. The factors were fitted to other texts: to Django's own."""
    texts: list[str] = []
    for path in sorted((Path(django.__file__).parent / "contrib").glob(f"*/locale/{language}/LC_MESSAGES/django.po")):
        found = re.findall(r'^msgstr(?:\[0\])? ((?:".*"\n?)+)', path.read_text(encoding="utf-8"), re.MULTILINE)
        said = ["".join(ast.literal_eval(line) for line in one.split("\n") if line) for one in found]
        texts += [text for text in said[1:] if text]
    return " ".join(texts)


def texts() -> dict[str, str]:
    """What is counted, by what it is written in."""
    read = {
        "English": sorted((ROOT / "docs").glob("*.md")),
        "Python": sorted((ROOT / "platform" / "providers").glob("*.py")),
        "TypeScript": sorted((ROOT / "platform" / "web" / "src").rglob("*.ts"))[:40],
    }
    whole = {name: "".join(path.read_text() for path in paths) for name, paths in read.items()}
    return whole | {language: translation(language) for language in LANGUAGES}


def pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text) - PIECE_CHARS // 2, PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def counter(path: Path) -> Count:
    """A vocabulary's own count, from its published file."""
    if path.suffix == ".tiktoken":
        ranks = dict(_rank(line) for line in path.read_bytes().splitlines() if line)
        return _by_ranks(ranks, PIECES)
    said = json.loads(path.read_text())
    if "config" in said and "pattern" in said["config"]:
        size = said["config"]["default_vocab_size"] - said["config"]["default_num_special_tokens"]
        ranks = {base64.b64decode(one["token_bytes"]): one["rank"] for one in said["vocab"][:size]}
        return _by_ranks(ranks, said["config"]["pattern"])
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _rank(line: bytes) -> tuple[bytes, int]:
    token, rank = line.split()
    return base64.b64decode(token), int(rank)


def _by_ranks(ranks: dict[bytes, int], pattern: str) -> Count:
    encoding = tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def bundled(name: str) -> Count:
    """A bundled vocabulary as `tiktoken` defines it, from the bundled ranks, which must be those that OpenAI published."""
    package = importlib.util.find_spec(PACKAGE)
    (folder,) = (package.submodule_search_locations if package else None) or ("",)
    with gzip.open(Path(folder) / "data" / f"{name}.tiktoken.gz") as file:
        data = file.read()

    def ranks(url: str, expected_hash: str) -> dict[bytes, int]:
        if hashlib.sha256(data).hexdigest() != expected_hash:
            raise ValueError(f"{name} is not what was published")
        return dict(_rank(line) for line in data.splitlines() if line)

    openai_public.load_tiktoken_bpe = ranks
    encoding = tiktoken.Encoding(**getattr(openai_public, name)())
    return lambda text: len(encoding.encode_ordinary(text))


def measure(name: str, vocabulary: Vocabulary, own: Count, counted_texts: Mapping[str, str]) -> float:
    """Print the errors of one vocabulary. The greatest mean error of any language, in percent."""
    worst = 0.0
    print(f"\n{name}: {vocabulary.name}, {'exact' if vocabulary.exact else 'scaled'}")
    print(f"{'':12} {'pieces':>6} {'whole':>8} {'mean of |pieces|':>17} {'worst piece':>12}")
    for language, text in counted_texts.items():
        errors = []
        counted = expected = 0
        for piece in pieces(text):
            mine, theirs = count_tokens([piece], vocabulary), own(piece)
            counted, expected = counted + mine, expected + theirs
            errors.append(100 * (mine - theirs) / theirs)
        mean = statistics.fmean(map(abs, errors))
        worst = max(worst, mean)
        whole = 100 * (counted - expected) / expected
        print(f"{language:12} {len(errors):6} {whole:+7.1f}% {mean:16.1f}% {max(errors, key=abs):+11.1f}%")
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--vocabulary", action="extend", nargs="+", default=[], metavar="MODEL=FILE")
    parser.add_argument("--texts", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    read = {path.stem: path.read_text() for path in sorted(options.texts.glob("*.txt"))} if options.texts else texts()
    began = time.perf_counter()
    count_tokens(["x"], O200K)
    print(f"o200k_base loaded in {1000 * (time.perf_counter() - began):.0f} ms")
    measure("gpt-4o", O200K, bundled("o200k_base"), read)
    measure("gpt-4", CL100K, bundled("cl100k_base"), read)
    for one in options.vocabulary:
        model, _, path = one.partition("=")
        measure(model, vocabulary_of(model), counter(Path(path)), read)
    return 0


if __name__ == "__main__":
    sys.exit(main())
