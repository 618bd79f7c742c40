"""Whom an address limit counts, with honest proxies and dishonest clients."""

import pytest

from stretto_server.addresses import client_address, parse_networks

OURS = parse_networks("10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.2.3.4", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["10.4.4.4"], "10.4.4.4"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["nonsense"], "nonsense"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        (None, ["198.51.100.1"], ""),
    ],
)
def test_the_last_address_that_is_not_ours(
    remote: str | None, forwarded: list[str], expected: str
) -> None:
    assert client_address(remote, forwarded, OURS) == expected


def test_without_proxies_the_header_counts_for_nothing() -> None:
    assert client_address("10.1.2.3", ["198.51.100.1"], ()) == "10.1.2.3"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "10.0.0.0/99"])
def test_wrong_networks_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_networks(text)
