"""What the benchmarks stand on: the plain-Python relay is correct, the open-loop generator hides nothing."""

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from bench import goals, messages, openloop, report
from bench.measure import BenchError, Row
from bench.plain import app as plain_app
from bench.plain import notary as plain
from starlette.testclient import TestClient

from ocn_fast import notary

KEY = messages.KEYS[messages.CPO]
BODY = b'{"id":"S1","kwh":12.50,"small":0.0000005,"big":1e21,"whole":20.0,"list":[-0,7,true,null,""]}'
HEADERS = {
    "x-correlation-id": "b3c4f3ac-3d0b-4a53-9f1c-6a2c51f1d9b7",
    "ocpi-from-country-code": "DE",
    "ocpi-from-party-id": "CPO",
    "ocpi-to-country-code": "DE",
    "ocpi-to-party-id": "MSP",
}


def values(body: bytes) -> dict[str, Any]:
    return plain.values(HEADERS, plain.REQUEST_HEADERS, {}, plain.orjson.loads(body))


def signed(body: bytes, container: notary.Container = "brotli") -> str:
    return notary.sign(notary.Values(HEADERS, None, body), KEY).serialize(container)


@pytest.mark.parametrize("container", ["brotli", "gzip"])
def test_plain_accepts_what_is_signed(container: notary.Container) -> None:
    assert plain.signer(signed(BODY, container), values(BODY)) == notary.address_of(KEY).lower()


@pytest.mark.parametrize(
    "changed",
    [
        BODY.replace(b"S1", b"S2"),
        BODY.replace(b"12.50", b"12.51"),
        BODY.replace(b'"whole"', b'"part"'),
        BODY.replace(b"{", b'{"more":1,', 1),
        BODY.replace(b',"whole":20.0', b""),
    ],
)
def test_plain_refuses_what_was_changed(changed: bytes) -> None:
    with pytest.raises(plain.Refused):
        plain.signer(signed(BODY), values(changed))


@pytest.mark.parametrize("text", ["", "AAAA", "H4sIAAAA", "e30=", "x" * 100])
def test_plain_refuses_what_is_no_signature(text: str) -> None:
    with pytest.raises(plain.Refused):
        plain.signer(text, values(BODY))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"), (-0.0, "0"), (20.0, "20"), (1e5, "100000"), (1e21, "1e+21"),
        (1e20, "100000000000000000000"), (1e-6, "0.000001"), (1e-7, "1e-7"),
        (5e-324, "5e-324"), (-1.5, "-1.5"), (12345678.9, "12345678.9"),
        (123456789012345678, "123456789012345680"), (2**53 + 1, "9007199254740992"), (0.1, "0.1"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)  # fmt: skip
def test_plain_writes_numbers_as_ecmascript(number: float, text: str) -> None:
    assert plain.number_text(number) == text


def test_messages_are_different_and_correctly_signed() -> None:
    batch = messages.Batch("session", 3)
    requests = [messages.request(batch, number) for number in range(3)]
    assert len({request.rpartition(b"\r\n\r\n")[2] for request in requests}) == 3
    head, _, body = requests[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    verdict = notary.verify(headers["ocn-signature"], notary.request_values(headers, "", body))
    assert verdict.signatory == notary.address_of(KEY)
    assert int(headers["content-length"]) == len(body)


def test_messages_take_the_token_and_start_where_asked(tmp_path: Any) -> None:
    file = tmp_path / "requests"
    batch = messages.Batch("session", 4, signed=False)
    written = [messages.request(batch, number) for number in range(4)]
    file.write_bytes(b"".join(b"%d\n%s" % (len(one), one) for one in written))
    token = "a" * len(messages.TOKEN)
    assert list(messages.read(file, token, 1, 2)) == [
        one.replace(messages.TOKEN.encode(), token.encode()) for one in written[1:3]
    ]
    with pytest.raises(BenchError):
        list(messages.read(file, "short"))


STALL_S = 0.5


class Stalling(http.server.BaseHTTPRequestHandler):
    """Answers at once, but every answer that falls into one stall waits for its end."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one piece: a head without its body would wait for an acknowledgement
    stall = (0.0, 0.0)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        start, end = self.stall
        now = time.perf_counter()
        if start <= now < end:
            time.sleep(end - now)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def stalling() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


REQUEST = b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


def test_open_loop_counts_a_stall_for_everyone_who_was_due(
    stalling: http.server.ThreadingHTTPServer,
) -> None:
    """100 messages a second for two seconds over four connections: only four can be out when all stands
    still, but fifty fall due. A generator that waits for answers would show four late ones."""
    now = time.perf_counter()
    Stalling.stall = (now + 0.5, now + 0.5 + STALL_S)
    outcome = openloop.run(stalling.server_port, [REQUEST] * 200, 100, 2, 4)
    late = [latency for latency in outcome.latencies if latency > STALL_S / 4]
    assert (outcome.sent, outcome.bad, outcome.behind) == (200, 0, False)
    assert len(late) >= 100 * STALL_S / 2
    assert max(late) >= STALL_S * 0.8


def test_open_loop_gives_up_on_a_relay_that_is_far_behind(
    stalling: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openloop, "_BACKLOG_S", 0.2)
    now = time.perf_counter()
    Stalling.stall = (now, now + 2)
    assert openloop.run(stalling.server_port, [REQUEST] * 400, 200, 2, 2).behind


def test_goals_are_judged_by_the_figures() -> None:
    row = Row("node, signed")
    row.add(per_second=5_000.0, floors=2.5)
    plain_row = Row("plain Python, signed")
    plain_row.add(per_second=500.0)
    judged = {one["measure"]: one for one in goals.judged([report.Section("Relay", (), [row, plain_row])])}
    assert judged["signed local, closed loop"]["verdict"] == "hit"
    assert judged["CPU per signed local message / (nginx + 2 recoveries)"]["verdict"] == "missed"
    assert judged["signed local / plain Python"]["verdict"] == "stretch hit"
    assert judged["start to ready"]["verdict"] == "not measured"


def party(party_id: str, key: bytes, endpoint: str) -> dict[str, str]:
    return {
        "country_code": "DE", "party_id": party_id, "address": notary.address_of(key),
        "token": f"Token {party_id}", "endpoint": endpoint, "token_there": "Token there",
    }  # fmt: skip


def test_plain_relay_delivers_what_is_signed_and_nothing_else() -> None:
    """The same pre-signed message as the node gets, then changed, unsigned, and by somebody else."""
    seen: list[bytes] = []
    content = b'{"status_code":1000,"timestamp":"2026-03-01T08:30:00Z"}'
    answer = notary.attach(
        content, notary.sign(notary.Values(None, None, content), messages.KEYS[messages.MSP]).serialize()
    )

    async def receive(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(body=answer, content_type="application/json")

    async def story() -> None:
        receiver = web.Application()
        receiver.router.add_route("*", "/{rest:.*}", receive)
        runner = web.AppRunner(receiver)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            await asyncio.to_thread(calls, f"http://127.0.0.1:{port}/2.2.1")
        finally:
            await runner.cleanup()

    def calls(endpoint: str) -> None:
        parties = [party("CPO", KEY, endpoint), party("MSP", messages.KEYS[messages.MSP], endpoint)]
        head, _, body = messages.request(messages.Batch("session", 1), 0).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        path = first.split()[1]
        headers = dict(line.split(": ", 1) for line in lines) | {"authorization": "Token CPO"}
        with TestClient(plain_app.create(parties)) as client:
            good = client.put(path, headers=headers, content=body)
            assert (good.content, seen) == (answer, [body])
            changed = body.replace(b"SESSION", b"SESSIOM", 1)
            unsigned = {name: value for name, value in headers.items() if name != "ocn-signature"}
            assert client.put(path, headers=headers, content=changed).json()["status_code"] == 2001
            assert client.put(path, headers=unsigned, content=body).json()["status_code"] == 2001
            wrong = headers | {"authorization": "Token MSP"}
            assert client.put(path, headers=wrong, content=body).status_code == 403
            unknown = headers | {"authorization": "Token X"}
            assert client.put(path, headers=unknown, content=body).status_code == 401
        assert seen == [body]

    asyncio.run(story())
