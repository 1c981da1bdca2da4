"""One receiver that hangs holds a bounded share of the node, and after some failures nothing at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from peers import Network, Talk, network
from processes import until

DEADLINE_S = 3.0
AT_ONCE = 4
FAILURES = 6
OPEN_S = 2

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    flags = (
        "http.workers=1",
        f"relay.deadline_ms={DEADLINE_S * 1000:.0f}",
        "relay.connect_ms=500",
        f"limits.in_flight_per_receiver={AT_ONCE}",
        f"relay.breaker_failures={FAILURES}",
        f"relay.breaker_open_s={OPEN_S}",
    )
    with network(tmp_path_factory.mktemp("hanging"), *flags, parties=("MSP", "CPO", "HNG")) as running:
        yield running


def send_at_once(net: Network, count: int) -> tuple[list[threading.Thread], list[int]]:
    """So many messages to the receiver that hangs; their OCPI statuses, once they are answered."""
    statuses: list[int] = []

    def send() -> None:
        statuses.append(net.send(to="HNG").document["status_code"])

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, statuses


def test_A147_a_receiver_that_hangs(net: Network) -> None:
    hanging = net["HNG"]
    with hanging.play(Talk.until_closed):
        waiting, statuses = send_at_once(net, AT_ONCE)
        until(lambda: hanging.bytes_received.count(b"marker") == AT_ONCE, what="all that may wait")
        # One more than may wait is refused at once; others notice nothing.
        start = time.monotonic()
        assert net.send(to="HNG").verdict == (200, 4003, "no")
        net.probe()
        assert time.monotonic() - start < DEADLINE_S
        assert statuses == []
        for thread in waiting:
            thread.join()
        assert statuses == [4002] * AT_ONCE

        rest, statuses = send_at_once(net, FAILURES - AT_ONCE)
        for thread in rest:
            thread.join()
        assert statuses == [4002] * (FAILURES - AT_ONCE)
        # Now it counts as broken: nothing is sent to it.
        reply = net.send(to="HNG")
        opened = time.monotonic()
        assert reply.verdict == (200, 4003, "no")
        assert hanging.bytes_received.count(b"marker") == FAILURES
        net.probe()

        # One trial a period, which fails.
        verdicts = until(lambda: trial(net), OPEN_S + 30, "a trial")
        assert verdicts == (200, 4002, "maybe")
        assert time.monotonic() - opened >= OPEN_S - 0.5
        assert hanging.bytes_received.count(b"marker") == FAILURES + 1

    # It is back: the next trial closes the breaker.
    assert until(lambda: trial(net), OPEN_S + 30, "a trial")[1] == 1000
    for _ in range(AT_ONCE):
        assert net.send(to="HNG").verdict == (200, 1000, None)
    net.probe()


def trial(net: Network) -> tuple[int, int, str | None] | None:
    """The verdict on a message that was let through; None if it was not."""
    verdict = net.send(to="HNG").verdict
    return None if verdict == (200, 4003, "no") else verdict
