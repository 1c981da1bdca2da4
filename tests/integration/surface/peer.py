"""A scripted platform: a real server on loopback that records requests and can misbehave."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN_B = "token-b-of-the-platform"


@dataclass(frozen=True)
class Answer:
    """What the peer sends back; `body` as bytes goes out as it is."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]


Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A platform of its own. `answers` maps paths to answers, or to scripts that write what they like."""

    url: str = ""
    connections: int = 0
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Answer | Script] = field(default_factory=dict)
    token: str = TOKEN_B
    plain_only: bool = False
    serving: set[asyncio.Task[None] | None] = field(default_factory=set, repr=False)

    def offer(self, version: str = "2.2.1", modules: tuple[str, ...] = ("credentials", "locations")) -> None:
        """Serves an ordinary versions list and the details of one version."""
        self.answers["/versions"] = ok([{"version": version, "url": f"{self.url}/details"}])
        endpoints = [
            {"identifier": module, "role": "SENDER", "url": f"{self.url}/{module}"} for module in modules
        ]
        self.answers["/details"] = ok({"version": version, "endpoints": endpoints})

    def credentials(self, *parties: tuple[str, str], **changed: Any) -> dict[str, Any]:
        """The credentials object that this platform sends."""
        roles = [
            {
                "role": "CPO",
                "country_code": country_code,
                "party_id": party_id,
                "business_details": {"name": "a name"},
            }
            for country_code, party_id in parties
        ]
        return {"token": self.token, "url": f"{self.url}/versions", "roles": roles} | changed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in headers.items()}
            self.asked.append(Asked(method, path, headers))
            answer = self.answers.get(path, Answer(status=404))
            if isinstance(answer, Answer):
                writer.write(_http(self._judged(headers, answer)))
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # The node hung up: some tests want that.
            pass
        finally:
            writer.close()

    def _judged(self, headers: dict[str, str], answer: Answer) -> Answer:
        encoded = base64.b64encode(self.token.encode()).decode()
        right = {f"Token {self.token}"} if self.plain_only else {f"Token {self.token}", f"Token {encoded}"}
        return answer if headers.get("authorization") in right else Answer(status=401)


@asynccontextmanager
async def serving() -> AsyncIterator[Peer]:
    """A peer that listens."""
    peer = Peer()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    peer.offer()
    try:
        yield peer
    finally:
        server.close()
        for task in peer.serving:
            assert task is not None
            task.cancel()


def ok(data: Any) -> Answer:
    """An OCPI success."""
    return Answer({"status_code": 1000, "data": data, "timestamp": "2026-01-01T00:00:00Z"})


def _http(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    } | answer.headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} X\r\n{lines}\r\n".encode() + body
