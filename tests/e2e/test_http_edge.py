"""The edge: what HTTP itself allows to go wrong, over plain sockets (`docs/reliability.md`, "What the HTTP
parser decides"). Every refusal is checked at the receiver too: nothing may have reached it."""

from __future__ import annotations

import json
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from peers import VERSION, Network, Talk, answer, envelope, network
from processes import children, command_of, until
from signed import routing, token

BODY_BYTES = 100_000
HEADER_BYTES = 131_072
BODY = b'{"marker":1}'
PATH = f"/ocpi/receiver/{VERSION}/tokens/DE/MSP/0123"
TIMEOUT_MS = 1_000
LINGER_MS = 1_500


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    limits = (
        f"http.body_bytes={BODY_BYTES}",
        f"http.config_body_bytes={BODY_BYTES}",
        f"http.body_timeout_ms={TIMEOUT_MS}",
        f"http.linger_ms={LINGER_MS}",
    )
    with network(tmp_path_factory.mktemp("edge"), *limits) as net:
        yield net


@contextmanager
def untouched(net: Network) -> Iterator[None]:
    """Not one byte reaches the receiver meanwhile, and a proper message does afterwards."""
    with net["CPO"].play(net["CPO"].serve):
        yield
        assert net["CPO"].bytes_received == b""
        net.probe()


def head(
    net: Network,
    *lines: str | bytes,
    method: str = "PUT",
    path: str | bytes = PATH,
    without: tuple[str, ...] = (),
    host: str | None = None,
) -> bytes:
    """A request's head: a proper one, with these lines added and those headers left out."""
    fields = {"Host": host or f"127.0.0.1:{net.node.port}", "Authorization": token(net["MSP"])}
    fields |= routing("MSP", "CPO") | {"Content-Type": "application/json"}
    own = [f"{name}: {value}" for name, value in fields.items() if name not in without]
    raw = [line if isinstance(line, bytes) else line.encode() for line in (*own, *lines)]
    target = path if isinstance(path, bytes) else path.encode()
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + b"\r\n".join(raw) + b"\r\n\r\n"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def verdict(self) -> tuple[int, int]:
        """HTTP status and OCPI status."""
        return self.status, json.loads(self.body)["status_code"]


class Client:
    """One connection to the node."""

    def __init__(self, net: Network) -> None:
        self.socket = socket.create_connection(("127.0.0.1", net.node.port), timeout=20)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends as much as the node takes: it may close before all is sent."""
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def all(self) -> list[Answer]:
        """Every answer until the node closes the connection; fails if it does not close it."""
        data = b""
        # Bytes that the node did not stay to read make its system reset the connection after the answer.
        with suppress(ConnectionResetError):
            while more := self.socket.recv(65_536):
                data += more
        found = []
        while data:
            answer, data = _split(data)
            found.append(answer)
        return found

    def one(self) -> Answer:
        """The next answer; the connection stays."""
        data = b""
        while True:
            more = self.socket.recv(65_536)
            assert more, data
            data += more
            if b"\r\n\r\n" in data:
                length = _length(data.partition(b"\r\n\r\n")[0])
                if len(data.partition(b"\r\n\r\n")[2]) >= length:
                    return _split(data)[0]


def _length(lines: bytes) -> int:
    fields = [line.lower() for line in lines.split(b"\r\n")]
    return next((int(line[15:]) for line in fields if line.startswith(b"content-length:")), 0)


def _split(data: bytes) -> tuple[Answer, bytes]:
    lines, _, rest = data.partition(b"\r\n\r\n")
    first, *fields = lines.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    length = _length(lines)
    return Answer(int(first.split()[1]), headers, rest[:length]), rest[length:]


def resident(process: int) -> int:
    """Bytes of memory that a process holds now."""
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def exchange(net: Network, data: bytes) -> list[Answer]:
    """Sends these bytes; returns every answer until the node closes."""
    with Client(net) as client:
        client.send(data)
        return client.all()


def ask(net: Network, *lines: str | bytes, body: bytes = BODY, **more: object) -> Answer:
    """One request, the last on its connection."""
    framing = (f"Content-Length: {len(body)}",) if body else ()
    [only] = exchange(net, head(net, *lines, *framing, "Connection: close", **more) + body)  # type: ignore[arg-type]
    return only


# -- bodies that do not come


def test_A02_without_a_valid_token_the_body_is_not_awaited(net: Network) -> None:
    with untouched(net):
        stranger = ("Authorization: Token nobody", "Content-Length: 100")
        [refused] = exchange(net, head(net, *stranger, without=("Authorization",)))
        assert refused.verdict == (401, 2001)


def test_A02_a_stalled_body_is_408_and_never_forwarded(net: Network) -> None:
    with untouched(net):
        [refused] = exchange(net, head(net, "Content-Length: 100") + b"x" * 50)
        assert refused.verdict == (408, 2001)
        assert refused.headers["ocn-delivery"] == "no"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_A02_a_body_that_is_cut_off_is_never_forwarded(net: Network, how: str) -> None:
    with untouched(net), Client(net) as client:
        client.send(head(net, f"Content-Length: {len(BODY) + 1}") + BODY)
        if how == "fin":
            client.socket.shutdown(socket.SHUT_WR)
            client.all()
        else:
            client.reset()


def test_A07_a_body_above_the_limit_is_refused_unread_and_one_at_it_passes(net: Network) -> None:
    at = b'"' + b"x" * (BODY_BYTES - 2) + b'"'
    assert ask(net, body=at).status == 200
    with untouched(net):
        [refused] = exchange(net, head(net, f"Content-Length: {BODY_BYTES + 1}"))
        assert refused.verdict == (413, 2001)


def test_A08_an_endless_body_is_refused_and_closed(net: Network) -> None:
    piece = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    with untouched(net):
        endless = piece * (4 * BODY_BYTES // 0x1000)
        [refused] = exchange(net, head(net, "Transfer-Encoding: chunked") + endless)
        assert refused.verdict == (413, 2001)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
@pytest.mark.parametrize(
    ("path", "authorization", "size", "status"),
    [
        (PATH, (), 80 * BODY_BYTES, 413),
        (PATH, ("Authorization: Token nobody",), BODY_BYTES, 401),
        (f"/ocpi/{VERSION}/credentials", (), 80 * BODY_BYTES, 413),
        ("/nowhere", (), 80 * BODY_BYTES, 404),
    ],
)
def test_A07_who_sends_a_large_body_to_its_end_sees_why_it_was_refused(
    net: Network, path: str, authorization: tuple[str, ...], size: int, status: int, chunked: bool
) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    without = ("Authorization",) if authorization else ()
    with untouched(net), Client(net) as client:
        client.socket.sendall(head(net, framing, *authorization, path=path, without=without))
        client.socket.sendall(b"%x\r\n" % size if chunked else b"")
        client.socket.sendall(b"x" * size)
        client.socket.sendall(b"\r\n0\r\n\r\n" if chunked else b"")
        assert client.one().status == status


def test_A08_who_never_ends_a_refused_body_is_cut_off(net: Network) -> None:
    def keep_sending(client: Client) -> None:
        for _ in range(100):
            client.socket.sendall(b"x" * 65_536)
            time.sleep(0.1)

    with untouched(net), Client(net) as client:
        client.socket.sendall(head(net, f"Content-Length: {10**12}"))
        begun = time.monotonic()
        with pytest.raises(ConnectionError):
            keep_sending(client)
        assert time.monotonic() - begun >= LINGER_MS / 1_000


def test_A19_nothing_is_continued_that_will_be_refused(net: Network) -> None:
    with untouched(net):
        expect = "Expect: 100-continue"
        fields = ("Authorization: Token nobody", "Content-Length: 9", expect)
        stranger = head(net, *fields, without=("Authorization",))
        assert [answer.status for answer in exchange(net, stranger)] == [401]
        large = head(net, f"Content-Length: {BODY_BYTES + 1}", expect)
        assert [answer.status for answer in exchange(net, large)] == [413]
    with Client(net) as client:
        client.send(head(net, f"Content-Length: {len(BODY)}", expect))
        assert client.one().status == 100
        client.send(BODY)
        assert client.one().status == 200


# -- where a message ends

CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"
FRAMINGS: dict[str, tuple[tuple[str | bytes, ...], bytes]] = {
    "two TE, one unknown": (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), CHUNKED),
    "two TE": (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), CHUNKED),
    "unknown TE": (("Transfer-Encoding: xchunked",), CHUNKED),
    "chunked not last": (("Transfer-Encoding: chunked, identity",), CHUNKED),
    "chunked not alone": (("Transfer-Encoding: identity, chunked",), CHUNKED),
    "TE with a vertical tab": ((b"Transfer-Encoding: chunked\x0b",), CHUNKED),
    "TE with a bare CR": ((b"Transfer-Encoding: chunked\r",), CHUNKED),
    "two lengths": (("Content-Length: 2", "Content-Length: 3"), b"{} "),
    "length with a sign": (("Content-Length: +2",), b"{}"),
    "length in hex": (("Content-Length: 0x2",), b"{}"),
    "list of lengths": (("Content-Length: 2,2",), b"{}"),
    "negative length": (("Content-Length: -1",), b"{}"),
    "empty length": (("Content-Length: ",), b"{}"),
    "length beyond any number": (("Content-Length: 99999999999999999999",), b"{}"),
}


def hidden(net: Network) -> bytes:
    """A request that would be relayed if anybody saw it as one."""
    body = b'{"hidden":1}'
    return head(net, f"Content-Length: {len(body)}") + body


@pytest.mark.parametrize("name", FRAMINGS)
def test_A10_what_can_be_framed_in_two_ways_is_refused_and_closed(net: Network, name: str) -> None:
    lines, body = FRAMINGS[name]
    with untouched(net):
        answers = exchange(net, head(net, *lines) + body + hidden(net))
        assert [answer.status for answer in answers] == [400]


@pytest.mark.parametrize("first", ["Content-Length", "Transfer-Encoding"])
def test_A10_a_length_beside_chunked_is_ignored_and_the_connection_closed(net: Network, first: str) -> None:
    lines = ["Content-Length: 3", "Transfer-Encoding: chunked"]
    with net["CPO"].play(net["CPO"].serve):
        ordered = sorted(lines, key=lambda line: not line.startswith(first))
        answers = exchange(net, head(net, *ordered) + CHUNKED + hidden(net))
        assert [answer.status for answer in answers] == [200]
        received = net["CPO"].bytes_received
        assert b"hidden" not in received
        assert received.endswith(b"\r\n\r\n{}")
        lower = received.lower()
        assert lower.count(b"content-length:") == 1
        assert b"transfer-encoding:" not in lower


@pytest.mark.parametrize("broken", [b"zz\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}xx0\r\n\r\n"])
def test_A10_broken_chunks_are_never_forwarded(net: Network, broken: bytes) -> None:
    with untouched(net):
        answers = exchange(net, head(net, "Transfer-Encoding: chunked") + broken + hidden(net))
        assert all(answer.status >= 400 for answer in answers)


@pytest.mark.parametrize("spelling", ["CHUNKED", "\tchunked"])
def test_A10_chunked_alone_is_framed_as_it_should_be(net: Network, spelling: str) -> None:
    with net["CPO"].play(net["CPO"].serve):
        [relayed] = exchange(net, head(net, f"Transfer-Encoding:{spelling}", "Connection: close") + CHUNKED)
        assert relayed.status == 200
        assert net["CPO"].bytes_received.endswith(b"\r\n\r\n{}")


def test_A10_a_request_in_the_body_of_a_get_is_a_body(net: Network) -> None:
    with untouched(net):
        body = hidden(net)
        framing = (f"Content-Length: {len(body)}", "Connection: close")
        answers = exchange(net, head(net, *framing, method="GET") + body)
        assert len(answers) == 1


# -- heads


@pytest.mark.parametrize(
    "line",
    [b"X-A: b\rc", b"X-A: b\x00c", b"X-A: b\r\n c", b"X-A : b", b"X-\xc3\xa4: b", b": b"],
    ids=["bare CR", "NUL", "fold", "space before the colon", "name not ASCII", "no name"],
)
def test_A11_malformed_lines_are_400(net: Network, line: bytes) -> None:
    with untouched(net):
        answers = exchange(net, head(net, line, f"Content-Length: {len(BODY)}") + BODY + hidden(net))
        assert [answer.status for answer in answers] == [400]


def test_A11_a_name_with_underscores_is_no_ocpi_header(net: Network) -> None:
    with untouched(net):
        refused = ask(net, "OCPI_to_party_id: CPO", without=("OCPI-to-party-id",))
        assert refused.verdict == (400, 2001)
    with net["CPO"].play(net["CPO"].serve):
        assert ask(net, "OCPI_to_party_id: XXX").status == 200
        assert b"ocpi_to_party_id" not in net["CPO"].bytes_received.lower()


REPEATED = [*routing("MSP", "CPO"), "Authorization", "Host", "OCN-Signature", "Content-Type"]


@pytest.mark.parametrize("name", REPEATED)
@pytest.mark.parametrize("equal", [True, False])
def test_A12_a_repeated_header_is_refused(net: Network, name: str, equal: bool) -> None:
    lines = [line for line in head(net).decode().split("\r\n") if line.startswith(f"{name}: ")]
    value = lines[0].partition(": ")[2] if lines else "abc"
    repeated = [f"{name}: {value if equal else 'other'}"]
    if name == "OCN-Signature":
        repeated.append(f"{name}: {value}")
    with untouched(net):
        assert ask(net, *repeated).verdict == (400, 2001)


def test_A13_hop_by_hop_games_change_nothing(net: Network) -> None:
    with net["CPO"].play(net["CPO"].serve):
        [relayed] = exchange(
            net,
            head(
                net,
                "Connection: OCPI-to-party-id, close",
                "X-HTTP-Method-Override: DELETE",
                "X-Original-URL: /admin/platforms",
                "Proxy-Connection: keep-alive",
                "TE: trailers",
                f"Content-Length: {len(BODY)}",
            )
            + BODY,
        )
        assert relayed.status == 200
        received = net["CPO"].bytes_received
        assert received.startswith(b"PUT ")
        assert b"ocpi-to-party-id: cpo\r\n" in received.lower()
        for name in (b"override", b"original-url", b"proxy-connection", b"\r\nte:", b"\r\nconnection:"):
            assert name not in received.lower()


# -- targets


@pytest.mark.parametrize("bad", ["%", "%G1", "%2", "%00", "%0d", "%0A"])
@pytest.mark.parametrize("place", ["path", "query"])
def test_A15_bad_percent_encoding_is_refused(net: Network, bad: str, place: str) -> None:
    target = f"{PATH}/a{bad}" if place == "path" else f"{PATH}?x={bad}"
    with untouched(net):
        assert ask(net, path=target).verdict == (400, 2001)


@pytest.mark.parametrize("suffix", ["%2Fa%20b", "/%C0%AF%c3%28", "/a;b=c/d//e", "?a=b+c&%C3%A4=%2B&&x"])
def test_A15_everything_else_arrives_as_it_was(net: Network, suffix: str) -> None:
    with net["CPO"].play(net["CPO"].serve):
        assert ask(net, path=PATH + suffix).status == 200
        target = net["CPO"].bytes_received.split(b" ")[1].decode()
        assert target == f"/receiver/tokens/DE/MSP/0123{suffix}"


@pytest.mark.parametrize(
    "climb", ["/..", "/%2e%2e/x", "/.%2E", "/..%2Fx", "/%5c..%5c", "/..;a=b/x", "/a/./b", "/a\\..\\b"]
)
def test_A16_paths_that_climb_are_refused(net: Network, climb: str) -> None:
    with untouched(net):
        framing = (f"Content-Length: {len(BODY)}", "Connection: close")
        answers = exchange(net, head(net, *framing, path=PATH + climb) + BODY)
        assert [answer.status for answer in answers] == [400]


def test_A17_urls_of_ours_come_from_the_settings_alone(net: Network) -> None:
    games = ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Proto: gopher")
    with net["CPO"].play(lambda talk: _with_next_page(talk, net["CPO"].url)):
        listed = ask(
            net,
            *games,
            method="GET",
            path=f"/ocpi/sender/{VERSION}/locations",
            body=b"",
            host="evil.example",
        )
    assert listed.status == 200, listed.body
    assert listed.headers["link"].startswith(f"<{net.node.url}/ocpi/")


def _with_next_page(talk: Talk, url: str) -> None:
    while talk.request():
        link = f'Link: <{url}/sender/locations?offset=1>; rel="next"'
        if not talk.write(answer(envelope([]), headers=[link])):
            return


# -- methods, upgrades, codings


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "FOO", "HEAD", "put"])
def test_A18_other_methods_are_405_and_unknown_paths_404(net: Network, method: str) -> None:
    cors = ("Origin: https://evil.example", "Access-Control-Request-Method: PUT")
    with untouched(net):
        for path, expected in ((PATH, 405), ("/ocpi/sender/9.9/locations", 404), ("/nowhere", 404)):
            refused = ask(net, *cors, method=method, path=path, body=b"")
            assert refused.status == expected, path
            if method != "HEAD":
                assert refused.verdict == (expected, 2000)
            assert not any(name.startswith("access-control") for name in refused.headers)


def test_A18_connect_opens_nothing(net: Network) -> None:
    with untouched(net), Client(net) as client:
        client.send(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n" % net["CPO"].port)
        assert client.one().status >= 400


@pytest.mark.parametrize(
    "upgrade",
    [
        ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
    ids=["websocket", "h2c"],
)
def test_A18_upgrades_are_ignored(net: Network, upgrade: tuple[str, ...]) -> None:
    with Client(net) as client:
        client.send(head(net, "Connection: Upgrade", *upgrade, f"Content-Length: {len(BODY)}") + BODY)
        assert client.one().status == 200


def test_A20_a_coded_request_is_415(net: Network) -> None:
    with untouched(net):
        assert ask(net, "Content-Encoding: gzip").verdict == (415, 2001)


def test_A20_a_coded_answer_is_never_inflated(net: Network) -> None:
    def coded(talk: Talk) -> None:
        while talk.request():
            talk.write(answer(b"\x1f\x8b", headers=["Content-Encoding: gzip"]))

    with net["CPO"].play(coded):
        refused = ask(net)
        assert refused.verdict == (200, 4000)
        assert json.loads(refused.body)["status_message"].endswith("[answered by the receiver]")
    net.probe()


# -- what the parser below decides against the letter, and why that is harmless (`docs/reliability.md`)


def test_two_equal_lengths_hide_nothing(net: Network) -> None:
    with net["CPO"].play(net["CPO"].serve):
        length = f"Content-Length: {len(BODY)}"
        [relayed] = exchange(net, head(net, length, length, "Connection: close") + BODY)
        assert relayed.status == 200
        assert net["CPO"].bytes_received.lower().count(b"content-length:") == 1


def test_lines_may_end_with_lf_and_leave_with_crlf(net: Network) -> None:
    with net["CPO"].play(net["CPO"].serve):
        lines = head(net, f"Content-Length: {len(BODY)}", "Connection: close").replace(b"\r\n", b"\n")
        [relayed] = exchange(net, lines + BODY)
        assert relayed.status == 200
        received = net["CPO"].bytes_received
        assert received.count(b"\r\n") == received.count(b"\n")


def test_a_fragment_is_cut_off(net: Network) -> None:
    with net["CPO"].play(net["CPO"].serve):
        assert ask(net, path=f"{PATH}/x#y?z").status == 200
        assert net["CPO"].bytes_received.split(b" ")[1] == b"/receiver/tokens/DE/MSP/0123/x"


def test_a_target_in_absolute_form_counts_without_its_host(net: Network) -> None:
    with net["CPO"].play(net["CPO"].serve):
        assert ask(net, path=f"http://evil.example{PATH}?a=b").status == 200
        assert net["CPO"].bytes_received.split(b" ")[1] == b"/receiver/tokens/DE/MSP/0123?a=b"


def test_half_a_hang_up_is_a_hang_up(net: Network) -> None:
    with Client(net) as client:
        client.send(head(net, f"Content-Length: {len(BODY)}") + BODY)
        client.socket.shutdown(socket.SHUT_WR)
        client.all()
    net.probe()


@pytest.mark.parametrize("character", [b" ", b"<", b">", b"`", b"\x7f", b"\xff"])
def test_A15_what_no_path_may_contain_is_400(net: Network, character: bytes) -> None:
    with untouched(net):
        path = PATH.encode() + b"/" + character + b"x"
        answers = exchange(net, head(net, "Connection: close", method="GET", path=path))
        assert [answer.status for answer in answers] == [400]


def test_A06_a_target_at_the_limit_passes_and_one_above_is_414(net: Network) -> None:
    at = PATH + "/" + "x" * (8_192 - len(PATH) - 1)
    assert ask(net, path=at).status == 200
    with untouched(net):
        assert ask(net, path=at + "x").verdict == (414, 2001)
        answers = exchange(net, head(net, path="/" + "x" * 65_534))
        assert [answer.status for answer in answers] == [414]


@pytest.mark.parametrize(("path", "fits"), [(PATH, 200), ("/nowhere", 404)], ids=["relayed", "ours"])
def test_A05_a_head_of_header_bytes_passes_and_one_byte_more_is_431(
    net: Network, path: str, fits: int
) -> None:
    def refused_or_not(size: int) -> Answer:
        framing = (f"Content-Length: {len(BODY)}", "Connection: close")
        uncounted = len("  HTTP/1.1\r\n\r\n")
        filler = size + uncounted - len(head(net, *framing, "X-Fill: ", path=path))
        [only] = exchange(net, head(net, *framing, "X-Fill: " + "x" * filler, path=path) + BODY)
        return only

    assert refused_or_not(HEADER_BYTES).status == fits
    with untouched(net):
        refused = refused_or_not(HEADER_BYTES + 1)
        assert refused.verdict == (431, 2001)
        assert refused.headers["connection"] == "close"


def test_A05_heads_that_are_never_finished_are_closed_in_time_and_take_bounded_memory(
    tmp_path: Path,
) -> None:
    count, room = 500, 64 * 1024 * 1024
    with network(tmp_path, "http.header_timeout_ms=3000") as net, ExitStack() as held:
        started = children(net.node.process.pid)
        [worker] = [child for child in started if b"multiprocessing-fork" in command_of(child)]
        net.probe()
        before = resident(worker)
        begun = time.monotonic()
        clients = [held.enter_context(Client(net)) for _ in range(count)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nX-Fill: " + b"x" * 120 * 1024)
        net.probe()
        assert resident(worker) - before <= count * HEADER_BYTES + room
        for client in clients:
            client.all()
        assert 2 < time.monotonic() - begun < 20
        net.probe()


def test_A05_a_hundred_header_fields_pass_and_one_more_is_431(net: Network) -> None:
    framing = (f"Content-Length: {len(BODY)}", "Connection: close")
    own = head(net, *framing).count(b"\r\n") - 2
    more = [f"X-{number}: 1" for number in range(100 - own)]
    assert [answer.status for answer in exchange(net, head(net, *framing, *more) + BODY)] == [200]
    with untouched(net):
        answers = exchange(net, head(net, *framing, *more, "X-One: 1") + BODY)
        assert [answer.status for answer in answers] == [431]


# -- A24, over real connections


def test_A24_a_client_that_hangs_up_after_forwarding_costs_nothing(net: Network) -> None:
    def slow(talk: Talk) -> None:
        while talk.request():
            client.reset()
            # The node hears of the hang-up and still takes the answer.
            talk.write(answer())

    with net["CPO"].play(slow):
        client = Client(net)
        client.send(head(net, f"Content-Length: {len(BODY)}") + BODY)
        until(lambda: net["CPO"].bytes_received.endswith(BODY), what="the message at the receiver")
    net.probe()
