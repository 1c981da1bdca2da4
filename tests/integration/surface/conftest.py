"""A node in this process: real store, real native core, its HTTP surface called without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ocn_fast import keyfiles, store
from ocn_fast.app import Application, create
from ocn_fast.config import Settings
from ocn_fast.http.context import Context
from ocn_fast.registry import snapshot

from .peer import Peer, serving

OTHER_OPERATOR = "0x" + "1" * 40
CPO = ("DE", "CPO")
MSP = ("NL", "MSP")
ELSEWHERE = ("FR", "ELS")
UNLISTED = ("FR", "NOT")


@dataclass
class Node:
    """A running node and a client of it."""

    app: Application
    context: Context
    client: httpx.AsyncClient
    admin_key: str

    async def token_a(self, *parties: tuple[str, str]) -> str:
        """A fresh registration token, by the admin API."""
        listed = [{"country_code": party[0], "party_id": party[1]} for party in parties]
        answer = await self.admin("POST", "/admin/registration-tokens", {"parties": listed})
        assert answer.status_code == 201
        return str(answer.json()["token"])

    async def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A call with the admin key."""
        headers = {"authorization": f"Token {self.admin_key}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def call(self, method: str, path: str, token: str, body: Any = None) -> httpx.Response:
        """A call of a platform. `body` as bytes goes out as it is."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return await self.client.request(
            method, path, content=content, headers={"authorization": f"Token {token}"}
        )

    async def register(self, peer: Peer, *parties: tuple[str, str]) -> str:
        """An ordinary handshake; the platform's token C."""
        answer = await self.call(
            "POST", CREDENTIALS, await self.token_a(*parties), peer.credentials(*parties)
        )
        assert answer.json()["status_code"] == 1000, answer.text
        return str(answer.json()["data"]["token"])


CREDENTIALS = "/ocpi/2.2.1/credentials"
StartNode = Callable[..., Awaitable[Node]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a node whose files lie in the test's folder; `handshake__roles=3` sets one."""
    keyfiles.create_node_key(tmp_path / "node.key")
    keyfiles.create_key_ring(tmp_path / "keyring.json")
    keyfiles.create_admin_key(tmp_path / "admin.key")

    def make(**changed: object) -> Settings:
        flags: dict[str, Any] = {
            "node.url": "http://127.0.0.1:8080",
            "node.country_code": "CH",
            "node.party_id": "OCN",
            "node.dev": True,
            "node.key_file": str(tmp_path / "node.key"),
            "node.key_ring_file": str(tmp_path / "keyring.json"),
            "admin.key_file": str(tmp_path / "admin.key"),
            "store.url": f"sqlite+aiosqlite:///{tmp_path}/node.db",
        }
        return Settings.load(
            flags=flags | {name.replace("__", "."): value for name, value in changed.items()}
        )

    return make


@pytest.fixture
async def start_node(make_settings: Callable[..., Settings]) -> AsyncIterator[StartNode]:
    """Starts a node; several share the test's database, as workers do."""
    async with AsyncExitStack() as stack:

        async def start(**changed: object) -> Node:
            settings = make_settings(**changed)
            store.migrate(settings.store.url)
            app = create(settings)
            await stack.enter_async_context(app.cold.router.lifespan_context(app.cold))
            context = app.cold.state.context
            await context.store.apply_registry(_registry(settings, context.node.address))
            # The look at the store that a message to an unknown party would cause.
            await context.node.refresh("receiver", {"headers": []}, 0)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
            await stack.enter_async_context(client)
            key = keyfiles.read_admin_key(settings.admin.key_file, settings.admin.key_chars)
            return Node(app, context, client, key)

        yield start


@pytest.fixture
async def node(start_node: StartNode) -> Node:
    return await start_node()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as one:
        yield one


def _registry(settings: Settings, address: str) -> snapshot.Snapshot:
    """Two parties under this node, one under another."""
    parties = [(*CPO, address), (*MSP, address), (*ELSEWHERE, OTHER_OPERATOR)]
    return snapshot.Snapshot(
        network="test",
        chain_id=1,
        contract=None,
        block=1,
        block_hash=None,
        time="2026-01-01T00:00:00Z",
        operators=(
            # As another spelling of the same URL, which has to be tolerated.
            snapshot.Operator(address, settings.node.url + "/"),
            snapshot.Operator(OTHER_OPERATOR, "https://another.example"),
        ),
        parties=tuple(
            snapshot.Party(country_code, party_id, OTHER_OPERATOR, operator)
            for country_code, party_id, operator in parties
        ),
    )
