"""The digest of all that can change an answer but the last turn's words.

It is taken of what the exact cache's key is (`providers.cache.canonical`), so a field that a request gains later is
in it by itself, and what isn't known has no digest."""

import hashlib

from msgspec.structs import replace

from providers.cache.canonical import Unkeyed, canonical
from providers.types import ChatRequest, TextPart

KEY_BYTES = 32


def context_key(request: ChatRequest) -> bytes | None:
    """The digest (`KEY_BYTES`) of the request without the text of its last message, or None if something in it has no known
    meaning. Two requests with one key differ in that text at most."""
    *earlier, last = request.messages
    parts = tuple(replace(part, text="") if isinstance(part, TextPart) else part for part in last.content)
    emptied = replace(request, messages=(*earlier, replace(last, content=parts)))
    try:
        said, _ = canonical(emptied)
    except (Unkeyed, TypeError, ValueError):
        return None
    return hashlib.blake2b(said, digest_size=KEY_BYTES, person=b"parley context 1").digest()
