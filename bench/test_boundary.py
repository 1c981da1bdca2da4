"""The cost of the crossing: one message from the event loop into Rust and back, and naive ways beside it.

The message is refused only after its body was handed over (its receiver is unknown), so it makes the whole
crossing and nothing else: no network, no signature. Correctness is asserted before the timing starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvloop

from ocn_fast import _native
from ocn_fast.config import Settings

MESSAGES = 512
AT_ONCE = 64
ROUNDS = int(os.environ.get("CROSSING_ROUNDS", "30"))
TOKEN = "bench-token-of-ours"
BODY = b'{"status":"ACTIVE","kwh":12.5}'

Call = Callable[[], Awaitable[object]]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def node(loop: asyncio.AbstractEventLoop) -> Iterator[_native.Node]:
    flags = {
        "node.url": "http://127.0.0.1:1",
        "node.country_code": "DE",
        "node.party_id": "HUB",
        "node.dev": True,
        "signatures.required": False,
        "log.level": "error",
    }
    settings = Settings.load(flags=flags).native()
    node = _native.Node(settings, _native.new_key(), [(1, secrets.token_bytes(32))])

    async def start() -> int:
        return node.open(lambda *work: None, 1_000)

    descriptor = loop.run_until_complete(start())
    loop.add_reader(descriptor, node.drain)
    node.apply(json.dumps(_table()).encode())
    yield node
    loop.remove_reader(descriptor)
    node.close()


def _table() -> dict[str, Any]:
    """One platform, DE/CPO, and a registry that knows it."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    party = {"country_code": "DE", "party_id": "CPO"}
    operator = "0x" + "11" * 20
    return {
        "number": 1,
        "full": True,
        "registry": {
            "block": 1,
            "block_hash": None,
            "block_time": "2026-01-01T00:00:00Z",
            "operators": [{"address": operator, "domain": "http://127.0.0.1:1"}],
            "gone_operators": [],
            "parties": [
                {**party, "address": "0x" + "22" * 20, "operator": operator, "roles": ["CPO"], "modules": []}
            ],
            "gone_parties": [],
        },
        "platforms": [
            {
                "id": 1,
                "status": "CONNECTED",
                "version": "2.2.1",
                "parties": [{**party, "role": "CPO"}],
                "tokens": [{"digest": digest, "expires_at": None}],
                "token_b": "b",
                "token_encoding": "plain",
                "endpoints": [],
                "origins": [],
                "versions_url": "http://127.0.0.1:2/versions",
                "rules": {"signatures": False, "mode": "none", "entries": []},
                "sign_for_party": False,
                "exempt": [],
            }
        ],
        "gone_platforms": [],
    }


def _scope(token: str) -> dict[str, Any]:
    path = "/ocpi/receiver/2.2.1/sessions/DE/CPO/SESSION-1"
    headers = {
        "host": "127.0.0.1",
        "authorization": f"Token {token}",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "x-request-id": "7d1a6f6e-51ad-4ad8-9a1f-0d1b4c8f6a01",
        "x-correlation-id": "7d1a6f6e-51ad-4ad8-9a1f-0d1b4c8f6a02",
        "ocpi-from-country-code": "DE",
        "ocpi-from-party-id": "CPO",
        "ocpi-to-country-code": "NL",
        "ocpi-to-party-id": "XYZ",
    }
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8_080),
    }


def _time(benchmark: Any, loop: asyncio.AbstractEventLoop, call: Call, at_once: int) -> None:
    """Times `MESSAGES` calls, `at_once` of them in flight at a time."""

    async def lane() -> None:
        for _ in range(MESSAGES // at_once):
            await call()

    async def batch() -> None:
        await asyncio.gather(*(lane() for _ in range(at_once)))

    benchmark.extra_info["messages"] = MESSAGES
    benchmark.pedantic(lambda: loop.run_until_complete(batch()), rounds=ROUNDS, warmup_rounds=5)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_naive_future_on_the_same_loop(benchmark: Any, loop: asyncio.AbstractEventLoop, at_once: int) -> None:
    """The floor: a future that the loop itself resolves at its next turn."""

    async def call() -> bytes:
        future: asyncio.Future[bytes] = loop.create_future()
        loop.call_soon(future.set_result, BODY)
        return await future

    assert loop.run_until_complete(call()) == BODY
    _time(benchmark, loop, call, at_once)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_naive_thread_and_call_soon_threadsafe(
    benchmark: Any, loop: asyncio.AbstractEventLoop, at_once: int
) -> None:
    """The usual way: a thread that wakes the loop for each result."""
    with ThreadPoolExecutor(1) as threads:

        async def call() -> bytes:
            return await loop.run_in_executor(threads, bytes, BODY)

        assert loop.run_until_complete(call()) == BODY
        _time(benchmark, loop, call, at_once)


def test_admit_refuses_an_unknown_token(
    benchmark: Any, loop: asyncio.AbstractEventLoop, node: _native.Node
) -> None:
    """What a stranger costs: no body is read, nothing crosses to another thread."""
    scope = _scope("unknown")
    reply = node.admit(scope).reply
    assert reply is not None
    assert reply.start["status"] == 401

    async def call() -> object:
        return node.admit(scope).reply

    _time(benchmark, loop, call, 1)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_admit_and_relay(
    benchmark: Any, loop: asyncio.AbstractEventLoop, node: _native.Node, at_once: int
) -> None:
    """The crossing: head into Rust, body over, the answer through the queue and one wake for many."""
    scope = _scope(TOKEN)

    async def call() -> _native.Reply:
        gate = node.admit(scope)
        assert gate.reply is None, gate.reply and gate.reply.body
        return await gate.relay(BODY)

    reply = loop.run_until_complete(call())
    answer = json.loads(reply.body["body"])
    assert (reply.start["status"], answer["status_code"]) == (200, 4001)
    before = json.loads(node.stats())
    _time(benchmark, loop, call, at_once)
    after = json.loads(node.stats())
    crossings = after["completions"] - before["completions"]
    wakes = after["wakes"] - before["wakes"]
    assert crossings >= MESSAGES
    if at_once > 1:
        assert wakes < crossings, "one wake delivers many"
    benchmark.extra_info["wakes_per_message"] = wakes / crossings
