"""What only two nodes can show: a story across them, a chain that stands still, a party that moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ocn_fast.demo.front import Change
from ocn_fast.demo.judge import PATIENCE_S, Judge, Rows, expect
from ocn_fast.demo.network import ABSENT, CPO, FAR, LOOK_S, MSP, Network
from ocn_fast.demo.processes import since_ms
from ocn_fast.demo.registries import ChainRegistry
from ocn_fast.demo.roaming import Chapter, Roaming, told
from ocn_fast.demo.sabotage import Sabotage
from ocn_fast.demo.table import Row


class _Registry(NamedTuple):
    """What a node says of its registry: the age in seconds, and how the chain's endpoint is."""

    age: int
    chain: str

    def has_lost_its_chain(self, before: _Registry) -> bool:
        """Compared with the time when the chain answered."""
        return self.age > before.age and self.chain != before.chain == "good"


class Between:
    """The chapters of a network with a chain and two nodes."""

    def __init__(
        self, network: Network, chain: ChainRegistry, judge: Judge, sabotage: Sabotage | None
    ) -> None:
        self._network = network
        self._chain = chain
        self._judge = judge
        self._sabotage = sabotage
        self._cpo = network.parties[CPO]
        self._far = network.parties[FAR]
        self._roaming = Roaming(judge, self._cpo, self._far)

    def chapters(self) -> Sequence[Chapter]:
        """Across the nodes: as over one, first with the chain, then without it."""
        return [self._lists, self._without_chain, self._altered, self._absent]

    async def listings(self) -> Rows:
        """Everybody is on chain, and both nodes have read it there."""
        for listed in self._network.listed:
            home = self._network.homes.get(listed.name, "")
            row = _registry_row(f"listed: {listed.name}", listed.name, listed.block, 0.0, home)
            for node in self._network.nodes.values():
                if home:
                    said = await node.place_of(listed.name)
                    expect(row, f"what node {node.name} says", said, self._network.nodes[home].place)
            yield row

    async def moves(self) -> Rows:
        """A party goes to the other node: on chain, then with its handshake. The next message knows."""
        started = time.perf_counter()
        listed = await self._network.list_under(FAR, "A")
        row = _registry_row("moves to node A on chain", FAR, listed.block, since_ms(started), "A")
        row.verdict = "both nodes know it"
        yield row
        await self._network.move(FAR, "A")
        yield await self._judge.registered("registers there", self._far)
        async for row in self._roaming.authorisation():
            yield row

    async def _lists(self) -> Rows:
        if self._sabotage is Sabotage.NODE_KEY:
            await self._network.swap_key("B")
        if self._sabotage is Sabotage.NODE_ROUTE:
            await self._network.list_under(FAR, "A")
        async for row in told(self._roaming.lists()):
            yield row

    async def _without_chain(self) -> Rows:
        """A session, from its reservation to its bill, while nobody answers for the chain."""
        self._chain.halt()
        before = await self._registries()
        try:
            async for row in told(self._roaming.charging()):
                yield row
            async for row in self._older(before):
                yield row
        finally:
            self._chain.resume()

    async def _older(self, before: Mapping[str, _Registry]) -> Rows:
        """Both nodes are well, say that the chain does not answer, and that their registry grows older."""
        started = time.perf_counter()
        now = await self._registries()
        while time.perf_counter() < started + PATIENCE_S and not all(
            now[name].has_lost_its_chain(before[name]) for name in now
        ):
            await asyncio.sleep(LOOK_S)
            now = await self._registries()
        for name, held in now.items():
            said = f"{held.age} s old, {before[name].age} s before; chain {held.chain}"
            row = Row("chain stopped: its health", "-", f"node {name}", "health", "200", said, 0.0, name)
            row.ms = since_ms(started)
            expect(row, "it says so", held.has_lost_its_chain(before[name]), True)
            yield row

    async def _registries(self) -> dict[str, _Registry]:
        """What each node says of its registry. Raises `DemoError` for a node that is not well."""
        said = {name: (await node.health())["registry"] for name, node in self._network.nodes.items()}
        return {
            name: _Registry(held["age_s"], held["chain"]["endpoints"][0]["state"])
            for name, held in said.items()
        }

    async def _altered(self) -> Rows:
        """Somebody between the nodes changes one letter."""
        front = self._network.nodes["A"].front
        front.change = Change(b"LOC2", b"LOC3")
        yield await self._judge.refused("altered between the nodes", self._far, CPO, (200, 4003), "no")
        front.change = None

    async def _absent(self) -> Rows:
        yield await self._judge.refused(
            "not at its node", self._network.parties[MSP], ABSENT, (200, 4003), "no"
        )


def _registry_row(step: str, name: str, block: int, ms: float, way: str) -> Row:
    return Row(step, name, "chain", "registry", f"block {block}", "both nodes know it", ms, way)
