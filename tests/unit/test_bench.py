"""What the benchmarks stand on: the plain-Python relay is correct, the open-loop generator sends what was
written."""

import asyncio
import http.server
import json
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from bench import document, goals, messages, node, openloop, report
from bench.measure import BenchError, Row
from bench.plain import app as plain_app
from bench.plain import notary as plain

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


class Counting(http.server.BaseHTTPRequestHandler):
    """Refuses every tenth request, and keeps what it got."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one piece: a head without its body would wait for an acknowledgement
    got: list[tuple[str, str]]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, self.headers["authorization"]))
        self.send_response(403 if len(self.got) % 10 == 0 else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def counting() -> Iterator[http.server.ThreadingHTTPServer]:
    Counting.got = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.timeout(300)  # may have to build it
def test_open_loop_sends_what_messages_wrote_with_the_senders_token(
    tmp_path: Path, counting: http.server.ThreadingHTTPServer, tool: Callable[[str], str]
) -> None:
    """How it keeps time is tested where it is written, in `rust/load`."""
    tool("cargo")
    batch = messages.Batch("session", 60, signed=False)
    written = [messages.request(batch, number) for number in range(batch.count)]
    file = tmp_path / "messages"
    file.write_bytes(b"".join(b"%d\n%s" % (len(one), one) for one in written))
    token = "a" * len(messages.TOKEN)
    command = openloop.command(counting.server_port, file, token, first=10, rate=200, seconds=0.25)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert {name: told[name] for name in ("sent", "answered", "bad", "behind")} == {
        "sent": 50, "answered": 50, "bad": 5, "behind": False,
    }  # fmt: skip
    assert 0 <= told["p50"] <= told["p99"] <= told["p999"] <= told["worst"] <= told["seconds"]
    assert told["lag_p99"] <= told["worst"]
    paths = {one.split()[1].decode() for one in written[10:]}
    assert {path for path, _ in Counting.got} == paths
    assert {sent for _, sent in Counting.got} == {f"Token {token}"}


@pytest.mark.parametrize(("answered", "behind", "held"), [(100, False, True), (90, True, False)])
def test_a_steady_run_tells_whether_it_held_its_rate(answered: int, behind: bool, held: bool) -> None:
    told = {
        "sent": 100, "answered": answered, "bad": 0, "behind": behind, "seconds": 2.0,
        "p50": 0.001, "p99": 0.002, "p999": 0.003,
    }  # fmt: skip
    figures = {"per_second": answered / 2, "p50": 1.0, "p99": 2.0, "p999": 3.0}
    assert node.judged(told) == (figures, held)


@pytest.mark.parametrize("wrong", [{"bad": 1}, {"answered": 99}, {"bad": 1, "behind": True}])
def test_a_steady_run_with_an_answer_that_is_wrong_or_missing_gives_no_figures(wrong: dict[str, Any]) -> None:
    told = {
        "sent": 100, "answered": 100, "bad": 0, "behind": False, "seconds": 2.0,
        "p50": 0.001, "p99": 0.002, "p999": 0.003,
    }  # fmt: skip
    with pytest.raises(BenchError):
        node.judged(told | wrong)


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


def kept_run() -> dict[str, Any]:
    """A results file with one relay row and one signature row, as a run writes it."""
    relayed, verified = Row("node, signed <1>"), Row("verify CDR, brotli")
    relayed.add(per_second=4_321.0, p99=7.5, cpu=300.0, floors=2.0)
    verified.add(per_second=9_876.0)
    columns = [report.Column(name, name, 1) for name in ("per_second", "p99", "cpu", "floors", "memory")]
    sections = [
        report.Section("Relay", columns, [relayed]),
        report.Section("Signatures", columns, [verified]),
    ]
    machine = {
        "date": "2026-03-01T08:30:00+00:00", "commit": "abc", "cpu": "X", "cores": 2, "load_before": 0.1,
        "kernel": "6", "python": "3.11", "packages": {"granian": "2.8"}, "nginx": "nginx/1",
        "rustc": "rustc 1", "build": "B", "command": "python -m bench", "seconds": 9,
    }  # fmt: skip
    told = [section.to_builtins() for section in sections]
    return {"machine": machine, "goals": goals.judged(sections), "sections": told}


def test_document_shows_the_run_that_is_kept_and_invents_nothing() -> None:
    page = f"before\n{document.BEGIN}\nold 1,234\n{document.END}\nafter\n"
    full = document.rendered(page, kept_run())
    assert "| node, signed <1> | 4,321.0 ±0% | 7.5 ±0% | 300.0 ±0% | 2.0 ±0% |" in full
    assert "memory" not in full.partition("### Relay")[2]
    assert "1,234" not in full
    empty = document.rendered(full, None)
    assert document.NONE in empty
    assert "4,321" not in empty
    assert (empty.startswith("before"), empty.endswith("after\n")) == (True, True)


def test_charts_are_well_formed() -> None:
    drawn = document.drawings(kept_run())
    assert set(drawn) == {"rate", "cpu", "verify"}
    for text in drawn.values():
        widths = [
            float(bar.attrib["width"]) for bar in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}rect")
        ]
        assert max(widths) > 0
    assert "300 us = 2.0 x floor" in drawn["cpu"]


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
            await calls(f"http://127.0.0.1:{port}/2.2.1")
        finally:
            await runner.cleanup()

    async def calls(endpoint: str) -> None:
        parties = [party("CPO", KEY, endpoint), party("MSP", messages.KEYS[messages.MSP], endpoint)]
        head, _, body = messages.request(messages.Batch("session", 1), 0).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        url = "http://relay" + first.split()[1]
        headers = dict(line.split(": ", 1) for line in lines) | {"authorization": "Token CPO"}
        changed = body.replace(b"SESSION", b"SESSIOM", 1)
        unsigned = {name: value for name, value in headers.items() if name != "ocn-signature"}
        app = plain_app.create(parties)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
            good = await client.put(url, headers=headers, content=body)
            assert (good.content, seen) == (answer, [body])
            for refused, content, code in ((headers, changed, 2001), (unsigned, body, 2001)):
                said = await client.put(url, headers=refused, content=content)
                assert said.json()["status_code"] == code
            for token, status in (("Token MSP", 403), ("Token X", 401)):
                said = await client.put(url, headers=headers | {"authorization": token}, content=body)
                assert said.status_code == status
        assert seen == [body]

    asyncio.run(story())
