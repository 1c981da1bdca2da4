"""Two nodes whose chain has stopped: they route on, say how old their registry is, and start without it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from ocn_fast.demo.network import CPO, FAR, TWO_NODES, Network
from ocn_fast.parties.journal import Entry
from ocn_fast.parties.objects import KNOWN_TOKEN

MESSAGES = 1_000
AT_ONCE = 10
PATIENCE_S = 30.0

pytestmark = pytest.mark.timeout(300)


async def exchanged(network: Network, messages: int) -> list[Entry]:
    """So many messages across the nodes, half of them in each direction, as their senders saw them."""
    cpo, msp = network.parties[CPO], network.parties[FAR]
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Entry:
        async with slots:
            if number % 2:
                sent, _ = await cpo.do("authorize", to=FAR, uid=KNOWN_TOKEN, location_id="LOC1")
            else:
                sent, _ = await msp.do("tariffs", to=CPO)
        (entry,) = sent
        return entry

    return list(await asyncio.gather(*(one(number) for number in range(messages))))


async def require_passed(network: Network, sent: list[Entry]) -> None:
    """Each was answered by its receiver, arrived once, and went over the other node once."""
    assert Counter((one.http, one.ocpi, one.verdict, one.signer) for one in sent) == {
        (200, 1000, "valid", "party"): len(sent)
    }
    ids = {one.correlation_id for one in sent}
    assert len(ids) == len(sent)
    received = [
        entry.correlation_id
        for party in (CPO, FAR)
        for entry in await network.parties[party].journal(kind="received")
        if entry.correlation_id in ids and entry.verdict == "valid"
    ]
    calls = [call for node in network.nodes.values() for call in node.front.node_calls if call in ids]
    assert Counter(received) == Counter(ids)
    assert Counter(calls) == Counter(ids)


async def ages(network: Network) -> list[int]:
    """Age of the registry of each node; `health` raises for another status than 200."""
    return [(await node.health())["registry"]["age_s"] for node in network.nodes.values()]


async def older(network: Network, than: list[int]) -> list[int]:
    """The ages, once they all have grown."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await ages(network)
            if all(now > before for now, before in zip(found, than, strict=True)):
                return found
            await asyncio.sleep(0.05)


def test_F21_I09_a_stopped_chain_stops_no_message_and_no_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with Network(tmp_path, TWO_NODES) as network:
            assert network.chain is not None
            network.chain.halt()
            before = await ages(network)
            await require_passed(network, await exchanged(network, MESSAGES))
            stopped = await older(network, before)
            await asyncio.gather(*(node.restart(network.registry) for node in network.nodes.values()))
            await require_passed(network, await exchanged(network, MESSAGES // 50))
            assert all(now >= then for now, then in zip(await ages(network), stopped, strict=True))
            # Nobody has to do anything once it is back: a new entry is read.
            network.chain.resume()
            await network.list_under(FAR, "A")

    asyncio.run(story())
