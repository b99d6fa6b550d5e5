"""Whose address it is."""

import pytest

from kernel.net import address_in, client_address, is_loopback, networks_within, parse_network

pytestmark = pytest.mark.no_database

PROXIES = ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "client"),
    [
        ("203.0.113.5", "1.2.3.4", (), "203.0.113.5"),
        ("203.0.113.5", "1.2.3.4", PROXIES, "203.0.113.5"),
        ("10.0.0.1", "1.2.3.4", PROXIES, "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", PROXIES, "1.2.3.4"),
        ("::ffff:10.0.0.1", "1.2.3.4", PROXIES, "1.2.3.4"),
        ("fd00::1", "2001:db8::9", PROXIES, "2001:db8::9"),
        ("10.0.0.1", "", PROXIES, "10.0.0.1"),
        ("10.0.0.1", "10.0.0.9, 10.0.0.8", PROXIES, "10.0.0.9"),
        ("10.0.0.1", "1.2.3.4, unknown", PROXIES, "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4:5678", PROXIES, "10.0.0.1"),
        (None, "1.2.3.4", PROXIES, ""),
        ("", "1.2.3.4", PROXIES, ""),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy(
    peer: str | None, forwarded: str, proxies: tuple[str, ...], client: str
) -> None:
    assert client_address(peer, forwarded, proxies) == client


@pytest.mark.parametrize(
    ("address", "networks", "inside"),
    [
        ("192.0.2.7", ["192.0.2.0/24"], True),
        ("::ffff:192.0.2.7", ["192.0.2.0/24"], True),
        ("192.0.3.7", ["192.0.2.0/24", "192.0.3.7"], True),
        ("192.0.4.7", ["192.0.2.0/24"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("192.0.2.7", ["2001:db8::/32"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("nonsense", ["0.0.0.0/0"], False),
        ("192.0.2.7", [], False),
    ],
)
def test_addresses_lie_in_networks(address: str, networks: list[str], inside: bool) -> None:
    assert address_in(address, networks) is inside


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["10.0.0.1", "example.org", "localhost.example.org", ""]))


def test_networks_within_networks() -> None:
    wide = ["10.0.0.0/8", "2001:db8::/32"]
    assert networks_within(["10.1.0.0/16", "2001:db8::7"], wide)
    assert networks_within([], wide)
    assert not networks_within(["10.0.0.0/7"], wide)
    assert not networks_within(["10.1.0.0/16", "::/0"], wide)
    assert not networks_within(None, wide)


def test_a_network_is_parsed_or_refused() -> None:
    assert str(parse_network(" 10.0.0.9/8 ")) == "10.0.0.0/8"
    with pytest.raises(ValueError, match="10"):
        parse_network("10.0.0.0/40")
