"""Endpoints that fail, lag and lie, and chains that come back as others: the table is right in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocn_fast.registry import views
from tools_found import Anvil

from . import proxy as faults
from .place import Place, run
from .proxy import Fault, Proxy
from .world import Life, World, account

OPERATOR, OTHER = account(1), account(2)
PARTY, SECOND, THIRD = account(11), account(12), account(13)


def listed(world: World) -> None:
    """Two nodes and two parties at the first one."""
    world.list_node(OPERATOR, "https://a.example")
    world.list_node(OTHER, "https://b.example")
    world.list_party(PARTY, "DE", "AAA", OPERATOR)
    world.list_party(SECOND, "DE", "BBB", OPERATOR)
    world.mine()


FAULTS: dict[str, Fault] = {
    "busy": faults.busy,
    "broken": faults.broken,
    "empty": faults.empty,
    "errors": faults.errors,
    "half a batch": faults.half_a_batch,
    "half a text": faults.half_a_text,
    "html": faults.html,
    "logs of another block": faults.logs_of_another_block,
    "no ids": faults.no_ids,
    "nothing": faults.nothing,
    "odd hex": faults.odd_hex,
    "other chain": faults.other_chain,
    "other hashes": faults.other_hashes,
    "other ids": faults.other_ids,
    "same id": faults.same_id,
    "silent": faults.silent,
}


def test_A103_A105_F22_REG71_whatever_an_endpoint_answers_the_table_is_never_wrong(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    life = Life(world, seed=71)
    one, two = make_proxy(world), make_proxy(world)

    async def story() -> None:
        alone = Place(folder / "alone", world, (one.url,), registry__rpc_timeout_ms=300)
        both = Place(folder / "both", world, (two.url, world.anvil.url), registry__rpc_timeout_ms=300)
        async with alone, both:
            for name, fault in FAULTS.items():
                one.fault = two.fault = None
                alone.mirror.endpoints.all[0].batch_size = both.mirror.endpoints.all[0].batch_size = 1_000
                await alone.look(), await both.look()
                before = await alone.require_right()
                held = alone.held()
                one.fault = two.fault = fault
                life.live(10)
                world.mine(require=False)
                await alone.look(2)
                assert alone.held() == held, name
                assert alone.mirror.state.error, name
                assert alone.mirror.state.block == before.block, name
                # The next one knows better.
                await both.look()
                assert both.mirror.state.endpoints[0].state in ("failing", "shunned"), name
                assert both.mirror.state.block == world.head(), name
                one.fault = two.fault = None
                await alone.look()
                await alone.require_right()
            assert alone.mirror.state.full_readings == 1

    run(story())


@pytest.mark.parametrize(
    "fault",
    [faults.shuffled, faults.no_batches, faults.no_hashes, faults.short_ranges, faults.multicall],
    ids=lambda f: f.__name__,
)
def test_A103_REG71_endpoints_of_other_habits_lead_to_the_same_table(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy], fault: Fault
) -> None:
    listed(world)
    life = Life(world, seed=1)
    proxy = make_proxy(world)
    proxy.fault = fault

    async def story() -> None:
        async with Place(folder, world, (proxy.url,)) as place:
            await place.look()
            for blocks in (0, 3, 100):
                life.live(15)
                world.mine(require=False)
                world.blocks(blocks)
                life.live(15)
                world.mine(require=False)
                await place.look()
                await place.require_right()
            assert place.mirror.state.full_readings == 1

    run(story())


def test_A103_REG71_a_lagging_endpoint_changes_nothing_and_hides_nothing(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)

    async def story() -> None:
        async with Place(folder, world, (proxy.url,)) as place:
            await place.look()
            held, block = place.held(), world.head()
            proxy.fault = faults.lagging(block)
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            await place.look()
            # It looks as if nothing had happened, and nothing is noted as read.
            assert (place.held(), place.mirror.state.block) == (held, block)
            proxy.fault = faults.lagging(block - 1)
            await place.look()
            assert (place.held(), place.mirror.state.block) == (held, block)
            assert "before block" in place.mirror.state.error
            # With the newest head and no logs, the blocks' own filters tell that there are some.
            proxy.fault = faults.lagging_with_the_newest_head(block)
            await place.look()
            assert place.ids()["DE/CCC"] == OTHER
            await place.require_right()

    run(story())


def test_REG71_truncated_logs_are_noticed(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)
    proxy.fault = faults.no_logs

    async def story() -> None:
        async with Place(folder, world, (proxy.url,)) as place:
            await place.look()
            life = Life(world, seed=2)
            for _ in range(4):
                life.live(10)
                world.mine(require=False)
                world.blocks(3)
                await place.look()
                await place.require_right()

    run(story())


def test_A104_an_endpoint_whose_chain_changes_is_shunned(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)

    async def story() -> None:
        async with Place(folder, world, (proxy.url,)) as place:
            await place.look()
            held = place.held()
            proxy.fault = faults.other_chain
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            await place.look()
            assert place.mirror.state.endpoints[0].state == "shunned"
            assert "serves chain 1, expected is 9" in place.mirror.state.error
            assert place.held() == held
            # It is not asked again for a while.
            asked = proxy.requests
            place.clock.now += 30
            await place.mirror.look(place.lease)
            assert proxy.requests == asked
            proxy.fault = None
            await place.look()
            await place.require_right()

    run(story())


def test_F22_a_failing_endpoint_is_asked_once_a_second_at_most(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxies = [make_proxy(world), make_proxy(world)]

    async def story() -> None:
        async with Place(folder, world, [proxy.url for proxy in proxies]) as place:
            await place.look()
            for fault in (faults.busy, faults.half_a_batch, faults.logs_of_another_block):
                for proxy in proxies:
                    proxy.fault, proxy.requests = fault, 0
                world.list_party(THIRD, "DE", "CCC", OTHER)
                world.mine()
                for _ in range(300):
                    place.clock.now += 0.1
                    await place.mirror.look(place.lease)
                assert proxies[0].requests > 2
                for proxy in proxies:
                    assert 0 < proxy.requests <= 30
                    proxy.fault = None
                await place.look(2)
                await place.require_right()

    run(story())


def word_of(address: str) -> str:
    return address[2:].lower()


def party_of(world: World, address: str) -> Any:
    """What the registry answers about a party now."""
    question = {"to": world.registry, "data": views.with_addresses(views.GET_PARTY, address)}
    return world.anvil.call("eth_call", question, "latest")


def test_A102_a_move_waits_until_a_second_endpoint_sees_it(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)

    async def story() -> None:
        async with Place(folder, world, (world.anvil.url, proxy.url)) as place:
            await place.look()
            old = party_of(world, PARTY)
            world.list_party(PARTY, "DE", "AAA", OTHER)
            world.list_node(OTHER, "https://new.example")
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            proxy.fault = faults.denying(views.GET_PARTY, word_of(PARTY), old)
            await place.look()
            # Whatever is no move, and whatever both see, counts already.
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR, "DE/CCC": OTHER}
            assert (OTHER, "https://new.example") in place.held()["operators"]
            assert place.mirror.state.waiting == 1
            # Nobody forgets it, also not over a restart.
            await place.mirror.endpoints.close()
            place.mirror = await place.open_mirror()
            world.blocks(3)
            await place.look()
            assert place.ids()["DE/AAA"] == OPERATOR
            proxy.fault = None
            await place.look()
            assert place.ids()["DE/AAA"] == OTHER
            assert place.mirror.state.waiting == 0
            await place.require_right()

    run(story())


@pytest.mark.parametrize(("quorum", "waiting"), [(1, 0), (2, 0), (3, 1)])
def test_A102_as_many_endpoints_as_the_setting_says_must_see_a_move(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy], quorum: int, waiting: int
) -> None:
    listed(world)
    urls = (world.anvil.url, make_proxy(world).url, (behind := make_proxy(world)).url)

    async def story() -> None:
        async with Place(folder, world, urls, registry__quorum=quorum) as place:
            await place.look()
            old = party_of(world, PARTY)
            world.list_party(PARTY, "DE", "AAA", OTHER)
            world.mine()
            # Two of three see it.
            behind.fault = faults.denying(views.GET_PARTY, word_of(PARTY), old)
            await place.look()
            assert place.mirror.state.waiting == waiting
            assert place.ids()["DE/AAA"] == (OPERATOR if waiting else OTHER)

    run(story())


def crowd(world: World, size: int = 40) -> list[str]:
    """So many parties at one node."""
    parties = [account(500 + number) for number in range(size)]
    world.list_node(OPERATOR, "https://a.example")
    for number, party in enumerate(parties):
        world.list_party(party, "DE", f"{number:03}", OPERATOR)
    world.mine()
    return parties


def test_A102_a_registry_that_shrinks_too_much_is_held_back_for_a_while(world: World, folder: Path) -> None:
    parties = crowd(world)

    async def story() -> None:
        async with Place(folder, world, registry__shrink_least=2, registry__shrink_percent=10) as place:
            await place.look()
            for party in parties[:4]:
                world.delete_party(party)
            world.mine()
            await place.look()
            assert len(place.ids()) == 36
            for party in parties[4:30]:
                world.delete_party(party)
            world.mine()
            for _ in range(5):
                await place.look()
                assert len(place.ids()) == 36
                assert place.mirror.state.brake == 26
            # What else happens waits too: one table is of one block.
            world.list_party(PARTY, "NL", "NEW", OPERATOR)
            world.mine()
            await place.look(2)
            assert len(place.ids()) == 11
            assert place.mirror.state.brake == 0
            await place.require_right()

    run(story())


def test_A102_a_second_endpoint_releases_the_brake_and_a_liar_does_not(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    parties = crowd(world)
    proxy = make_proxy(world)

    async def story() -> None:
        async with Place(folder, world, (world.anvil.url, proxy.url)) as place:
            await place.look()
            old = party_of(world, parties[7])
            for party in parties[:30]:
                world.delete_party(party)
            world.mine()
            proxy.fault = faults.denying(views.GET_PARTY, word_of(parties[7]), old)
            await place.look()
            assert (len(place.ids()), place.mirror.state.brake) == (40, 30)
            proxy.fault = None
            await place.look()
            assert (len(place.ids()), place.mirror.state.brake) == (10, 0)
            await place.require_right()

    run(story())


def test_F21_six_hours_without_the_chain(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)

    async def story() -> None:
        async with Place(folder, world, (proxy.url,)) as place:
            await place.look()
            held, state = place.held(), place.mirror.state
            proxy.fault = faults.broken
            life = Life(world, seed=21)
            for _ in range(6):
                life.live(10)
                world.mine(require=False)
                # An hour of blocks.
                world.anvil.call("anvil_mine", "0x64", "0x24")
                place.clock.now += 3_600
                await place.look()
                assert place.held() == held
                assert place.mirror.state.block_time == state.block_time
            proxy.fault = None
            await place.look()
            await place.require_right()
            assert place.mirror.state.full_readings == 1

    run(story())


def test_F24_a_chain_that_begins_anew_changes_nothing_until_somebody_asks(
    make_world: Callable[..., World], folder: Path, start_anvil: Callable[..., Anvil]
) -> None:
    world = make_world()
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            held, block = place.held(), place.mirror.state.block
            port = int(world.anvil.url.rpartition(":")[2])
            world.anvil.kill()
            # Anvil's first block tells nothing but its time.
            again = make_world("ours", "--timestamp", "1700000000", port=port)
            assert again.registry == world.registry
            place.world = again
            again.list_node(OTHER, "https://other.example")
            again.mine()
            await place.look()
            assert "begins with another block" in place.mirror.state.error
            again.blocks(50)
            await place.look()
            assert "begins with another block" in place.mirror.state.error
            assert (place.held(), place.mirror.state.block) == (held, block)
            assert await place.database.ask_resync()
            await place.look()
            await place.require_right()
            assert place.held()["operators"] == {(OTHER, "https://other.example")}
            assert not await place.database.resync_is_asked()

    run(story())


def test_F24_a_lower_head_changes_nothing(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            mark = world.anvil.call("evm_snapshot")
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            await place.look()
            held = place.held()
            world.anvil.call("evm_revert", mark)
            await place.look()
            assert place.held() == held
            assert "before block" in place.mirror.state.error
            world.blocks(2)
            await place.look()
            assert "DE/CCC" not in place.ids()
            await place.require_right()

    run(story())


def test_I09_looks_at_a_silent_chain_are_bounded(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world, registry__rpc_timeout_ms=200) as place:
            await place.look()
            world.anvil.stop()
            try:
                async with asyncio.timeout(10):
                    await place.look()
            finally:
                world.anvil.go_on()
            assert "no whole answer" in place.mirror.state.error

    run(story())
