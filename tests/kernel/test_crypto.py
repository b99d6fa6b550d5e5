"""A ciphertext opens in the cell it was written for, and nowhere else."""

import base64
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.crypto import PLATFORM, DecryptionFailed, decrypt, encrypt, parse_master_keys

pytestmark = pytest.mark.no_database

CELL: dict[str, Any] = {
    "tenant_id": uuid.UUID(int=1),
    "table": "providers_connection",
    "row_id": uuid.UUID(int=2),
    "column": "secret",
}


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


@given(st.binary(max_size=2000))
def test_what_was_encrypted_is_read_again(plaintext: bytes) -> None:
    sealed = encrypt(plaintext, **CELL)
    assert decrypt(sealed, **CELL) == plaintext
    assert decrypt(memoryview(sealed), **CELL) == plaintext  # type: ignore[arg-type]
    assert sealed != encrypt(plaintext, **CELL)


@pytest.mark.parametrize(
    "moved",
    [
        {"tenant_id": uuid.UUID(int=9)},
        {"tenant_id": PLATFORM},
        {"table": "providers_deployment"},
        {"row_id": uuid.UUID(int=9)},
        {"column": "name"},
        {"tenant_id": CELL["row_id"], "row_id": CELL["tenant_id"]},
    ],
)
def test_a_ciphertext_moved_to_another_cell_does_not_open(moved: dict[str, Any]) -> None:
    with pytest.raises(DecryptionFailed):
        decrypt(encrypt(b"secret", **CELL), **CELL | moved)


def test_every_damaged_byte_is_noticed() -> None:
    sealed = encrypt(b"secret", **CELL)
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(DecryptionFailed):
            decrypt(bytes(damaged), **CELL)
    for length in range(len(sealed)):
        with pytest.raises(DecryptionFailed):
            decrypt(sealed[:length], **CELL)


def test_keys_rotate(settings: Any) -> None:
    settings.PARLEY_MASTER_KEY = f"1:{key(1)}"
    old = encrypt(b"secret", **CELL)
    settings.PARLEY_MASTER_KEY = f"1:{key(1)},7:{key(7)}"
    new = encrypt(b"secret", **CELL)
    assert old[:3] == b"\x01\x00\x01"
    assert new[:3] == b"\x01\x00\x07"
    assert decrypt(old, **CELL) == decrypt(new, **CELL) == b"secret"
    settings.PARLEY_MASTER_KEY = f"7:{key(7)}"
    with pytest.raises(DecryptionFailed):
        decrypt(old, **CELL)
    settings.PARLEY_MASTER_KEY = f"1:{key(2)}"
    with pytest.raises(DecryptionFailed):
        decrypt(old, **CELL)


def test_a_version_is_bound_to_its_ciphertext(settings: Any) -> None:
    """Two versions with the same key: relabelling still fails."""
    settings.PARLEY_MASTER_KEY = f"1:{key(1)},2:{key(1)}"
    sealed = encrypt(b"secret", **CELL)
    with pytest.raises(DecryptionFailed):
        decrypt(b"\x01\x00\x01" + sealed[3:], **CELL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "short",
        "1:" + key(1)[:-8],
        f"0:{key(1)}",
        f"65536:{key(1)}",
        f"1:{key(1)},1:{key(2)}",
        f"x:{key(1)}",
        "1:*",
    ],
)
def test_bad_master_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_master_keys(text)


def test_keys_without_versions_count_from_one() -> None:
    assert parse_master_keys(f"{key(1)}, {key(2)}") == {1: b"\x01" * 32, 2: b"\x02" * 32}
