"""Where a connection comes from, when proxies stand between.

``X-Forwarded-For`` is written by anyone; only what our own proxies added to it counts. Read
from the right, the first address that is not one of theirs is the client's.
"""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list such as ``10.0.0.0/8 fd00::/8``. Raises ValueError."""
    return tuple(ipaddress.ip_network(word) for word in text.replace(",", " ").split())


def client_address(remote: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address to count a connection by.

    ``remote`` is the peer of the socket, ``forwarded`` the values of every
    ``X-Forwarded-For`` header in their order, ``trusted`` our proxies.
    """
    address = remote or ""
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    while hops and _is_in(address, trusted):
        address = hops.pop()
    return address


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
