"""Access and refresh tokens.

An access token is a JWT (djangorestframework-simplejwt; HS256 alone) of five minutes. Its header names the key (`kid`);
its claims name issuer, audience, person (`sub`), tenant (`tid`), membership (`mid`) and the epochs it was minted under.

A refresh token is 32 bytes of randomness, or, for every later link of its family, HMAC-SHA-256 of the link before under
the JWT key. So the same parent always gives the same child: a client that lost the answer to a refresh, or two tabs that
refresh together, get one and the same token, and no token is ever stored.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenError
from rest_framework_simplejwt.tokens import AccessToken as SimpleAccessToken

from kernel.errors import NotAuthenticated
from kernel.ids import parse_uuid
from tenants.epochs import Epochs, Subject


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says, after its signature, times, issuer and audience held."""

    person_id: uuid.UUID
    subject: Subject
    epochs: Epochs
    expires_at: datetime


class _Backend(TokenBackend):
    """simplejwt's backend, with the key's id in the header, and required to be there."""

    def encode(self, payload: dict[str, Any]) -> str:
        claims = payload | {"aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, settings.SECRET_KEY, algorithm=self.algorithm, headers={"kid": key_id()})

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise TokenBackendError("malformed") from error
        if header.get("kid") != key_id() or header.get("alg") != self.algorithm:
            raise TokenBackendError("unknown key")
        return super().decode(token, verify)


class _AccessToken(SimpleAccessToken):
    _token_backend = _Backend(
        "HS256",
        signing_key=settings.SECRET_KEY,
        audience=settings.TOKEN_AUDIENCE,
        issuer=settings.TOKEN_ISSUER,
        leeway=settings.TOKEN_LEEWAY_S,
    )


def key_id() -> str:
    """The present signing key's public name."""
    return hashlib.sha256(b"kid" + settings.SECRET_KEY.encode()).hexdigest()[:16]


def mint_access(*, person_id: uuid.UUID, subject: Subject, epochs: Epochs) -> str:
    """A new access token for a membership, good for `ACCESS_TOKEN_S` seconds."""
    token = _AccessToken()
    token["sub"] = str(person_id)
    token["tid"] = str(subject.tenant_id)
    token["mid"] = str(subject.membership_id)
    token["eps"] = list(epochs)
    return str(token)


def read_access(text: str) -> AccessClaims:
    """The claims of an access token. Raises `NotAuthenticated` for anything but a good one."""
    try:
        token = _AccessToken(text)  # type: ignore[arg-type]
        person, tenant, member = (parse_uuid(str(token[name])) for name in ("sub", "tid", "mid"))
        epochs = tuple(int(value) for value in token["eps"])
        expires_at = datetime.fromtimestamp(token["exp"], tz=UTC)
    except (TokenError, KeyError, TypeError, ValueError) as error:
        raise NotAuthenticated("The access token is not valid, or has expired.") from error
    if not (person and tenant and member):
        raise NotAuthenticated("The access token is not valid, or has expired.")
    return AccessClaims(
        person_id=person,
        subject=Subject(tenant_id=tenant, membership_id=member),
        epochs=epochs,
        expires_at=expires_at,
    )


def new_refresh() -> str:
    """The first refresh token of a family."""
    return secrets.token_urlsafe(32)


def child_of(refresh: str) -> str:
    """The one token that follows `refresh` in its family."""
    key = settings.SECRET_KEY.encode()
    mac = hmac.new(key, b"refresh child " + refresh.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def refresh_digest(refresh: str) -> bytes:
    """What is stored of a refresh token: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(refresh.encode()).digest()
