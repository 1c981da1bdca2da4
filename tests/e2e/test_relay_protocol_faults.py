"""Faults between two running nodes: what the party is told agrees with what the receiver got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from node_messages import VERSION, acting, relayed, request, sign
from peers import Peer, Reply, Talk
from processes import until
from two_nodes import DOOR, STRANGER, Nodes, receiving, two_nodes

LOCATIONS = f"/ocpi/sender/{VERSION}/locations"
TOKEN = f"/ocpi/receiver/{VERSION}/tokens/DE/MSP/1"
DEADLINE_S = 1.5
NODE_DEADLINE_S = 5
SLACK_S = 3
"""What a busy machine may add."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    flags = (
        f"relay.deadline_ms={DEADLINE_S * 1_000:.0f}",
        f"relay.node_deadline_ms={NODE_DEADLINE_S * 1_000}",
        "relay.connect_ms=1000",
        "relay.breaker_open_s=1",
    )
    with two_nodes(tmp_path_factory.mktemp("nodes"), *flags) as nodes:
        put(nodes)  # each knows what the other speaks
        yield nodes


def put(nodes: Nodes, to: str = "CPO") -> Reply:
    return nodes.a.ask(to=to, method="PUT", target=TOKEN, body=b"{}", sign=False)


def timed(act: Callable[[], Reply]) -> tuple[float, Reply]:
    began = time.monotonic()
    reply = act()
    return time.monotonic() - began, reply


def silent(talk: Talk) -> None:
    """Reads, and never answers."""
    talk.until_closed()


def requests(peer: Peer) -> int:
    return peer.bytes_received.count(b"HTTP/1.1\r\n")


def test_F27_the_far_node_says_first_that_its_receiver_is_silent(nodes: Nodes) -> None:
    with nodes.b["CPO"].play(silent), nodes.b.proxy.altering() as passed:
        took, reply = timed(lambda: put(nodes))
        assert requests(nodes.b["CPO"]) == 1
    assert reply.verdict == (200, 4002, "maybe")
    assert DEADLINE_S <= took < DEADLINE_S + SLACK_S
    (exchange,) = passed
    assert (exchange.answer.status, exchange.answer.get("ocn-delivery")) == (504, "maybe")


def test_F27_a_silent_node_is_waited_for_until_the_deadline(nodes: Nodes) -> None:
    ended = threading.Event()

    def hang(_: object) -> bytes:
        ended.wait(NODE_DEADLINE_S + SLACK_S)
        return b""

    with receiving(nodes.stranger, acting(nodes, hang)) as seen:
        took, reply = timed(lambda: put(nodes, STRANGER))
        ended.set()
    assert reply.verdict == (200, 4002, "maybe")
    assert NODE_DEADLINE_S <= took < NODE_DEADLINE_S + SLACK_S
    assert len(relayed(seen)) == 1


@pytest.mark.parametrize(("left", "waits"), [("2", 1.0), ("60", DEADLINE_S)])
def test_F27_a_node_ends_a_second_before_the_one_that_asked(nodes: Nodes, left: str, waits: float) -> None:
    message = request(nodes.b, target=f"{DOOR}sender/locations", headers={"OCN-Deadline": left})
    with nodes.b["CPO"].play(silent):
        began = time.monotonic()
        answer = nodes.b.proxy.send(sign(message, nodes.stranger_key))
        took = time.monotonic() - began
    assert (answer.status, json.loads(answer.body)["status_code"]) == (504, 4002)
    assert waits <= took < waits + SLACK_S


@pytest.mark.parametrize("left", ["0", "1"])
def test_F27_without_time_nothing_is_sent(nodes: Nodes, left: str) -> None:
    message = request(nodes.b, headers={"OCN-Deadline": left})
    with receiving(nodes.b["CPO"]) as seen:
        answer = nodes.b.proxy.send(sign(message, nodes.stranger_key))
        assert answer.get("ocn-delivery") == "no", answer
        assert json.loads(answer.body)["status_code"] in (2001, 4003)
        assert seen == []


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_F43_a_message_whose_answer_was_lost_is_not_sent_again(nodes: Nodes, method: str) -> None:
    with (
        receiving(nodes.b["CPO"]) as seen,
        nodes.b.proxy.altering(answer=lambda _, __: None) as passed,
    ):
        target, body = (LOCATIONS, b"") if method == "GET" else (TOKEN, b"{}")
        reply = nodes.a.ask(method=method, target=target, body=body, sign=False)
        assert reply.verdict == (200, 4002, "maybe")
        assert (len(seen), len(passed)) == (1, 1)


def test_F42_a_partition_stops_only_what_crosses_it_and_heals(nodes: Nodes) -> None:
    with nodes.b.proxy.gone():
        for _ in range(12):
            assert put(nodes).verdict == (200, 4003, "no")
        assert put(nodes, "MS2").document["status_code"] == 1000
    until(lambda: put(nodes).document["status_code"] == 1000, 5, "the way to the other node")
