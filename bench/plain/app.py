"""The relay itself: token, parties, signature, forward, the answer's signature. `PLAIN_RELAY_PARTIES` names a
JSON file with the parties.

What the node does and this does not: rewritten messages and links, commands' `response_url`s, rules, limits,
other nodes, a registry that changes, what became of a message that failed, numbers in the form of the JVM.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.plain import notary

_PASSED_ON = (
    "content-type",
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
    "ocn-signature",
)
_PASSED_BACK = ("content-type", *notary.RESPONSE_HEADERS)
_DEADLINE = aiohttp.ClientTimeout(total=12, connect=5)


class Hub:
    """Parties by token and by id, and the pool of connections to them."""

    def __init__(self, parties: list[dict[str, str]]) -> None:
        self._by_token = {party["token"]: party for party in parties}
        self._by_id = {(party["country_code"], party["party_id"]): party for party in parties}
        self.client: aiohttp.ClientSession | None = None

    async def relay(self, request: Request) -> Response:
        """One message."""
        headers = request.headers
        sender = self._by_token.get(headers.get("authorization", ""))
        if sender is None:
            return _refusal(401, 2001, "unknown token")
        named = headers.get("ocpi-from-country-code"), headers.get("ocpi-from-party-id")
        if named != (sender["country_code"], sender["party_id"]):
            return _refusal(403, 2001, "the sender is not the owner of the token")
        to = headers.get("ocpi-to-country-code", ""), headers.get("ocpi-to-party-id", "")
        receiver = self._by_id.get(to)
        if receiver is None:
            return _refusal(200, 4001, "unknown receiver")
        body = await request.body()
        try:
            parsed = orjson.loads(body) if body else None
            signed = notary.values(headers, notary.REQUEST_HEADERS, request.query_params, parsed)
            _same(notary.signer(headers.get("ocn-signature", ""), signed), sender)
        except (ValueError, notary.Refused) as error:
            return _refusal(200, 2001, f"invalid signature: {error}")
        return await self._forward(request, body, receiver)

    async def _forward(self, request: Request, body: bytes, receiver: dict[str, str]) -> Response:
        _, _, path = request.scope["raw_path"].decode().partition("/2.2.1")
        query = request.scope["query_string"].decode()
        url = receiver["endpoint"] + path + (f"?{query}" if query else "")
        head = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        head |= {"authorization": receiver["token_there"], "x-request-id": str(uuid.uuid4())}
        assert self.client is not None
        try:
            async with self.client.request(request.method, url, headers=head, data=body or None) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return _refusal(200, 4003, "the receiver does not answer")
        back = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        try:
            parsed = orjson.loads(content)
            signed = notary.values(back, notary.RESPONSE_HEADERS, {}, parsed)
            _same(notary.signer(parsed["ocn_signature"], signed), receiver)
        except (ValueError, KeyError, TypeError, notary.Refused) as error:
            return _refusal(200, 4002, f"the answer's signature is invalid: {error}")
        return Response(content, answer.status, back)


def _same(address: str, party: dict[str, str]) -> None:
    if address != party["address"].lower():
        raise notary.Refused("not signed by its sender")


def _refusal(http: int, ocpi: int, why: str) -> Response:
    content = {"status_code": ocpi, "status_message": why, "timestamp": "2026-03-01T08:30:00Z"}
    return Response(orjson.dumps(content), http, media_type="application/json")


def create(parties: list[dict[str, str]]) -> Starlette:
    """The application, for the parties of a configuration."""
    hub = Hub(parties)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        connections = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connections, timeout=_DEADLINE) as hub.client:
            yield

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    paths = [f"/ocpi/{role}/2.2.1/{{rest:path}}" for role in ("sender", "receiver")]
    return Starlette(routes=[Route(path, hub.relay, methods=methods) for path in paths], lifespan=lifespan)


def _configured() -> list[dict[str, Any]]:
    parties: list[dict[str, Any]] = orjson.loads(Path(os.environ["PLAIN_RELAY_PARTIES"]).read_bytes())
    return parties


def __getattr__(name: str) -> Starlette:
    """`app`, made when a server asks for it."""
    if name != "app":
        raise AttributeError(name)
    return create(_configured())
