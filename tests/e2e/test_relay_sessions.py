"""Session keys between two running nodes: messages arrive once and whole, whatever becomes of a session.

The other end of a session is also played by an implementation of RFC 9421 and HKDF that is not ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_message_signatures import InvalidSignature
from node_messages import (
    REQUEST,
    RESPONSE,
    THEIRS,
    VERSION,
    Session,
    acting,
    ask_session,
    by_session,
    give_session,
    node_answer,
    open_session,
    parse,
    present,
    relayed,
    request,
    sign,
    verify,
)
from peers import Reply, answer
from processes import until
from two_nodes import SESSION, STRANGER, Message, Node, Nodes, receiving, two_nodes

TOKEN = f"/ocpi/receiver/{VERSION}/tokens/DE/MSP/0%2F1?type=RFID&x=%C3%A4+"
BODY = b'{"valid" :false, "n":1.50e0}'


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Fresh ones, without sessions. Who lost a session may ask for another after a second."""
    with two_nodes(tmp_path, "relay.session_retry_s=1") as nodes:
        yield nodes


def put(nodes: Nodes) -> Reply:
    return nodes.a.ask(method="PUT", target=TOKEN, body=BODY, sign=False)


def delivered(nodes: Nodes) -> list[Message]:
    """One message from A to B: it is answered and arrives once, whole. What passed between the nodes."""
    with receiving(nodes.b["CPO"]) as seen, nodes.b.proxy.altering() as passed:
        reply = put(nodes)
        assert (reply.status, reply.document["status_code"]) == (200, 1000), reply.body
        (arrived,) = seen
        assert (arrived.method, arrived.body) == ("PUT", BODY)
        assert arrived.target.endswith("/tokens/DE/MSP/0%2F1?type=RFID&x=%C3%A4+")
    return [exchange.request for exchange in passed]


def test_the_first_message_is_signed_and_those_after_a_session_are_not(nodes: Nodes) -> None:
    (first,) = delivered(nodes)
    assert verify(first)[0] == nodes.a.address
    open_session(nodes.a, nodes.b)
    (later,) = delivered(nodes)
    assert by_session(later)
    assert [name for name, _ in later.fields] == [name for name, _ in first.fields]
    (asked,) = nodes.b.proxy.asked
    assert verify(asked.request)[0] == nodes.a.address
    assert verify(asked.answer, asked.request)[0] == nodes.b.address
    assert figure(nodes.a, "opened") == figure(nodes.b, "given") == 1


def figure(node: Node, name: str) -> float:
    """Of the sessions that /metrics counts; written once a second."""

    def written() -> list[str]:
        text = node.net.call("GET", "/metrics", {}).body.decode()
        line = f"ocn_fast_sessions_{name}_total "
        return [row.removeprefix(line) for row in text.splitlines() if row.startswith(line)]

    (number,) = until(lambda: [row for row in written() if float(row)], what=name)
    return float(number)


def test_R8_an_independent_implementation_reads_what_a_session_covers(nodes: Nodes) -> None:
    sessions: list[Session] = []

    def respond(message: Message) -> bytes:
        signed = node_answer(nodes.stranger_key, message)
        if not by_session(message):
            return signed
        return sessions[0].sign(parse(signed.decode()), answered=message).raw

    plain = acting(nodes, respond)

    def script(raw: bytes) -> bytes:
        message = parse(raw.decode())
        if message.target != SESSION:
            return plain(raw)
        given, session = give_session(message, nodes.stranger_key, "a-name_of-OURS-1")
        sessions.append(session)
        return given

    def under_session() -> bool:
        reply = nodes.a.ask(method="PUT", to=STRANGER, target=TOKEN, body=BODY, sign=False)
        assert (reply.status, reply.body) == (200, THEIRS)
        return by_session(relayed(seen)[-1])

    with receiving(nodes.stranger, script) as seen:
        until(under_session, what="a session")
        (session,) = sessions
        message = relayed(seen)[-1]
    covered = session.verify(message)
    assert covered[:-1] == [f'"{name}"' for name in present(message, REQUEST)]
    with pytest.raises(InvalidSignature):
        Session(session.id, session.answer_key, session.request_key).verify(message)


def test_R8_we_read_what_an_independent_implementation_sends_under_a_session(nodes: Nodes) -> None:
    session = ask_session(nodes.b, nodes.stranger_key)
    target = "/ocn/relay/receiver/tokens/DE/EXT/a%2Fb?x=%C3%A4+&x=;"
    with receiving(nodes.b["CPO"], lambda _: answer(headers=("X-Limit: 5",))) as seen:
        sent = session.sign(request(nodes.b, method="PUT", target=target, body=BODY))
        got = nodes.b.proxy.send(sent)
        assert (got.status, got.get("ocn-origin")) == (200, "receiver"), got
        (arrived,) = seen
        assert (arrived.target, arrived.body) == ("/receiver/tokens/DE/EXT/a%2Fb?x=%C3%A4+&x=;", BODY)
        covered = session.verify(got, sent)
        expected = [name if '"' in name else f'"{name}"' for name in present(got, RESPONSE)]
        assert covered[:-1] == expected
        # Again; of a party that is another operator's; with the key of answers; altered.
        refused(nodes.b.proxy.send(sent), 401)
        foreign = session.sign(request(nodes.b, sender="MSP", target=target))
        got = nodes.b.proxy.send(foreign)
        refused(got, 403)
        session.verify(got, foreign)
        swapped = Session(session.id, session.answer_key, session.request_key)
        refused(nodes.b.proxy.send(swapped.sign(request(nodes.b, target=target))), 401)
        fresh = session.sign(request(nodes.b, target=target))
        refused(nodes.b.proxy.send(fresh.having("ocn-deadline", "14")), 401)
        late = session.sign(request(nodes.b, target=target), age_s=40)
        refused(nodes.b.proxy.send(late), 401)
        # What is signed is answered signed, session or not.
        signed = sign(request(nodes.b, method="PUT", target=target, body=BODY), nodes.stranger_key)
        assert verify(nodes.b.proxy.send(signed), signed)[0] == nodes.b.address
        assert len(seen) == 2


def refused(got: Message, status: int) -> None:
    """Nothing was delivered, and the session is not to blame."""
    assert (got.status, got.get("ocn-delivery"), got.get("ocn-session")) == (status, "no", None), got


def lost(passed: list[Message]) -> None:
    """The message went under its session, and once more signed."""
    assert [by_session(message) for message in passed] == [True, False]


@pytest.mark.parametrize("which", ["sender", "receiver"])
def test_a_restart_of_either_node_loses_no_message(nodes: Nodes, which: str) -> None:
    open_session(nodes.a, nodes.b)
    nodes.restart(nodes.a if which == "sender" else nodes.b)
    (message,) = delivered(nodes)
    # The receiver's sessions are in their names; the sender's are in memory.
    assert by_session(message) == (which == "receiver")


def test_a_new_key_in_the_ring_of_the_receiver_ends_no_session(nodes: Nodes) -> None:
    open_session(nodes.a, nodes.b)
    ring = nodes.b.net.settings.parent / "keyring.json"
    keys = json.loads(ring.read_text())["keys"]
    ring.write_text(json.dumps({"keys": [{"id": 2, "key": os.urandom(32).hex()}, *keys]}))
    nodes.restart(nodes.b)
    (message,) = delivered(nodes)
    assert by_session(message)


def test_a_lost_session_costs_one_signature_and_no_message(nodes: Nodes) -> None:
    open_session(nodes.a, nodes.b)
    nodes.relist("a", f"{nodes.a.proxy.url}/elsewhere")
    lost(delivered(nodes))
    assert figure(nodes.a, "lost") == 1
    open_session(nodes.a, nodes.b)
    (message,) = delivered(nodes)
    assert by_session(message)


def test_a_receiver_that_was_switched_off_and_on_again_misses_no_message(nodes: Nodes) -> None:
    open_session(nodes.a, nodes.b)
    flags = nodes.b.net.flags
    nodes.b.net.flags = (*flags, "relay.session_keys=false")
    nodes.restart(nodes.b)
    lost(delivered(nodes))
    nodes.b.net.flags = flags
    nodes.restart(nodes.b)
    open_session(nodes.a, nodes.b)
    (message,) = delivered(nodes)
    assert by_session(message)


def test_any_worker_of_the_receiver_takes_a_session(tmp_path: Path) -> None:
    with two_nodes(tmp_path, b=["http.workers=2"]) as nodes:
        open_session(nodes.a, nodes.b)
        (asked,) = nodes.b.proxy.asked
        session = json.loads(asked.answer.body)["id"]
        for _ in range(16):
            # Each on a connection of its own, so whichever worker takes it.
            (message,) = delivered(nodes)
            assert session in (message.get("signature-input") or "")
        assert len(nodes.b.proxy.asked) == 1


def test_R5_a_party_that_moved_takes_no_session_along(nodes: Nodes) -> None:
    session = ask_session(nodes.b, nodes.stranger_key)

    def status(sender: str) -> int:
        message = request(nodes.b, sender=sender, target="/ocn/relay/sender/locations")
        return nodes.b.proxy.send(session.sign(message)).status

    with receiving(nodes.b["CPO"]):
        assert (status(STRANGER), status("MS2")) == (200, 403)
        nodes.move("MS2", "stranger")
        assert status("MS2") == 200
        nodes.move("MS2", "a")
        assert status("MS2") == 403


def test_R5_an_operator_that_moved_or_left_has_no_sessions_any_more(nodes: Nodes) -> None:
    session = ask_session(nodes.b, nodes.stranger_key)

    def got() -> Message:
        message = request(nodes.b, target="/ocn/relay/sender/locations")
        return nodes.b.proxy.send(session.sign(message))

    with receiving(nodes.b["CPO"]):
        assert got().status == 200
        nodes.relist("stranger", "http://127.0.0.1:9/elsewhere")
        answer = got()
        assert (answer.status, answer.get("ocn-session"), answer.get("signature")) == (401, "lost", None)
        nodes.relist("stranger", nodes.stranger.url)
        assert got().status == 200


@pytest.mark.parametrize("off", ["a", "b"])
def test_a_node_without_sessions_and_one_with_them_understand_each_other(tmp_path: Path, off: str) -> None:
    flags = ["relay.session_keys=false"]
    with two_nodes(
        tmp_path, "relay.session_retry_s=1", a=flags if off == "a" else (), b=flags if off == "b" else ()
    ) as nodes:
        for _ in range(3):
            (message,) = delivered(nodes)
            assert verify(message)[0] == nodes.a.address
        if off == "a":
            assert nodes.b.proxy.asked == []
        else:
            asked = until(lambda: list(nodes.b.proxy.asked), what="a request for a session")
            unknown = nodes.b.proxy.send(asked[0].request)
            assert [asked[0].answer.status, unknown.status] == [404, 404]
            assert figure(nodes.a, "refused") >= 1


def test_a_lie_about_a_lost_session_makes_no_second_delivery(nodes: Nodes) -> None:
    open_session(nodes.a, nodes.b)
    lie = answer(
        b"{}",
        status="401 Unauthorized",
        headers=("OCN-Origin: node", "OCN-Delivery: no", "OCN-Session: lost"),
    )
    with (
        receiving(nodes.b["CPO"]) as seen,
        nodes.b.proxy.altering(answer=lambda _, __: parse(lie.decode())) as passed,
    ):
        reply = put(nodes)
        assert reply.document["status_code"] == 4003, reply.body
        lost([exchange.request for exchange in passed])
        assert [exchange.answer.status for exchange in passed] == [200, 401]
        assert len(seen) == 1
