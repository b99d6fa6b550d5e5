"""The values that travel between the modules of the judgement, and into the store."""

from typing import Literal
from uuid import UUID

import msgspec

Reason = Literal["accepted", "no_candidate", "guard", "score", "uncalibrated"]
"""Why a verdict is what it is. `guard`: the likeliest answer's questions all differ from the asked one in something that
matters; `score`: none is certain enough; `uncalibrated`: no cut was ever certified for so low a rate."""


class Features(msgspec.Struct, frozen=True, array_like=True):
    """What the guard compares of a text, made by `guard.features_of` and stored with the entry (JSON or MessagePack).

    Each field is canonical (words folded, synonyms joined, sorted where order means nothing). `version` is the guard's:
    features of another version compare with nothing. `words` are the content words' stems in the order they are said. `signs` are
    operators, flags and symbols; `marks` what small words say of duty, leave, tense and side; `foreign` are
    words in another script than the language's; `own` says that it is about something of whoever asks. `said` are all the words
    that add something, small ones too, in order (`guard.runs`)."""

    version: int
    language: str = ""
    asks: str = ""
    words: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()
    quantifiers: tuple[str, ...] = ()
    comparatives: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    passive: bool = False
    signs: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    own: bool = False
    said: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """The last turn of an eligible request. `context_key` (32 bytes) digests everything else that can change the
    answer: only entries with the same key may be candidates."""

    text: str
    features: Features
    context_key: bytes


class Candidate(msgspec.Struct, frozen=True):
    """A stored entry near the question: the cosine of their vectors, and the cluster of answers that the entry's
    belongs to."""

    id: UUID
    features: Features
    cosine: float
    cluster: UUID
    text: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """The candidate whose answer may be served, or None; `score` (0 to 1) is the estimated chance that it is right."""

    candidate: Candidate | None
    score: float
    reason: Reason
    detail: str = ""


class Cut(msgspec.Struct, frozen=True):
    """The certificate of one stated rate: with scores of `cut` and more served, `wrong` of `served` were wrong among
    `questions` asked, so that with 95 % confidence at most `upper_bound` of hits are (Clopper–Pearson)."""

    rate: float
    cut: float
    questions: int
    served: int
    wrong: int
    upper_bound: float


class Stratum(msgspec.Struct, frozen=True):
    """What holds for candidates in one kind of neighbourhood (`score.STRATA`): the weights of the score, and a cut for
    each rate that could be certified."""

    name: str
    weights: tuple[float, ...]
    bias: float
    cuts: tuple[Cut, ...]

    def cut_for(self, rate: float) -> Cut | None:
        """The cut of the highest certified rate that isn't above `rate`, or None: then nothing is served."""
        return _strictest(self.cuts, rate)


class Calibration(msgspec.Struct, frozen=True):
    """The weights of the score, and the cuts that were certified with them.

    It holds for one embedder and one version of the guard; `features` names the measures that the weights are for, and
    `data` says what it was made from. With `strata`, each of them has its own weights and cuts, and `cuts` are their sum:
    how many were served and wrong in all. Without, the weights and cuts here are for every candidate. `languages` (ISO 639-1)
    are those of the data: of questions in others it says nothing."""

    version: str
    embedder: str
    guard_version: int
    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    cuts: tuple[Cut, ...]
    data: str
    strata: tuple[Stratum, ...] = ()
    languages: tuple[str, ...] = ("en",)

    def cut_for(self, rate: float) -> Cut | None:
        """The certificate of the highest certified rate that isn't above `rate`, or None: then nothing is served."""
        return _strictest(self.cuts, rate)

    def stratum(self, name: str) -> Stratum:
        """What holds for candidates in that kind of neighbourhood."""
        everything = Stratum("", self.weights, self.bias, self.cuts)
        return next((one for one in self.strata if one.name == name), everything)


def _strictest(cuts: tuple[Cut, ...], rate: float) -> Cut | None:
    allowed = [cut for cut in cuts if cut.rate <= rate * (1 + 1e-9)]
    return max(allowed, key=lambda cut: cut.rate, default=None)
