"""JSON-RPC with strangers: sizes, times, forms, and what of a URL may be shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocn_fast.errors import ConfigError, RpcError
from ocn_fast.registry import rpc, views
from ocn_fast.registry.rpc import Endpoint, Endpoints

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
MAX_BYTES = 10_000


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Endpoint]:
    """An endpoint that reads a request and then does as it likes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await serve(reader, writer, await reader.readexactly(length))
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client has seen enough.
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v3/secretsecretsecret", 500, MAX_BYTES)
    try:
        yield endpoint
    finally:
        await endpoint.close()
        server.close()


def text(body: bytes, status: str = "200 OK", more: str = "") -> Serve:
    """Answers with these bytes."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return serve


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
    while True:
        writer.write(b"0," * 5_000)
        await writer.drain()


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def gone(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    await writer.drain()


def fault_of(serve: Serve, *, batch: bool = False) -> RpcError:
    """How a call to it fails."""

    async def story() -> RpcError:
        async with serving(serve) as endpoint:
            calling = endpoint.batch([("a", ()), ("b", ())]) if batch else endpoint.call("eth_chainId")
            with pytest.raises(RpcError) as caught:
                await calling
            return caught.value

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (endless, "size"),
        (text(b"[" + b"0," * 20_000), "size"),
        (dripping, "timeout"),
        (gone, "transport"),
        (text(b""), "form"),
        (text(b"<!doctype html>"), "form"),
        (text(b"[" * 9_000), "form"),
        (text(b'{"a":' * 1_500 + b"1" + b"}" * 1_500), "form"),
        (text(b"\xff\xfe"), "form"),
        (text(b"null"), "form"),
        (text(b'{"jsonrpc":"2.0","id":1}'), "form"),
        (text(b'{"jsonrpc":"2.0","id":2,"result":1}'), "form"),
        (text(b'{"jsonrpc":"2.0","id":"1","result":1}'), "form"),
        (text(b'{"jsonrpc":"2.0","id":1,"error":"no"}'), "form"),
        (text(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}'), "refused"),
        (text(b'{"id":1,"error":{"code":1,"message":' + b"[" * 900 + b"]" * 900 + b"}}"), "refused"),
        (text(b'{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"no","data":"0x08c379a0"}}'), "reverted"),
        (
            text(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32015,"message":"VM execution error."}}'),
            "reverted",
        ),
        (text(b"{}", "429 Too Many Requests"), "busy"),
        (text(b"{}", "500 Oops"), "http"),
        (text(b"", "302 Found", "Location: http://169.254.169.254/\r\n"), "http"),
        (text(b"\x1f\x8b\x08", more="Content-Encoding: gzip\r\n"), "form"),
    ],
)
def test_A105_whatever_comes_back_is_one_kind_of_fault(serve: Serve, kind: str) -> None:
    fault = fault_of(serve)
    assert fault.kind == kind
    assert "secret" not in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", "form"),
        (b'[{"id":1,"result":1}]', "form"),
        (b'[{"id":1,"result":1},{"id":1,"result":2}]', "form"),
        (b'[{"id":1,"result":1},{"id":3,"result":2}]', "form"),
        (b'[{"id":1,"result":1},{"id":2.0,"result":2}]', "form"),
        (b'[{"id":1,"result":1},{"id":true,"result":2}]', "form"),
        (b'[{"id":1,"result":1},null]', "form"),
        (b'{"id":1,"result":1}', "form"),
    ],
)
def test_A103_a_batch_is_whole_or_nothing(body: bytes, kind: str) -> None:
    assert fault_of(text(body), batch=True).kind == kind


def test_A103_answers_come_in_any_order_and_failures_stay_single() -> None:
    body = (
        b'[{"id":2,"error":{"code":-32000,"message":"\\u001b[31mkey secretsecretsecret \\n used"}},'
        b'{"id":1,"result":"0x1"}]'
    )

    async def story() -> None:
        async with serving(text(body)) as endpoint:
            first, second = await endpoint.batch([("a", ()), ("b", ())])
            assert first == "0x1"
            assert isinstance(second, RpcError)
            assert second.kind == "refused"
            assert "secret" not in str(second)
            assert str(second).isprintable()

    asyncio.run(story())


def test_A105_who_refuses_batches_gets_single_calls() -> None:
    sizes = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        calls = json.loads(request)
        sizes.append(len(calls) if isinstance(calls, list) else 1)
        if isinstance(calls, list):
            await text(b"", "413 Too Large")(_, writer, request)
        else:
            answer = {"jsonrpc": "2.0", "id": calls["id"], "result": calls["params"][0]}
            await text(json.dumps(answer).encode())(_, writer, request)

    async def story() -> None:
        async with serving(serve) as endpoint:
            calls = [("echo", (number,)) for number in range(40)]
            assert await endpoint.batch(calls) == list(range(40))
            assert endpoint.batch_size == 1
            assert await endpoint.batch(calls) == list(range(40))

    asyncio.run(story())
    assert sizes[:3] == [40, 10, 2]
    assert set(sizes[3:]) == {1}
    assert len(sizes) == 3 + 40 + 40


def test_urls_are_shown_without_their_secrets() -> None:
    assert rpc.shown("https://user:pass@rpc.example:8545/v3/key?k=1") == "https://rpc.example:8545"
    assert rpc.shown("http://[::1]:1/") == "http://[::1]:1"
    for url in ("ws://rpc.example", "rpc.example", "https://", "http://[::1", "http://h:99999"):
        with pytest.raises(ConfigError) as caught:
            rpc.shown(url)
        assert url not in str(caught.value)


@pytest.mark.parametrize(
    "value", [None, 1, "1", "0x", "0xg", "0x1 ", "0x-1", "0x_1", "0x" + "f" * 65, ["0x1"]]
)
def test_A105_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(RpcError):
        rpc.quantity(value)


@pytest.mark.parametrize("field", ["number", "timestamp", "hash", "parentHash", "logsBloom"])
@pytest.mark.parametrize("value", [None, 1, "0x", "0x" + "f" * 62, "0x" + "f" * 66, [[]]])
def test_A105_what_is_no_block_is_refused(field: str, value: object) -> None:
    good = {"number": "0x1", "timestamp": "0x2", "hash": "0x" + "a" * 64, "parentHash": "0x" + "b" * 64}
    assert rpc.block(good) == rpc.Block(1, good["hash"], good["parentHash"], 2)
    if field == "logsBloom" and value is None:
        # Not every endpoint gives it.
        return
    with pytest.raises(RpcError):
        rpc.block(good | {field: value})


@pytest.mark.parametrize("value", [None, 1, "", "00", "0x0", "0x0g", "0x00 00", "0x 00", ["0x"]])
def test_A105_what_are_no_bytes_is_refused(value: object) -> None:
    with pytest.raises(RpcError):
        rpc.data(value)


@settings(max_examples=300)
@given(st.binary(max_size=700))
def test_A105_no_answer_of_a_contract_breaks_the_reading(answer: bytes) -> None:
    for take in (
        views.addresses,
        views.text,
        views.flag,
        lambda found: views.party("0x" + "1" * 40, found),
        lambda found: views.service("0x" + "1" * 40, found),
        views.require_v1_registry,
        views.require_v1_permissions,
    ):
        with suppress(RpcError):
            take(answer)


def test_REG74_endless_lists_and_texts_are_cut() -> None:
    def word(number: int) -> bytes:
        return number.to_bytes(32, "big")

    long = word(32) + word(1_000_000) + b"x" * 1_000_000
    assert len(views.text(long)) == views.TEXT_BYTES
    head = [word(0), word(0), word(224), word(224), word(224), word(0), word(224)]
    record = views.party("0x" + "1" * 40, b"".join(head) + word(5_000) + word(200) * 5_000)
    assert record.roles == (200,) * views.LIST_ENTRIES
    with pytest.raises(RpcError):
        views.party("0x" + "1" * 40, b"".join(head) + word(1) + word(256))
    service = [word(0), word(0), word(160), word(160), word(192)]
    found = views.service("0x" + "1" * 40, b"".join(service) + word(0) + word(1) + word(2**255))
    assert found.permissions == (2**255,)


def test_F22_failures_lengthen_the_pause_and_success_ends_it() -> None:
    now = [0.0]
    one, two = Endpoint("http://127.0.0.1:1", 100, 100), Endpoint("http://127.0.0.1:2", 100, 100)
    both = Endpoints([one, two], 9, [], lambda: now[0])
    assert both.ready() == [one, two]
    pauses = []
    for _ in range(9):
        both.failed(one, RpcError("timeout", "late"))
        assert both.ready() == [two]
        start = now[0]
        while one not in both.ready():
            now[0] += 0.1
        pauses.append(now[0] - start)
    assert 1 <= pauses[0] < 1.7
    assert pauses[1] >= 2
    assert 60 <= pauses[-1] < 91
    # One that failed comes last, even when it may be asked again.
    assert both.ready() == [two, one]
    both.succeeded(one)
    assert both.ready() == [one, two]
    both.failed(one, RpcError("chain", "another"))
    now[0] += 59
    assert both.ready() == [two]
    assert both.state()[0].state == "shunned"


def test_F22_many_requests_before_a_fault_are_paid_for() -> None:
    now = [0.0]
    one = Endpoint("http://127.0.0.1:1", 100, 100)
    alone = Endpoints([one], 9, [], lambda: now[0])
    one.requests = 30
    alone.failed(one, RpcError("timeout", "late"))
    now[0] = 29.9
    assert alone.ready() == []
    now[0] = 30
    assert alone.ready() == [one]
