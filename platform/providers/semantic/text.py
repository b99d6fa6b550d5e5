"""How a text is folded before anything is compared: one spelling of apostrophes, quotes, dashes and contractions."""

import re
import unicodedata

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "`": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "\u00a0": " "}
)
_WHOLE = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not", "ain't": "is not", "let's": "let us",
    "cant": "can not", "wont": "will not", "dont": "do not", "doesnt": "does not", "didnt": "did not", "isnt": "is not",
    "arent": "are not", "wasnt": "was not", "werent": "were not", "havent": "have not", "hasnt": "has not", "hadnt": "had not",
    "couldnt": "could not", "wouldnt": "would not", "shouldnt": "should not", "aint": "is not", "whats": "what is",
    "wheres": "where is", "hows": "how is", "whos": "who is", "whens": "when is", "whys": "why is", "thats": "that is",
    "im": "i am", "ive": "i have", "y'all": "you all", "gonna": "going to", "wanna": "want to", "gotta": "have to",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENDS = (
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(i)'m\b"), r"\1 am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"\b(what|where|how|who|when|why|that|there|here|it|he|she|which|this)'s\b"), r"\1 is"),
)


def plain(text: str) -> str:
    """The text with one kind of quote, dash, space and character form (NFKC); case is kept."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(_QUOTES).split())


def folded(text: str) -> str:
    """`plain` in lower case with contractions written out."""
    low = plain(text).lower()
    low = _WORD.sub(lambda found: _WHOLE.get(found.group(), found.group()), low)
    for pattern, instead in _ENDS:
        low = pattern.sub(instead, low)
    return low
