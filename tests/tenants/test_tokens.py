"""What an access token must be to be believed."""

import base64
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import NotAuthenticated
from tenants.epochs import Subject
from tenants.tokens import child_of, key_id, mint_access, new_refresh, read_access, refresh_digest

pytestmark = pytest.mark.no_database

SUBJECT = Subject(tenant_id=uuid.UUID(int=1), membership_id=uuid.UUID(int=2))
PERSON = uuid.UUID(int=3)


def minted() -> str:
    return mint_access(person_id=PERSON, subject=SUBJECT, epochs=(4, 5))


def forged(key: str | None = None, algorithm: str = "HS256", kid: str | None = None, **changes: Any) -> str:
    claims = jwt.decode(minted(), options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    headers = {"kid": key_id() if kid is None else kid}
    secret = None if algorithm == "none" else key or django_settings.SECRET_KEY
    return jwt.encode(claims, secret, algorithm=algorithm, headers=headers)


def test_a_token_says_what_was_minted() -> None:
    claims = read_access(minted())
    assert (claims.person_id, claims.subject, claims.epochs) == (PERSON, SUBJECT, (4, 5))
    assert 295 < claims.expires_at.timestamp() - time.time() <= 300
    assert read_access(forged()) is not None


def tampered() -> str:
    """The claims changed under the old signature."""
    head, body, signature = minted().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"tid": str(uuid.UUID(int=9))}
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    "token",
    [
        lambda: forged("another key, long enough to sign with it"),
        lambda: forged(algorithm="HS512"),
        lambda: forged(algorithm="none"),
        lambda: forged(kid="other"),
        lambda: forged(iss="somebody"),
        lambda: forged(aud="something"),
        lambda: forged(aud=None),
        lambda: forged(iss=None),
        lambda: forged(exp=int(time.time()) - 6),
        lambda: forged(exp=None),
        lambda: forged(token_type="refresh"),
        lambda: forged(token_type=None),
        lambda: forged(tid=None),
        lambda: forged(tid="x"),
        lambda: forged(mid=str(uuid.UUID(int=2)).replace("-", "")),
        lambda: forged(sub="x"),
        lambda: forged(eps=None),
        lambda: forged(eps=["x"]),
        lambda: forged(eps=3),
        lambda: minted()[:-2],
        lambda: minted() + "x",
        tampered,
        lambda: "",
        lambda: "a.b.c",
        lambda: "sk-parley",
    ],
)
def test_anything_else_is_not_believed(token: Any) -> None:
    with pytest.raises(NotAuthenticated):
        read_access(token())


@given(st.text(max_size=300))
def test_no_text_is_taken_for_a_token_or_breaks_the_reader(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        read_access(text)


def test_refresh_tokens_follow_from_each_other_and_cant_be_guessed() -> None:
    first = new_refresh()
    assert child_of(first) == child_of(first)
    assert len({first, child_of(first), child_of(child_of(first)), new_refresh()}) == 4
    assert len(base64.urlsafe_b64decode(child_of(first) + "=")) == 32
    assert len(refresh_digest(first)) == 32
