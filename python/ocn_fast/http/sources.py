"""Who connects: the client's address, the networks it may come from, and how often it may fail."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence

from starlette.requests import HTTPConnection

SOURCES = 10_000
"""Sources remembered within a minute: bounds the memory of a flood from everywhere."""
_MINUTE = 60.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Networks:
    """A set of networks in CIDR form."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def __contains__(self, address: Address | None) -> bool:
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def source_of(connection: HTTPConnection, proxies: Networks) -> Address | None:
    """The client's address; behind trusted proxies the one that the nearest of them saw. None if unknown."""
    address = _address(connection.client.host) if connection.client else None
    if address not in proxies:
        return address
    forwarded = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    # From the right: what stands left of the first foreign address was written by anybody.
    for text in reversed(forwarded):
        address = _address(text.strip())
        if address is None or address not in proxies:
            return address
    return address


class Failures:
    """Counts failures by source; past `per_minute` a source is refused until the minute is over."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._since = clock()
        self._counts: Counter[Address | None] = Counter()

    def exceeded(self, source: Address | None) -> bool:
        """Whether this source has failed too often."""
        if self._clock() - self._since >= _MINUTE:
            self._since = self._clock()
            self._counts.clear()
        return self._counts[source] >= self._per_minute

    def add(self, source: Address | None) -> None:
        """Notes a failure."""
        if source in self._counts or len(self._counts) < SOURCES:
            self._counts[source] += 1


class Rate:
    """Bounds how many requests a second each source may make."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._since = clock()
        self._counts: Counter[Address | None] = Counter()

    def take(self, source: Address | None) -> bool:
        """Whether this source may make one more request in this second."""
        now = self._clock()
        if now - self._since >= 1.0:
            self._since = now
            self._counts.clear()
        if self._counts[source] >= self._per_second:
            return False
        if source not in self._counts and len(self._counts) >= SOURCES:
            return False
        self._counts[source] += 1
        return True


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address
