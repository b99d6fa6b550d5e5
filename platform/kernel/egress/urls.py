"""A URL that nobody can read in two ways.

Parsers differ over odd spellings, and what passes one's check is connected to by another. So only the plain spelling is
taken: ASCII, no backslashes, no credentials, names of letters, digits and hyphens (other scripts as `xn--…`) without a
dot at the end, and addresses in their usual form.
"""

import ipaddress
import re
from dataclasses import dataclass

from yarl import URL

from kernel.egress.addresses import Policy
from kernel.egress.errors import URLRefused

MAX_URL_CHARS = 4_096
MAX_HOST_CHARS = 253

_PLAIN = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_PARTS = re.compile(r"(https?)://([^/?#]*)(?:[/?#].*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL that passed. `inside` says that only an address which the operator allows may serve it: it isn't https, or
    its port isn't one that is allowed for public addresses."""

    url: URL
    host: str
    port: int
    inside: bool


def parse(text: str, policy: Policy) -> Destination:
    """What a URL names. Raises `URLRefused`, in words that are safe to show. The host is not resolved here."""
    if not text or len(text) > MAX_URL_CHARS:
        raise URLRefused(f"A URL has from 1 to {MAX_URL_CHARS} characters.")
    if not _PLAIN.fullmatch(text):
        raise URLRefused("A URL is written in plain ASCII; anything else in it is percent-encoded.")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise URLRefused("A URL begins with https:// and names a host.")
    scheme, authority = parts[1].lower(), parts[2]
    if "@" in authority:
        raise URLRefused("A URL holds no credentials.")
    split = _AUTHORITY.fullmatch(authority)
    if split is None:
        raise URLRefused("The URL's host or port is not written properly.")
    host = _host(split[1].lower())
    port = int(split[2]) if split[2] else _DEFAULT_PORTS[scheme]
    if port > 65_535:
        raise URLRefused("The URL's port is none.")
    destination = Destination(
        url=_same(text, scheme, host, port),
        host=host,
        port=port,
        inside=scheme != "https" or port not in policy.ports,
    )
    if destination.inside and not policy.allowed_networks:
        raise URLRefused("The URL must be https, at an allowed port.")
    if _is_address(host) and not policy.admits(host, inside=destination.inside):
        raise URLRefused("The URL's host is not a public one.")
    return destination


def _host(text: str) -> str:
    """The host in its one spelling, an IPv6 address without brackets."""
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError as error:
            raise URLRefused("The URL's host is no IPv6 address.") from error
    labels = text.split(".")
    if len(text) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise URLRefused("The URL's host is not written properly.")
    if _NUMBER.fullmatch(labels[-1]):
        # What ends in a number is read as an IPv4 address by somebody, whatever else it looks like.
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError as error:
            raise URLRefused("The URL's host is no IPv4 address in its usual form.") from error
    return text


def _same(text: str, scheme: str, host: str, port: int) -> URL:
    """The URL as the HTTP client reads it, if that is how it was read here."""
    try:
        url = URL(text)
        read = (url.scheme, _spelt(url.raw_host or ""), url.port, url.user, url.password)
    except ValueError as error:
        raise URLRefused("The URL is not written properly.") from error
    if read != (scheme, host, port, None, None):
        raise URLRefused("The URL is not written properly.")
    return url


def _spelt(host: str) -> str:
    return str(ipaddress.ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
