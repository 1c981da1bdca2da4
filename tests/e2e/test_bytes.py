"""I03: what the hub need not change arrives byte for byte on both legs, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import VERSION, Network, answer, envelope, network
from signed import Line, raw_request, signed_answer, signing, status_code


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("bytes"), "http.workers=2") as net:
        yield net


def parts(request: bytes) -> tuple[str, list[str], bytes]:
    """Request line, header lines and body of raw bytes."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    return line, fields, body


def relayed(
    net: Network, *, sign: bool, respond: bytes | None = None, **request: object
) -> tuple[bytes, bytes]:
    """Sends one request; returns what the receiver got and the body that came back."""
    seen: list[bytes] = []
    peer = net["CPO"]

    def reply(raw: bytes) -> bytes:
        seen.append(raw)
        body = envelope() if respond is None else respond
        return signed_answer(peer, body) if sign else answer(body)

    with peer.play(signing(peer, reply)), Line(net) as line:
        status, _, body = line.exchange(raw_request(net, sign=sign, **request))  # type: ignore[arg-type]
    assert status == 200, body
    assert len(seen) == 1, body
    return seen[0], body


def test_I03_every_ocpi_example_passes_unchanged(net: Network, shared: Path) -> None:
    files = sorted((shared / "vectors/ocpi-examples").rglob("*.json"))
    assert len(files) > 50
    for file in files:
        body = file.read_bytes()
        wrapped = b'{ "data" : ' + body + b', "status_code":1000,\r\n"timestamp":"2026-01-01T00:00:00Z"}'
        got, back = relayed(net, sign=False, body=body, respond=wrapped)
        assert parts(got)[2] == body, file.name
        assert back == wrapped, file.name


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"kwh":1.0e2,"cost":2.00,"big":9007199254740993}',
        b'{"url":"https:\\/\\/x","u":"\\u00e4\\u00E4"}',
        b'{\r\n\t"b" : [ ] ,\r\n\t"a" : { }\r\n}\r\n',
        b" [1, 2,3] ",
        b'"text"',
        b'{"x":"' + b"y" * (2 * 1024 * 1024) + b'"}',
    ],
    ids=["duplicates", "surrogate", "numbers", "escapes", "crlf", "array", "scalar", "2MiB"],
)
def test_I03_unsigned_bodies_pass_unchanged(net: Network, body: bytes) -> None:
    wrapped = b'{"status_code":1000,"data":' + body.strip() + b',"timestamp":"2026-01-01T00:00:00Z" }'
    got, back = relayed(net, sign=False, body=body, respond=wrapped)
    assert parts(got)[2] == body
    assert back == wrapped


@pytest.mark.parametrize(
    "body",
    [
        b'{"kwh":1.0e2,"cost":2.00}',
        b'{"url":"https:\\/\\/x","u":"\\u00e4\\u00E4"}',
        b'{\r\n\t"b" : [ 1 ] ,\r\n\t"a" : { }\r\n}\r\n',
        b'{"x":"' + b"y" * (2 * 1024 * 1024) + b'"}',
    ],
    ids=["numbers", "escapes", "crlf", "2MiB"],
)
def test_I03_signed_bodies_and_signatures_pass_unchanged(net: Network, body: bytes) -> None:
    request = raw_request(net, body=body)
    seen: list[bytes] = []
    peer = net["CPO"]
    sent_back = signed_answer(
        peer, b'{"data":{"x":1.50e0},"status_code":1000, "timestamp":"2026-01-01T00:00:00Z"}'
    )

    def reply(raw: bytes) -> bytes:
        seen.append(raw)
        return sent_back

    with peer.play(signing(peer, reply)), Line(net) as line:
        status, _, back = line.exchange(request)
    assert status == 200, back
    line_of = {field.partition(":")[0].lower(): field.partition(": ")[2] for field in parts(request)[1]}
    got = {field.partition(":")[0].lower(): field.partition(": ")[2] for field in parts(seen[0])[1]}
    assert got["ocn-signature"] == line_of["ocn-signature"]
    assert parts(seen[0])[2] == body
    assert back == sent_back.partition(b"\r\n\r\n")[2]


def test_A26_signed_duplicates_are_refused(net: Network) -> None:
    peer = net["CPO"]
    with peer.play(peer.serve), Line(net) as line:
        request = raw_request(net, body=b'{"a":1}').replace(b'{"a":1}', b'{"a":1,"a":1}')
        request = request.replace(b"Content-Length: 7", b"Content-Length: 13")
        status, _, body = line.exchange(request)
        assert (status, status_code(body)) == (200, 2001)
        assert peer.bytes_received == b""


@pytest.mark.parametrize(
    ("suffix", "query"),
    [
        ("/DE/CPO/a%2Fb%20c%C3%A4", ""),
        ("", "?date_from=2026-01-01T00%3A00%3A00%2B01%3A00&limit=5&&x=&=y&limit=6"),
        ("/", "?a=b+c&d=%26"),
        ("/x//y", ""),
        ("/%7Bid%7D;v=1", "?q='(!)*"),
    ],
)
def test_I03_paths_and_queries_pass_as_they_came(net: Network, suffix: str, query: str) -> None:
    target = f"/ocpi/sender/{VERSION}/locations{suffix}{query}"
    got, _ = relayed(net, sign=False, method="GET", target=target)
    assert parts(got)[0] == f"GET /sender/locations{suffix}{query} HTTP/1.1"


def test_A14_unknown_headers_are_dropped_and_ours_are_title_case(net: Network) -> None:
    unknown = {
        "X-Vendor": "1",
        "Cookie": "a=b",
        "X-Forwarded-For": "10.0.0.1",
        "Proxy-Authorization": "x",
        "OCN-Delivery": "yes",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/evil",
        "Connection": "OCPI-to-party-id",
    }
    got, _ = relayed(net, sign=False, body=b"{}", headers=unknown)
    names = [field.partition(":")[0] for field in parts(got)[1]]
    assert {name.lower() for name in names} == {
        "authorization",
        "x-request-id",
        "x-correlation-id",
        "ocpi-from-country-code",
        "ocpi-from-party-id",
        "ocpi-to-country-code",
        "ocpi-to-party-id",
        "content-type",
        "content-length",
        "host",
    }
    assert len(names) == len(set(names))
    assert all(name[0].isupper() for name in names), names
