"""One worker without a server, and a real receiver on loopback: what tests of the hot door need."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocn_fast import keyfiles, store
from ocn_fast.config import Settings
from ocn_fast.http.relay import RelayDoor
from ocn_fast.node import NodeService
from ocn_fast.registry.snapshot import Operator, Party, Snapshot

CPO, MSP = ("DE", "CPO"), ("NL", "MSP")
ANSWER = b'{"status_code":1000,"data":{},"timestamp":"2026-01-01T00:00:00Z"}'


class Receiver:
    """A party's server: counts connections, records every request, answers when it is allowed to."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Receiver]:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        try:
            yield self
        finally:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                self.arrived.set()
                await self.may_answer.wait()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(ANSWER), ANSWER)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> int:
        """The OCPI status code."""
        code: int = json.loads(self.body)["status_code"]
        return code


@dataclass
class Request:
    """One request at the door, as an ASGI server hands it over. The body comes in these chunks; then the
    client hangs up as soon as `gone` is set, without having ended the body if it is `cut_off`."""

    token: str
    method: str = "PUT"
    path: str = "/ocpi/receiver/2.2.1/sessions/DE/CPO/S1"
    chunks: tuple[bytes, ...] = (b'{"id":"S1"}',)
    announced: int | None = None
    sender: tuple[str, str] = CPO
    receiver: tuple[str, str] = MSP
    headers: tuple[tuple[bytes, bytes], ...] = ()
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    cut_off: bool = False
    received: int = 0
    """How often the door asked for more; `received_first`: of that, before it answered."""
    received_first: int = 0
    answered: bool = False

    def scope(self) -> dict[str, Any]:
        length = sum(map(len, self.chunks)) if self.announced is None else self.announced
        framing = [] if length == 0 else [(b"content-length", str(length).encode())]
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            framing = []
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "client": ("127.0.0.1", "4711"),
            "headers": [
                (b"host", b"node.example"),
                (b"authorization", f"Token {self.token}".encode()),
                (b"content-type", b"application/json"),
                (b"x-request-id", b"r-1"),
                (b"x-correlation-id", b"c-1"),
                (b"ocpi-from-country-code", self.sender[0].encode()),
                (b"ocpi-from-party-id", self.sender[1].encode()),
                (b"ocpi-to-country-code", self.receiver[0].encode()),
                (b"ocpi-to-party-id", self.receiver[1].encode()),
                *framing,
                *self.headers,
            ],
        }

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        if not self.answered:
            self.received_first += 1
        if self.received <= len(self.chunks):
            # As the server does it: the end of a body is a message of its own.
            return {"type": "http.request", "body": self.chunks[self.received - 1], "more_body": True}
        if self.received == len(self.chunks) + 1 and not self.cut_off:
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}


@dataclass
class Worker:
    """A node with two platforms: the CPO's, which sends, and the MSP's, which is the receiver."""

    node: NodeService
    store: store.Store
    door: RelayDoor
    settings: Settings
    receiver: Receiver
    token: str

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self.node.stats())
        return stats

    async def relay(self, request: Request | None = None) -> Answer:
        """Sends one request through the door."""
        request = request or Request(self.token)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            request.answered = True

        await self.door(request.scope(), request.receive, send)
        start, body = sent
        assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, body["body"])

    async def connect(self, party: tuple[str, str], port: int) -> str:
        """Connects a platform with that party and an endpoint at that port; returns its token C."""
        token_a = await self.store.create_registration_token([])
        base = f"http://127.0.0.1:{port}"
        registration = store.Registration(
            version="2.2.1",
            versions_url=f"{base}/versions",
            token_b="b" * 40,
            token_encoding="plain",
            roles=(store.Role("CPO", store.Party(*party), {}),),
            endpoints=tuple(
                store.Endpoint(module, "RECEIVER", f"{base}/ocpi/{module}")
                for module in ("sessions", "commands", "cdrs")
            ),
        )
        return (await self.store.register(token_a.id, f"digest of {party}", registration)).token_c


@asynccontextmanager
async def worker(folder: Path, **flags: Any) -> AsyncIterator[Worker]:
    """A worker with its database in that folder. `flags` are settings, with `__` for the dot."""
    address = keyfiles.create_node_key(folder / "node.key")
    keyfiles.create_key_ring(folder / "ring.json")
    settings = Settings.load(
        None,
        {},
        {
            "node.url": "https://node.example",
            "node.country_code": "DE",
            "node.party_id": "HUB",
            "node.dev": True,
            "node.key_file": str(folder / "node.key"),
            "node.key_ring_file": str(folder / "ring.json"),
            "signatures.required": False,
            "store.url": f"sqlite+aiosqlite:///{folder}/node.db",
            **{name.replace("__", "."): value for name, value in flags.items()},
        },
    )
    store.migrate(settings.store.url)
    database = await store.open(settings)
    async with Receiver().serving() as receiver:
        try:
            node = NodeService(settings, database)
            door = RelayDoor(
                node,
                body_timeout_s=settings.http.body_timeout_ms / 1_000,
                linger_s=settings.http.linger_ms / 1_000,
            )
            one = Worker(node, database, door, settings, receiver, "")
            parties = tuple(
                Party(
                    country_code=country,
                    party_id=party,
                    address=address,
                    operator=address,
                    roles=(),
                    modules=(),
                )
                for country, party in (CPO, MSP)
            )
            await database.apply_registry(
                Snapshot(
                    network="test",
                    chain_id=1,
                    contract=None,
                    block=1,
                    block_hash=None,
                    time="2026-01-01T00:00:00Z",
                    operators=(Operator(address=address, domain="https://node.example"),),
                    parties=parties,
                )
            )
            one.token = await one.connect(CPO, receiver.port)
            await one.connect(MSP, receiver.port)
            await node.open()
            try:
                yield one
            finally:
                receiver.may_answer.set()
                await node.close()
        finally:
            await database.close()
