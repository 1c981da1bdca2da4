"""A node's database with a mirror that follows a chain, and what both should hold."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from ocn_fast import store
from ocn_fast.cli.init import write_node
from ocn_fast.config import Settings
from ocn_fast.registry import chain as chains
from ocn_fast.registry import records
from ocn_fast.registry.mirror import Mirror
from ocn_fast.registry.reader import Reading, read_registry, to_snapshot
from ocn_fast.registry.rpc import Endpoint
from ocn_fast.registry.snapshot import Snapshot

from .world import World


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A node's folder and settings, and whatever of it is open."""

    def __init__(self, folder: Path, world: World, urls: Sequence[str] = (), **settings: Any) -> None:
        self.world = world
        made = write_node(folder, url="http://127.0.0.1:0", country_code="DE", party_id="HUB", dev=True)
        self.operator = made.address
        self.folder = folder
        flags = {
            "http.port": 0,
            "registry.rpc": tuple(urls) or (world.anvil.url,),
            "registry.chain_id": world.anvil.chain_id,
            "registry.contract": world.registry,
            "registry.permissions": world.permissions,
            "registry.confirmations": 0,
        }
        for name, value in settings.items():
            flags[name.replace("__", ".")] = value
        self.settings = Settings.load(made.settings, flags=flags)
        store.migrate(self.settings.store.url)
        self.clock = Clock()

    async def __aenter__(self) -> Place:
        self.database = await store.open(self.settings)
        lease = await self.database.take_lease("registry", "the test", lambda _: False)
        assert lease is not None
        self.lease = lease
        self.mirror = await self.open_mirror()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.mirror.endpoints.close()
        await self.database.close()

    async def open_mirror(self) -> Mirror:
        """A mirror as a keeper has it after its start."""
        registry = self.settings.registry
        chain = chains.chain_of(registry)
        endpoints = chains.endpoints_of(registry, chain, self.clock)
        mirror = Mirror(
            registry,
            chain,
            endpoints,
            self.database,
            operator=self.operator,
            url=self.settings.node.url,
            clock=self.clock,
        )
        await mirror.load()
        return mirror

    async def look(self, times: int = 1) -> None:
        """Looks at the chain, a minute after the last time: nobody is left alone for that long."""
        for _ in range(times):
            self.clock.now += 100
            await self.mirror.look(self.lease)

    async def fresh(self) -> Reading:
        """A full reading of the chain as it is now."""
        endpoint = Endpoint(self.world.anvil.url, 60_000, 1 << 26)
        try:
            return await read_registry(endpoint, self.world.registry, self.world.permissions)
        finally:
            await endpoint.close()

    async def require_right(self) -> Snapshot:
        """Fails unless database and mirror hold exactly what the chain holds now. What that is."""
        reading = await self.fresh()
        chain = chains.chain_of(self.settings.registry)
        snapshot, _ = to_snapshot(reading, chain.network, chain.chain_id, chain.contract)
        assert self.mirror.state.error == ""
        assert self.mirror.state.block == reading.block
        assert self.held() == of_snapshot(snapshot)
        held = await self.database.mirror_held()
        assert held is not None
        assert held.cursor.block_hash == reading.block_hash
        stored = [records.from_text(*record[:3]) for record in held.records]
        expected = records.of_reading(reading)
        for kind in ("operator", "party", "service", "agreement"):
            found = [entry for entry in stored if entry[0][0] == kind and entry[1] is not False]
            wanted = [entry for entry in expected.items() if entry[0][0] == kind]
            # Only the order of the parties means something.
            same = found == wanted if kind == "party" else dict(found) == dict(wanted)
            assert same, kind
        return snapshot

    def held(self) -> dict[str, set[tuple[Any, ...]]]:
        """What the tables hold."""
        database = sqlite3.connect(self.settings.store.url.partition(":///")[2])
        try:
            return {
                "operators": set(database.execute("SELECT address, domain FROM registry_operators")),
                "parties": set(
                    database.execute(
                        "SELECT country_code, party_id, address, operator, roles, modules "
                        "FROM registry_parties"
                    )
                ),
                "services": set(
                    database.execute("SELECT provider, name, url, permissions FROM registry_services")
                ),
                "agreements": set(database.execute("SELECT user, provider FROM registry_agreements")),
            }
        finally:
            database.close()

    def ids(self) -> dict[str, str]:
        """The parties that are held: id and operator."""
        return {f"{row[0]}/{row[1]}": row[3] for row in self.held()["parties"]}


def of_snapshot(snapshot: Snapshot) -> dict[str, set[tuple[Any, ...]]]:
    """What the tables should hold."""

    def words(texts: Sequence[str]) -> str:
        return "[" + ",".join(f'"{text}"' for text in texts) + "]"

    return {
        "operators": {(item.address, item.domain) for item in snapshot.operators},
        "parties": {
            (
                item.country_code,
                item.party_id,
                item.address,
                item.operator,
                words(item.roles),
                words(item.modules),
            )
            for item in snapshot.parties
        },
        "services": {
            (item.provider, item.name, item.url, words(item.permissions)) for item in snapshot.services
        },
        "agreements": {(item.user, item.provider) for item in snapshot.agreements},
    }


def run(story: Coroutine[Any, Any, None]) -> None:
    """Runs a story to its end."""
    asyncio.run(story)
