"""How many tokens a text is to a model, where the provider doesn't say.

Two of OpenAI's vocabularies are bundled: to the models that use them a text is counted exactly. To others it is as many as it
would be in `o200k_base`, times a factor by what it is written in: code and English, other Latin script, Cyrillic, and so on.
The factors were measured against the vocabularies that are published (`bench/tokens.py`, docs/adr/0010-counting-tokens.md).

A vocabulary takes a tenth of a second and some 60 MB to load, so that is done when it is first needed, in a thread. To count
4 KB takes less than a tenth of a millisecond, and to tell what they are written in less than one.
"""

import importlib.machinery
import importlib.util
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Protocol

PACKAGE = "bpe_openai"
CHUNK_CHARS = 65_536
"""So much is counted at a time: others want to run too."""
SAMPLE_CHARS = 8_192
"""What a text is written in is told by so much of it."""


def _words(some: str) -> frozenset[str]:
    return frozenset(some.split())


LETTERS: Mapping[str, tuple[str, float]] = {
    "latin": ("A-Za-zÀ-ɏḀ-ỿ", 3.5),
    "cyrillic": ("Ѐ-ԯ", 3.2),
    "greek": ("Ͱ-Ͽἀ-῿", 2.7),
    "hebrew": ("֐-׿", 2.7),
    "arabic": ("؀-ۿݐ-ݿ", 3.2),
    "devanagari": ("ऀ-ॿ", 3.0),
    "indic": ("ঀ-෿", 2.5),
    "thai": ("฀-๿", 2.5),
    "kana": ("぀-ヿ", 1.9),
    "han": ("㐀-鿿", 1.7),
    "hangul": ("가-힣", 2.0),
}
"""Scripts: their letters, and how many make a token of `o200k_base`."""
VARIANTS: Mapping[str, tuple[str, str, float]] = {
    "vietnamese": ("latin", "[ĐđƠơƯưẠ-ỹ]", 0.04),
    "turkish": ("latin", "[Ğğİı]", 0.02),
    "polish": ("latin", "[ĄąĆćĘęŁłŃńŚśŹźŻż]", 0.02),
    "czech": ("latin", "[ĚěŘřŮů]", 0.007),
    "hungarian": ("latin", "[ŐőŰű]", 0.004),
    "romanian": ("latin", "[ĂăŞşȘșŢţȚț]", 0.02),
    "finnish": ("latin", "[Ää]", 0.035),
    "nordic": ("latin", "[Åå]", 0.003),
    "german": ("latin", "[Üüß]", 0.004),
    "ukrainian": ("cyrillic", "[ІіЇїЄєҐґ]", 0.02),
    "persian": ("arabic", "[پچژگکی]", 0.02),
    "kanji": ("han", "[぀-ヿ]", 0.1),
    "traditional": ("han", "[個們來後時會為無當發國說請這過還開關點]", 0.02),
}
"""Languages that vocabularies treat otherwise than others of their script: that script, what tells them from those, and how often
that is found for each letter of the script. The first that is told is it."""
BY_WORDS: Mapping[str, tuple[frozenset[str], float]] = {
    "italian": (_words("che della delle degli sono nella gli più questo questa"), 0.02),
    "dutch": (_words("het een van niet voor zijn wordt worden naar"), 0.03),
}
"""Languages of Latin script that only their commonest words tell: those, and what share of all words they must be."""
WRITTEN_IN = ("english", *LETTERS, *VARIANTS, *BY_WORDS)
"""What a text may be written in. `english` stands for code too, and `latin` for other languages."""

_LETTERS = {name: re.compile(f"[{letters}]+") for name, (letters, _) in LETTERS.items()}
_TELLING = {name: re.compile(pattern) for name, (_, pattern, _) in VARIANTS.items()}
_DIGITS = re.compile(r"[0-9]+")
_ACCENTED = re.compile(r"[À-ɏḀ-ỿ]+")
_WORD = re.compile(r"[^\W\d_]+")
_ENGLISH = _words("the of and to is in for that it with are this")
_OTHER_LATIN = _words(
    "de het een van niet und der die das ist la le les un une des du et est pour dans el los del que una para por em um uma "
    "di il che per con og och att det na je się do ve bir"
)
_CODE = re.compile(r"[{}();=<>\[\]_]")
_CODE_SHARE = 0.06


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A family's. With no `factors` the one called `name` is its own, and counts are exact; else how many tokens it makes of
    a text that is one hundred of `o200k_base`, by what that is written in. With `single_digits` each digit is a token, where
    the bundled ones take three at a time."""

    name: str
    factors: Mapping[str, int] | None = None
    single_digits: bool = False

    @property
    def exact(self) -> bool:
        """Whether counts are those of the family's own vocabulary."""
        return self.factors is None


def _scaled(factors: str, *, single_digits: bool = False) -> Vocabulary:
    return Vocabulary("o200k_base", dict(zip(WRITTEN_IN, map(int, factors.split()), strict=True)), single_digits)


O200K, CL100K = Vocabulary("o200k_base"), Vocabulary("cl100k_base")
UNKNOWN = Vocabulary("o200k_base", dict.fromkeys(WRITTEN_IN, 100))
"""Not published, and not measured: counted as `o200k_base` does."""
# In the order of WRITTEN_IN.
DEEPSEEK = _scaled(
    "106 117 117 129 122 124 179 119 101 99 92 119 142 141 107 110 112 116 121 115 124 124 119 99 88 108 123",
)
LLAMA_3 = _scaled(
    "102 113 117 104 244 123 157 323 120 98 104 106 95 99 114 97 119 113 126 114 122 97 101 98 99 109 125",
)
QWEN_3 = _scaled(
    "103 113 124 236 101 123 278 291 146 98 98 115 98 115 108 128 120 114 126 114 121 139 176 98 93 110 125",
    single_digits=True,
)
TEKKEN = _scaled(
    "103 106 109 106 115 98 119 132 131 106 128 103 102 110 103 103 96 104 110 109 112 104 99 106 116 102 119",
    single_digits=True,
)
SMOLLM_2 = _scaled(
    "116 154 253 230 264 297 329 493 436 240 217 356 257 168 157 156 148 143 149 140 168 229 307 240 198 137 158",
    single_digits=True,
)
GEMINI = _scaled(
    "112 101 100 109 111 112 117 154 101 71 93 116 97 100 92 96 95 99 104 101 100 97 97 71 80 95 110",
    single_digits=True,
)
COMMAND_R = _scaled(
    "106 105 107 83 100 116 200 318 253 87 100 103 95 93 91 90 119 93 125 118 114 86 103 87 88 98 108",
    single_digits=True,
)
CLAUDE = Vocabulary("o200k_base", dict.fromkeys(WRITTEN_IN, 120))
"""Not published, and not measured: after what its vendor says of how much more it makes of a text."""
VOCABULARIES: Mapping[str, Vocabulary] = {
    "gpt-4o*": O200K,
    "gpt-4.1*": O200K,
    "gpt-4.5*": O200K,
    "gpt-5*": O200K,
    "gpt-oss*": O200K,
    "chatgpt-4o*": O200K,
    "o1*": O200K,
    "o3*": O200K,
    "o4*": O200K,
    "gpt-4*": CL100K,
    "gpt-3.5*": CL100K,
    "text-embedding-*": CL100K,
    "deepseek*": DEEPSEEK,
    "llama3*": LLAMA_3,
    "llama-3*": LLAMA_3,
    "meta-llama-3*": LLAMA_3,
    "qwen*": QWEN_3,
    "mistral-large*": TEKKEN,
    "mistral-small*": TEKKEN,
    "mistral-medium*": TEKKEN,
    "mistral-nemo*": TEKKEN,
    "magistral*": TEKKEN,
    "ministral*": TEKKEN,
    "devstral*": TEKKEN,
    "smollm2*": SMOLLM_2,
    "gemini*": GEMINI,
    "gemma*": GEMINI,
    "command-r*": COMMAND_R,
    "command-a*": COMMAND_R,
    "claude*": CLAUDE,
}
"""By pattern of the upstream's name for a model, without its publisher; the longest that fits."""


@lru_cache(maxsize=4_096)
def vocabulary_of(model: str) -> Vocabulary:
    """The vocabulary of a model, by the upstream's name for it."""
    name = model.rsplit("/", 1)[-1].lower()
    fits = [pattern for pattern in VOCABULARIES if fnmatchcase(name, pattern)]
    return VOCABULARIES[max(fits, key=len)] if fits else UNKNOWN


class _Counter(Protocol):
    def count(self, text: str) -> int: ...


_loaded: dict[str, _Counter] = {}
_loading = threading.Lock()


def is_loaded(vocabulary: Vocabulary) -> bool:
    """Whether texts can be counted at once."""
    return vocabulary.name in _loaded


def load(vocabulary: Vocabulary) -> None:
    """Have a vocabulary in memory."""
    with _loading:
        if vocabulary.name not in _loaded:
            _loaded[vocabulary.name] = _bindings().tokenizer_for_encoding(vocabulary.name)


def _bindings() -> Any:
    """The compiled module alone: the package around it would read every vocabulary there is, which takes a second."""
    package = importlib.util.find_spec(PACKAGE)
    (folder,) = (package.submodule_search_locations if package else None) or ("",)
    name = f"{PACKAGE}._bindings"
    spec = importlib.machinery.PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed as it should be", name=name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count_tokens(texts: Iterable[str], vocabulary: Vocabulary) -> int:
    """How many tokens some texts are, each by itself. Loads the vocabulary if need be."""
    load(vocabulary)
    count = _loaded[vocabulary.name].count
    tokens = 0.0
    for text in filter(None, texts):
        bundled = sum(count(chunk) for chunk in _chunks(text))
        if vocabulary.factors is None:
            tokens += bundled
            continue
        tokens += bundled * factor(text, vocabulary.factors) / 100
        if vocabulary.single_digits:
            tokens += sum(len(run) - -(-len(run) // 3) for run in _DIGITS.findall(text))
    return round(tokens)


def _chunks(text: str) -> Iterator[str]:
    """A text in pieces of a bounded size that end at spaces where they can. Half surrogate pairs, which no vocabulary has,
    are counted as question marks."""
    text = text if text.isascii() else text.encode(errors="replace").decode()
    start = 0
    while len(text) - start > CHUNK_CHARS:
        end = text.rfind(" ", start + CHUNK_CHARS // 2, start + CHUNK_CHARS)
        end = end if end > 0 else start + CHUNK_CHARS
        yield text[start:end]
        start = end
    yield text[start:]


def factor(text: str, factors: Mapping[str, int]) -> float:
    """What one hundred tokens of `o200k_base` come to: the mean of what the text is written in."""
    tokens = written_in(text[:SAMPLE_CHARS])
    whole = sum(tokens.values())
    return sum(factors[name] * share for name, share in tokens.items()) / whole


def written_in(sample: str) -> Mapping[str, float]:
    """How many tokens of what is in a text, roughly."""
    letters = {
        name: length
        for name, pattern in _LETTERS.items()
        if (name == "latin" or not sample.isascii()) and (length := sum(map(len, pattern.findall(sample))))
    }
    tokens = {name: length / LETTERS[name][1] for name, length in letters.items()} or {"english": 1.0}
    words = Counter(_WORD.findall(sample.lower())) if "latin" in tokens else Counter[str]()
    if "latin" in tokens and _is_english(sample, words):
        tokens["english"] = tokens.pop("latin")
    for name, (script, _, share) in VARIANTS.items():
        if script in tokens and len(_TELLING[name].findall(sample)) > share * letters[script]:
            tokens[name] = tokens.pop(script)
    for name, (telling, share) in BY_WORDS.items():
        if "latin" in tokens and _among(words, telling) > share * words.total():
            tokens[name] = tokens.pop("latin")
    return tokens


def _is_english(sample: str, words: Counter[str]) -> bool:
    """Whether Latin letters are English or code rather than some other language: by its commonest words, by accents."""
    others = _among(words, _OTHER_LATIN) + (0 if sample.isascii() else len(_ACCENTED.findall(sample)))
    return others <= _among(words, _ENGLISH) or len(_CODE.findall(sample)) > _CODE_SHARE * len(sample)


def _among(words: Counter[str], some: frozenset[str]) -> int:
    return sum(words[word] for word in some)
