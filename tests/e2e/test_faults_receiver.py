"""Receivers that fail in every way: what the requester is told, and what the receiver really got."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import PATIENCE_S, Network, Peer, Script, Talk, answer, envelope, network
from processes import Running, children, until

DEADLINE_S = 1.5
CONNECT_S = 0.5
RESPONSE_BYTES = 65_536
FILES_SLACK = 16
"""Kept connections of both workers."""
SLACK_S = 3.0
"""What a busy machine may add to a deadline."""

NOT_DELIVERED = (200, 4003, "no")
MAYBE = (200, 4002, "maybe")
ANSWERED = (200, 4000, "yes")
ANSWERED_SUFFIX = "[answered by the receiver]"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    flags = (
        "http.workers=2",
        f"relay.deadline_ms={DEADLINE_S * 1000:.0f}",
        f"relay.connect_ms={CONNECT_S * 1000:.0f}",
        f"limits.response_bytes={RESPONSE_BYTES}",
        # The breaker has tests of its own; here every message must reach the receiver.
        "relay.breaker_failures=1000",
    )
    with network(tmp_path_factory.mktemp("faults"), *flags) as running:
        # A worker that is still starting has yet to open most of its files.
        until(lambda: len(workers_of(running.node)) == 2, what="both workers")
        running.probe()
        processes, workers = children(running.node.process.pid), workers_of(running.node)
        files = open_files(workers)
        yield running
        # No fault has ended a process, and none has left a connection behind.
        assert children(running.node.process.pid) == processes
        assert open_files(workers) <= files + FILES_SLACK
        log = running.node.log.read_text()
        assert not any(secret in log for peer in ("MSP", "CPO") for secret in secrets_of(running[peer]))


def workers_of(node: Running) -> list[int]:
    """The workers that serve."""
    return [line["pid"] for line in node.lines() if line["event"].startswith("Started worker-")]


def open_files(processes: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in processes)


def secrets_of(peer: Peer) -> list[str]:
    """What of a platform may never be seen anywhere."""
    tokens = [peer.token_b, peer.token_c]
    return [*tokens, *(base64.b64encode(token.encode()).decode() for token in tokens), peer.key.hex()]


@pytest.fixture(autouse=True)
def _probe_at_the_end(net: Network) -> Iterator[None]:
    yield
    net.probe()


@pytest.fixture
def receiver(net: Network) -> Peer:
    return net["CPO"]


def assert_took(start: float, expected: float) -> None:
    taken = time.monotonic() - start
    assert expected - 0.05 <= taken < expected + SLACK_S


def assert_answered(net: Network) -> None:
    """The hub says that the receiver answered, though not how it should have."""
    reply = net.send()
    assert reply.verdict == ANSWERED, reply.body
    assert reply.document["status_message"].endswith(ANSWERED_SUFFIX)
    # Hub-made: it bears the hub's name and none of the receiver's.
    assert reply.headers["ocpi-from-party-id"] == "HUB"


def times(peer: Peer, marker: bytes = b'{"marker": 1}') -> int:
    """How often a message reached the peer."""
    return peer.bytes_received.count(marker)


# -- no connection


def test_F25_an_address_that_never_answers_the_connect(net: Network, receiver: Peer) -> None:
    with receiver.deaf():
        start = time.monotonic()
        reply = net.send()
        assert reply.verdict == NOT_DELIVERED
        assert_took(start, CONNECT_S)


def test_F26_a_closed_port(net: Network, receiver: Peer) -> None:
    with receiver.gone():
        start = time.monotonic()
        reply = net.send()
        assert reply.verdict == NOT_DELIVERED
        assert "connection refused" in reply.document["status_message"]
        assert_took(start, 0)


# -- no answer


def test_F27_a_receiver_that_never_answers(net: Network, receiver: Peer) -> None:
    with receiver.play(Talk.until_closed):
        start = time.monotonic()
        reply = net.send()
        assert reply.verdict == MAYBE
        assert_took(start, DEADLINE_S)
        assert times(receiver) == 1


@pytest.mark.parametrize("at_once", [5, 90], ids=["head", "body"])
def test_F28_an_answer_that_drips(net: Network, receiver: Peer, at_once: int) -> None:
    whole = answer(envelope("x" * 1_000))
    assert whole.index(b"\r\n\r\n") < 90

    def drip(talk: Talk) -> None:
        talk.request()
        talk.write(whole[:at_once])
        pause = threading.Event()
        for byte in whole[at_once:]:
            pause.wait(0.1)
            if not talk.write(bytes([byte])):
                return

    with receiver.play(drip):
        start = time.monotonic()
        reply = net.send()
        assert reply.verdict == MAYBE
        assert_took(start, DEADLINE_S)
        assert times(receiver) == 1


# -- cut off


def test_F29_a_reset_after_the_connect(net: Network, receiver: Peer) -> None:
    with receiver.play(Talk.reset):
        for _ in range(20):
            assert net.send().verdict in (NOT_DELIVERED, MAYBE)
        assert times(receiver) == 0


def test_F29_a_reset_inside_the_request(net: Network, receiver: Peer) -> None:
    def cut(talk: Talk) -> None:
        talk.read()
        talk.reset()

    large = json.dumps({"marker": 1, "filler": "x" * 4_000_000}).encode()
    with receiver.play(cut):
        assert net.send(body=large).verdict == MAYBE
        assert len(receiver.received) == 1


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 O", answer()[:-5]], ids=["none", "head", "body"])
@pytest.mark.parametrize("ending", ["reset", "close", "half close"])
def test_F29_F30_an_answer_cut_off(net: Network, receiver: Peer, part: bytes, ending: str) -> None:
    def cut(talk: Talk) -> None:
        talk.request()
        talk.write(part)
        if ending == "reset":
            talk.reset()
        elif ending == "half close":
            talk.half_close()
            talk.until_closed()

    with receiver.play(cut):
        assert net.send().verdict == MAYBE
        assert times(receiver) == 1
        assert len(receiver.received) == 1


@pytest.mark.parametrize("half", [True, False], ids=["half close", "close"])
def test_F30_a_whole_answer_before_a_close_is_taken(net: Network, receiver: Peer, half: bool) -> None:
    without_length = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + envelope()
    closed = threading.Event()
    for whole in (answer(), without_length, answer().replace(b"HTTP/1.1", b"HTTP/1.0")):

        def say(talk: Talk, whole: bytes = whole) -> None:
            talk.request()
            talk.write(whole)
            if half:
                talk.half_close()
                closed.set()
                talk.until_closed()
            else:
                talk.close()
                closed.set()

        with receiver.play(say):
            for count in (1, 2):
                reply = net.send()
                assert (reply.status, reply.body) == (200, envelope())
                assert times(receiver) == count
                # What is written while the other side closes is lost, rightly so: the next comes after that.
                assert closed.wait(PATIENCE_S)
                closed.clear()


# -- no HTTP, or too much of it


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\xff\xfe\r\n\r\n",
        b"<html>it works</html>\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
    ],
    ids=["binary", "http 0.9", "ssh", "tls", "status"],
)
def test_F31_garbage(net: Network, receiver: Peer, garbage: bytes) -> None:
    def say(talk: Talk) -> None:
        talk.request()
        talk.write(garbage)
        talk.until_closed()

    with receiver.play(say):
        assert_answered(net)
        assert times(receiver) == 1


@pytest.mark.parametrize("kind", ["length", "chunks", "close"])
def test_F32_an_answer_without_end(net: Network, receiver: Peer, kind: str) -> None:
    heads = {
        "length": b"Content-Length: 1000000000\r\n\r\n",
        "chunks": b"Transfer-Encoding: chunked\r\n\r\n",
        "close": b"\r\n",
    }
    written: list[int] = []
    stopped = threading.Event()

    def flood(talk: Talk) -> None:
        talk.request()
        talk.write(b"HTTP/1.1 200 OK\r\n" + heads[kind])
        count = 0
        piece = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        while talk.write(piece):
            count += len(piece)
        written.append(count)
        stopped.set()

    with receiver.play(flood):
        assert_answered(net)
        assert stopped.wait(30)
    # The limit, and what the kernel's buffers hold.
    assert written[0] < 16 * 2**20


def test_F32_the_limit_of_answers(net: Network, receiver: Peer) -> None:
    frame = len(envelope(""))
    for length, passes in ((RESPONSE_BYTES, True), (RESPONSE_BYTES + 1, False)):
        body = envelope("x" * (length - frame))
        assert len(body) == length
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        for whole in (answer(body), chunked % (length, body)):

            def say(talk: Talk, whole: bytes = whole) -> None:
                talk.request()
                talk.write(whole)
                talk.until_closed()

            with receiver.play(say):
                if passes:
                    assert net.send().body == body
                else:
                    assert_answered(net)


@pytest.mark.parametrize("chunks", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"fffffffffffffffff\r\n{}"])
def test_F32_bad_chunks(net: Network, receiver: Peer, chunks: bytes) -> None:
    def say(talk: Talk) -> None:
        talk.request()
        talk.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        talk.until_closed()

    with receiver.play(say):
        assert_answered(net)


def saying(*whole: bytes) -> Script:
    """A script that answers every request with these pieces."""

    def say(talk: Talk) -> None:
        while talk.request():
            for piece in whole:
                if not talk.write(piece):
                    return

    return say


# -- early, empty, elsewhere


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize(
    ("status", "with_envelope", "expected"),
    [
        ("413 Content Too Large", True, (413, 2001, None)),
        ("503 Service Unavailable", True, (503, 2001, None)),
        ("413 Content Too Large", False, ANSWERED),
        ("401 Unauthorized", True, NOT_DELIVERED),
        ("403 Forbidden", True, NOT_DELIVERED),
    ],
)
def test_F34_an_early_answer(
    net: Network,
    receiver: Peer,
    closes: bool,
    status: str,
    with_envelope: bool,
    expected: tuple[int, int, str | None],
) -> None:
    body = envelope(code=2001) if with_envelope else b"too large"
    done = threading.Event()

    def refuse(talk: Talk) -> None:
        talk.read()
        talk.write(answer(body, status=status))
        if not closes:
            done.wait(30)

    large = json.dumps({"marker": 1, "filler": "x" * 8_000_000}).encode()
    with receiver.play(refuse):
        start = time.monotonic()
        reply = net.send(body=large)
        done.set()
        assert reply.verdict == expected, reply.body
        assert time.monotonic() - start < DEADLINE_S + SLACK_S
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["204", "205", "304", "empty 200"],
)
def test_F35_an_answer_without_a_body(net: Network, receiver: Peer, whole: bytes) -> None:
    with receiver.play(saying(whole)):
        assert_answered(net)
        assert times(receiver) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_F36_a_redirect(net: Network, receiver: Peer, status: int) -> None:
    second = Peer("XXX")
    try:
        moved = answer(b"", status=f"{status} Moved", headers=[f"Location: {second.url}/versions"])
        with receiver.play(saying(moved)):
            assert_answered(net)
        assert second.received == []
    finally:
        second.close()


# -- kept connections


def test_F37_kept_connections_that_the_peer_closes_at_any_time(net: Network, receiver: Peer) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)

    def fickle(talk: Talk) -> None:
        for _ in range(rng.randrange(1, 4)):
            if talk.request() is None or not talk.write(answer()):
                return
        threading.Event().wait(rng.random() * 0.01)

    outcomes: dict[str, tuple[int, int, str | None]] = {}

    def send(worker: int) -> None:
        for number in range(100):
            marker = f"<{worker}.{number}>"
            reply = net.send(body=json.dumps({"marker": marker}).encode())
            outcomes[marker] = reply.verdict

    with receiver.play(fickle):
        senders = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert len(outcomes) == 400
        for marker, verdict in outcomes.items():
            count = times(receiver, marker.encode())
            assert (verdict == (200, 1000, None) and count == 1) or (verdict == MAYBE and count <= 1), marker


@pytest.mark.parametrize("extra", [answer(envelope("foreign")), b"x", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_F38_bytes_after_an_answer(net: Network, receiver: Peer, extra: bytes) -> None:
    with receiver.play(saying(answer() + extra)):
        for _ in range(5):
            assert net.send().body == envelope()
        assert len(receiver.received) == 5


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Content-Length: 2\r\nContent-Length: 3"]
)
def test_F38_ambiguous_framing(net: Network, receiver: Peer, framing: bytes) -> None:
    whole = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with receiver.play(saying(whole)):
        assert_answered(net)


# -- everything at once


def test_I01_I02_I12_whatever_receivers_do_the_verdict_agrees_with_their_journal(
    net: Network, receiver: Peer
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    whole = answer()
    deeds = ["answer"] * 8 + ["error", "cut", "close", "reset", "unread", "garbage", "extra", "moved", "last"]

    def chaos(talk: Talk) -> None:
        while True:
            deed = "hang" if rng.random() < 0.02 else rng.choice(deeds)
            if deed == "unread" or talk.request() is None:
                return talk.reset()
            match deed:
                case "answer":
                    talk.write(whole)
                case "error":
                    talk.write(answer(envelope(code=3000), status="503 Service Unavailable"))
                case "extra":
                    talk.write(whole + whole)
                case "garbage":
                    talk.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
                case "moved":
                    talk.write(answer(b"", status="302 Found", headers=["Location: http://127.0.0.1:1/"]))
                case "cut":
                    talk.write(whole[: rng.randrange(len(whole))])
                    return None
                case "last":
                    talk.write(whole)
                    return None
                case "close":
                    return None
                case "reset":
                    return talk.reset()
                case "hang":
                    return talk.until_closed()

    outcomes: dict[str, tuple[int, int, str | None]] = {}

    def send(worker: int) -> None:
        for number in range(60):
            marker = f"<{worker}.{number}>"
            outcomes[marker] = net.send(body=json.dumps({"marker": marker}).encode()).verdict

    with receiver.play(chaos):
        senders = [threading.Thread(target=send, args=(worker,)) for worker in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        allowed = {
            (200, 1000, None): {1},
            (503, 3000, None): {1},
            ANSWERED: {1},
            MAYBE: {0, 1},
            NOT_DELIVERED: {0},
        }
        assert len(outcomes) == 480
        for marker, verdict in outcomes.items():
            assert times(receiver, marker.encode()) in allowed[verdict], (marker, verdict)
    assert set(outcomes.values()) >= {(200, 1000, None), (503, 3000, None), ANSWERED, MAYBE}


# -- what answers say


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": null}',
        b'{"status_code": 1000.0}',
        b'{"status_code": 1e3}',
        b'{"status_code": "1e3"}',
        b'{"status_code": null}',
        b'{"status_code": [1000]}',
        b'{"status_code": 1000, "status_code": 2000}',
        b'{"status_code": 1000, "status\\u005fcode": 2000}',
        b"[]",
        b"1000",
        b'"1000"',
        b"<html></html>",
        b'{"status_code": 1000',
        b'{"status_code": 1000}}',
        b'\xef\xbb\xbf{"status_code": 1000}',
    ],
)
def test_A31_an_answer_that_is_no_envelope(net: Network, receiver: Peer, body: bytes) -> None:
    with receiver.play(saying(answer(body))):
        assert_answered(net)


def test_A31_an_answer_that_is_one_in_its_own_way(net: Network, receiver: Peer) -> None:
    for body in (
        b'{"status_code":"1000"}',
        b' {"x":1e2,"status_code" : 1000,"data":{"a":1,"a":2}}\r\n',
        envelope(code=2001),
    ):
        with receiver.play(saying(answer(body))):
            reply = net.send()
            assert (reply.status, reply.body) == (200, body)
            assert "ocn-delivery" not in reply.headers


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_A53_a_receiver_that_refuses_the_token(net: Network, receiver: Peer, status: str) -> None:
    refusal = answer(envelope(code=2001), status=status, headers=['WWW-Authenticate: Token realm="x"'])
    with receiver.play(saying(refusal)):
        reply = net.send()
        assert reply.verdict == NOT_DELIVERED
        assert "www-authenticate" not in reply.headers


def test_A53_tokens_never_cross(net: Network, receiver: Peer) -> None:
    sender = net["MSP"]
    leaking = answer(headers=["Authorization: Token leaked", "X-Echo: leaked"])
    with receiver.play(saying(leaking)):
        reply = net.send()
        seen = receiver.bytes_received.lower()
        assert seen.count(b"authorization:") == 1
        for secret in (sender.token_c, sender.token_b):
            assert secret.encode() not in receiver.bytes_received
        assert b"leaked" not in repr(reply.lines).encode()
        for secret in (receiver.token_b, receiver.token_c):
            assert secret not in repr(reply)


def test_A80_headers_of_answers(net: Network, receiver: Peer) -> None:
    tricks = [
        "Set-Cookie: session=1",
        "Refresh: 0; url=http://evil.example/",
        "Server: evil",
        "X-Frame-Options: ALLOW",
        "Access-Control-Allow-Origin: *",
        "OCPI-from-country-code: FR",
        "OCPI-from-party-id: EVL",
        "OCPI-to-country-code: FR",
        "OCPI-to-party-id: EVL",
        "OCN-Delivery: no",
        "X-Limit: 50",
        "X-Total-Count: 7",
    ]
    html = answer(headers=tricks).replace(b"application/json", b"text/html")
    with receiver.play(saying(html)):
        reply = net.send()
    assert (reply.status, reply.body) == (200, envelope())
    allowed = {
        "content-type", "content-length", "date", "server", "x-content-type-options", "x-request-id",
        "x-correlation-id", "x-limit", "x-total-count", "ocpi-from-country-code", "ocpi-from-party-id",
        "ocpi-to-country-code", "ocpi-to-party-id",
    }  # fmt: skip
    assert set(reply.headers) <= allowed
    assert len(reply.lines) == len(reply.headers)
    assert reply.headers["content-type"].partition(";")[0] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "evil" not in repr(reply.lines).lower()
    routing = [reply.headers[f"ocpi-{way}-party-id"] for way in ("from", "to")]
    assert routing == ["CPO", "MSP"]
    assert (reply.headers["x-limit"], reply.headers["x-total-count"]) == ("50", "7")


@pytest.mark.parametrize(("count", "passes"), [(98, True), (99, False), (1_000, False)])
def test_A80_the_number_of_headers(net: Network, receiver: Peer, count: int, passes: bool) -> None:
    # Two more are the type and the length.
    with receiver.play(saying(answer(headers=["X-A: 1"] * count))):
        if passes:
            assert net.send().body == envelope()
        else:
            assert_answered(net)
