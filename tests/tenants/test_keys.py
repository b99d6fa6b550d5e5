"""The form of an API key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.keys import PREFIX, digest, lookup_id, make_key

pytestmark = pytest.mark.no_database


def test_a_key_has_its_form() -> None:
    key = make_key()
    assert key.text.startswith(PREFIX)
    assert len(key.text) == len(PREFIX) + 12 + 1 + 32 + 6
    assert lookup_id(key.text) == key.lookup_id
    assert key.text.endswith(key.hint)
    assert key.digest == digest(key.text)
    assert len(key.digest) == 32
    assert key.text not in repr(key)
    assert len({make_key().text for _ in range(200)}) == 200


@given(st.integers(0, 60), st.sampled_from("0aZ_-"))
def test_a_mistyped_character_is_noticed(position: int, other: str) -> None:
    text = make_key().text
    position %= len(text)
    if text[position] != other:
        assert lookup_id(text[:position] + other + text[position + 1 :]) is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "0", lambda t: " " + t, lambda t: t + "\n", str.upper]
)
def test_anything_else_is_no_key(change: Any) -> None:
    assert lookup_id(change(make_key().text)) is None
    assert lookup_id("") is None


def test_a_digest_needs_the_pepper(settings: Any) -> None:
    key = make_key()
    settings.PARLEY_KEY_PEPPER = "another pepper"
    assert digest(key.text) != key.digest
