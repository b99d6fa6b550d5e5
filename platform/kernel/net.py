"""Where a request really comes from."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str | None, forwarded_for: str, trusted_proxies: Sequence[str]) -> str:
    """The caller's address: the peer, or, behind trusted proxies, the last hop that isn't one of them.

    `forwarded_for` is the X-Forwarded-For header. It is believed only when the peer lies in `trusted_proxies` (CIDR
    notation), and only back to the first untrusted hop: what stands before that was written by the client. A peer
    without an address (a Unix socket) is the empty string.
    """
    address = peer or ""
    if not trusted_proxies or not _within(address, trusted_proxies):
        return address
    for hop in reversed([part.strip() for part in forwarded_for.split(",") if part.strip()]):
        if not _is_address(hop):
            return address
        address = hop
        if not _within(hop, trusted_proxies):
            return hop
    return address


def address_in(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks. Something that is no address lies in none."""
    return _within(address, networks)


def networks_within(inner: Sequence[str] | None, outer: Sequence[str]) -> bool:
    """Whether each network lies in one of `outer`. No list at all is every address there is."""
    if inner is None:
        return False
    return all(any(_covers(_network(wide), _network(text)) for wide in outer) for text in inner)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    bare = host.strip("[]")
    if bare == "localhost":
        return True
    return _is_address(bare) and ipaddress.ip_address(bare).is_loopback


def parse_network(text: str) -> Network:
    """An address or CIDR block. Raises ValueError."""
    return ipaddress.ip_network(text.strip(), strict=False)


def _within(address: str, networks: Sequence[str]) -> bool:
    if not _is_address(address):
        return False
    value = ipaddress.ip_address(address)
    if isinstance(value, ipaddress.IPv6Address) and value.ipv4_mapped:
        value = value.ipv4_mapped
    return any(value in _network(text) for text in networks)


def _covers(wide: Network, narrow: Network) -> bool:
    if isinstance(wide, ipaddress.IPv4Network) and isinstance(narrow, ipaddress.IPv4Network):
        return narrow.subnet_of(wide)
    if isinstance(wide, ipaddress.IPv6Network) and isinstance(narrow, ipaddress.IPv6Network):
        return narrow.subnet_of(wide)
    return False


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=10_000)
def _network(text: str) -> Network:
    return parse_network(text)
