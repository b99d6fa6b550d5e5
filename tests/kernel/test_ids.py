"""Ids rise, and say when they were made."""

import time
import uuid

import pytest

from kernel.ids import parse_uuid, unix_ms, uuid7, uuid7_floor

pytestmark = pytest.mark.no_database


def test_ids_rise_strictly_and_are_uuid7() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {(value.version, value.variant) for value in made} == {(7, uuid.RFC_4122)}


def test_an_id_tells_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    value = uuid7()
    assert before - 5 <= unix_ms(value) <= time.time_ns() // 1_000_000 + 5
    assert uuid7_floor(unix_ms(value)) <= value < uuid7_floor(unix_ms(value) + 1)
    assert unix_ms(uuid7_floor(1_700_000_000_000)) == 1_700_000_000_000


@pytest.mark.parametrize(
    "text", ["", "x" * 36, "{01a1fc9d-35cd-7444-a56e-f623ec01ac17}", "01a1fc9d35cd7444a56ef623ec01ac17"]
)
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    assert parse_uuid(text) is None
    value = uuid7()
    assert parse_uuid(str(value)) == value
