"""Argon2id, with RFC 9106's parameters, and never more at once than the machine bears."""

import importlib.util
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from kernel.errors import InvalidRequest, Unavailable
from tenants import passwords
from tenants.passwords import check_password_rules, generate_password, hash_password, password_matches

pytestmark = pytest.mark.no_database


def test_the_parameters_are_rfc_9106s_second_recommendation() -> None:
    # The suite hashes with less work; this is what the module itself sets.
    fresh = importlib.util.module_from_spec(importlib.util.find_spec("tenants.passwords"))  # type: ignore[arg-type]
    fresh.__spec__.loader.exec_module(fresh)  # type: ignore[union-attr]
    hasher: PasswordHasher = fresh._hasher
    assert (hasher.time_cost, hasher.memory_cost, hasher.parallelism, hasher.type) == (3, 64 * 1024, 4, Type.ID)
    assert extract_parameters(hasher.hash("x")).type is Type.ID


def test_a_password_matches_its_own_hash_alone() -> None:
    encoded = hash_password("correct horse")
    assert password_matches("correct horse", encoded)
    assert not password_matches("Correct horse", encoded)
    assert not password_matches("correct horse", None)
    assert not password_matches("correct horse", "no hash at all")
    assert hash_password("correct horse") != encoded


@pytest.mark.parametrize("length", [0, 9, 257])
def test_too_short_and_too_long_are_refused(length: int) -> None:
    with pytest.raises(InvalidRequest):
        check_password_rules("x" * length)


@pytest.mark.parametrize("length", [10, 256])
def test_what_is_within_the_rules_passes(length: int) -> None:
    check_password_rules("x" * length)
    assert len({generate_password() for _ in range(100)}) == 100
    check_password_rules(generate_password())


def test_a_flood_of_log_ins_is_turned_away(monkeypatch: Any) -> None:
    monkeypatch.setattr(passwords, "_slots", threading.BoundedSemaphore(1))
    monkeypatch.setattr(passwords, "_WAIT_S", 0.01)
    with passwords._slot(), pytest.raises(Unavailable):
        hash_password("one too many")
    assert hash_password("now again")
