"""Which addresses may be called: those of the public internet, and what the operator allows besides.

The networks that are not public are those of the IANA special-purpose registries (RFC 6890 and what followed it:
https://www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-…), multicast, and what clouds put their metadata
on. Of IPv6, only 2000::/3 was ever given out.
"""

import ipaddress
from dataclasses import dataclass

from kernel.net import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's metadata, at a public address
        "169.254.0.0/16",  # link-local, most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GIVEN_OUT_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: any IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet. One that carries an IPv4 address is as public as that."""
    inner = embedded(address)
    if isinstance(inner, ipaddress.IPv4Address):
        return not any(inner in network for network in _NOT_PUBLIC_V4)
    return inner in _GIVEN_OUT_V6 and not any(inner in network for network in _NOT_PUBLIC_V6)


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped (RFC 4291) or NAT64 (RFC 6052) one stands for; others are themselves."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be called. `allowed_networks` are the operator's exceptions; `ports` those of public addresses."""

    allowed_networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({443})

    def admits(self, address: str, *, inside: bool) -> bool:
        """Whether a socket may be connected to this address; with `inside` only by an operator's exception."""
        try:
            value = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(value, ipaddress.IPv6Address) and value.scope_id is not None:
            return False
        return self._excepted(embedded(value)) or (not inside and is_public(value))

    def _excepted(self, address: Address) -> bool:
        return any(address in network for network in self.allowed_networks)
