"""The mirror follows a chain: snapshot and increments, reorganisations, what takes effect when."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ocn_fast.registry import mirror

from .place import Place, run
from .world import Life, World, account


@pytest.mark.parametrize("kind", ["ours", "v1"])
def test_I16_REG63_increments_lead_where_a_later_snapshot_does(
    make_world: Callable[..., World], folder: Path, kind: str
) -> None:
    world = make_world(kind)
    life = Life(world, seed=63)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            left = 1_000
            for size in (1, 1, 2, 3, 5, 50, 200, 7, 1, 1, 1, 30, 300, 400):
                size = min(size, left)
                life.live(size)
                world.mine(require=False)
                left -= size
                await place.look()
                await place.require_right()
            assert left == 0
            assert place.mirror.state.full_readings == 1
            # Several blocks between two looks, near and far.
            for blocks in (3, 90):
                life.live(20)
                world.mine(require=False)
                world.blocks(blocks)
                life.live(20)
                world.mine(require=False)
                await place.look()
                await place.require_right()
            assert place.mirror.state.full_readings == 1
            assert place.mirror.state.differences == 0

    run(story())


OPERATOR, OTHER = account(1), account(2)
PARTY, SECOND, THIRD = account(11), account(12), account(13)


def listed(world: World) -> None:
    """Two nodes, two parties at the first one, in blocks of their own."""
    world.list_node(OPERATOR, "https://a.example")
    world.list_node(OTHER, "https://b.example")
    world.list_party(PARTY, "DE", "AAA", OPERATOR)
    world.list_party(SECOND, "DE", "BBB", OPERATOR)
    world.mine()


def domains(place: Place) -> dict[str, str]:
    return dict(place.held()["operators"])  # type: ignore[arg-type]


def test_REG65_domains_and_nodes_change_for_all_their_parties_at_once(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            assert domains(place) == {OPERATOR: "https://a.example", OTHER: "https://b.example"}
            world.list_node(OPERATOR, "https://new.example/path/")
            world.mine()
            await place.look()
            assert domains(place)[OPERATOR] == "https://new.example/path"
            world.do(OPERATOR, "deleteNode()")
            world.mine()
            await place.look()
            assert OPERATOR not in domains(place)
            # They stay, without a way to them.
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR}
            world.list_node(OPERATOR, "https://back.example")
            world.mine()
            await place.look()
            assert domains(place)[OPERATOR] == "https://back.example"
            await place.require_right()
            assert place.mirror.state.full_readings == 1

    run(story())


@pytest.mark.parametrize("kind", ["ours", "v1"])
def test_A111_REG66_an_id_that_was_left_is_nobodys(
    make_world: Callable[..., World], folder: Path, kind: str
) -> None:
    world = make_world(kind)
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            world.list_party(PARTY, "DE", "NEW", OTHER)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/NEW": OTHER, "DE/BBB": OPERATOR}
            world.delete_party(PARTY)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/BBB": OPERATOR}
            await place.require_right()

    run(story())


@pytest.mark.parametrize("kind", ["ours", "v1"])
def test_REG67_ids_in_small_letters_are_the_same_ids(
    make_world: Callable[..., World], folder: Path, kind: str
) -> None:
    world = make_world(kind)
    world.list_node(OPERATOR, "https://a.example")
    world.list_party(PARTY, "de", "aaa", OPERATOR)
    world.mine()

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            assert {row[:3] for row in place.held()["parties"]} == {("DE", "AAA", PARTY)}
            world.list_party(SECOND, "DE", "AAA", OPERATOR)
            world.mine(require=False)
            await place.look()
            snapshot = await place.require_right()
            # Whoever is listed under the capitals, if the contract lets both in.
            assert len(snapshot.parties) == 1

    run(story())


def test_A107_REG64_the_zero_address_of_the_old_contracts_is_nobody(
    make_world: Callable[..., World], folder: Path
) -> None:
    world = make_world("v1")
    listed(world)
    nobody = "0x" + "0" * 40
    nothing = (0, bytes(32), bytes(32))
    world.do(
        THIRD, "setNodeRaw(address,string,uint8,bytes32,bytes32)", nobody, "https://evil.example", *nothing
    )
    world.do(
        THIRD,
        "setPartyRaw(address,bytes2,bytes3,uint8[],address,uint8,bytes32,bytes32)",
        nobody,
        b"XX",
        b"XXX",
        [0],
        OTHER,
        *nothing,
    )
    world.mine()

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            assert domains(place) == {OPERATOR: "https://a.example", OTHER: "https://b.example"}
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR}
            assert place.mirror.state.left_out == {
                "operator at the zero address ignored": 1,
                "party at the zero address ignored": 1,
            }
            world.list_party(SECOND, "DE", "CCC", OTHER)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/CCC": OTHER}
            await place.require_right()

    run(story())


@pytest.mark.parametrize("kind", ["ours", "v1"])
def test_REG69_a_forwarding_rule_is_active_as_flag_and_service_say(
    make_world: Callable[..., World], folder: Path, kind: str
) -> None:
    world = make_world(kind)
    listed(world)
    user, provider = PARTY, SECOND
    offer = "setService(string,string,uint256[])"

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()

            async def active() -> bool:
                world.mine()
                await place.look()
                await place.require_right()
                return place.held()["agreements"] == {(user, provider)}

            world.do(provider, offer, "", "", [0])
            assert not await active()
            assert [row[0] for row in place.held()["services"]] == [provider]
            world.do(user, "createAgreement(address)", provider)
            assert await active()
            world.do(user, "revokeAgreement(address)", provider)
            assert not await active()
            world.do(user, "createAgreement(address)", provider)
            assert await active()
            world.do(provider, "deleteService()")
            assert not await active()
            assert place.held()["services"] == set()
            world.do(provider, offer, "name", "https://s.example", [3, 99])
            assert await active()
            world.delete_party(user)
            assert not await active()
            world.list_party(user, "DE", "AAA", OTHER)
            assert await active()
            assert place.mirror.state.full_readings == 1

    run(story())


def test_I17_A111_own_listing_is_watched(world: World, folder: Path) -> None:
    async def story() -> None:
        async with Place(folder, world, node__url="http://127.0.0.1:9") as place:
            await place.look()
            assert "does not list this node's operator" in place.mirror.state.own
            world.list_node(place.operator, "https://elsewhere.example")
            world.mine()
            await place.look()
            assert "elsewhere.example, node.url is http://127.0.0.1:9" in place.mirror.state.own
            world.list_node(place.operator, "http://127.0.0.1:9")
            world.mine()
            await place.look()
            assert place.mirror.state.own == ""

    run(story())


def test_A102_vanishing_counts_at_the_head_and_moving_after_the_confirmations(
    world: World, folder: Path
) -> None:
    listed(world)
    world.blocks(5)

    async def story() -> None:
        async with Place(folder, world, registry__confirmations=5) as place:
            await place.look()
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR}
            world.list_party(PARTY, "DE", "AAA", OTHER)
            world.delete_party(SECOND)
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            for _ in range(5):
                await place.look()
                assert place.ids() == {"DE/AAA": OPERATOR}
                world.blocks(1)
            await place.look()
            assert place.ids() == {"DE/AAA": OTHER, "DE/CCC": OTHER}
            assert place.mirror.state.lag == 5
            # What vanished at the head and came back there had never gone.
            world.delete_party(PARTY)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/CCC": OTHER}
            world.list_party(PARTY, "DE", "AAA", OTHER)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/AAA": OTHER, "DE/CCC": OTHER}
            # A reorganisation above the confirmed block brings back who had vanished.
            mark = world.anvil.call("evm_snapshot")
            world.delete_party(THIRD)
            world.mine()
            await place.look()
            assert place.ids() == {"DE/AAA": OTHER}
            world.anvil.call("evm_revert", mark)
            world.blocks(2)
            await place.look()
            assert place.ids() == {"DE/AAA": OTHER, "DE/CCC": OTHER}
            world.blocks(6)
            await place.look()
            assert place.mirror.state.full_readings == 1
            assert place.mirror.state.reorganisations == 0

    run(story())


@pytest.mark.parametrize("depth", [1, 5, 200, 300])
def test_F23_REG70_after_a_reorganisation_the_table_is_that_of_the_new_chain(
    world: World, folder: Path, depth: int
) -> None:
    life = Life(world, seed=depth)
    life.live(60)
    world.mine(require=False)

    async def story() -> None:
        async with Place(folder, world, registry__brake_s=0) as place:
            await place.look()
            mark = world.anvil.call("evm_snapshot")
            # On the old branch each look sees some blocks, so that there is a lot to undo.
            fresh = [account(900 + number) for number in range(4)]
            for step in range(min(depth, 6)):
                world.list_party(fresh[step % 4], "FR", f"A{step % 4}A", account(0))
                life.live(10)
                world.mine(require=False)
                world.blocks(depth // 6 if depth > 6 else 0)
                await place.look()
                await place.require_right()
            world.blocks(depth - (world.head() - place.mirror.state.block))  # type: ignore[operator]
            before = world.head()
            world.anvil.call("evm_revert", mark)
            # The same newcomers come in another order, and one of them never.
            for party in reversed(fresh[:3]):
                world.list_party(party, "FR", f"B{fresh.index(party)}B", account(0))
            life.live(10)
            world.mine(require=False)
            world.blocks(before - world.head() + 1)
            await place.look()
            await place.require_right()
            assert place.mirror.state.reorganisations == 1
            assert place.mirror.state.full_readings == (1 if depth < 256 else 2)
            life.live(20)
            world.mine(require=False)
            await place.look()
            await place.require_right()

    run(story())


def test_REG70_a_log_that_is_taken_back_and_never_comes_again(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            mark = world.anvil.call("evm_snapshot")
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.list_party(PARTY, "DE", "AAA", OTHER)
            world.do(OTHER, "deleteNode()")
            world.mine(require=False)
            await place.look()
            assert place.ids()["DE/CCC"] == OTHER
            world.anvil.call("evm_revert", mark)
            world.blocks(2)
            await place.look()
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR}
            assert domains(place)[OTHER] == "https://b.example"
            await place.require_right()
            # Restarted in between, it undoes the same.
            mark = world.anvil.call("evm_snapshot")
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            await place.look()
            await place.mirror.endpoints.close()
            place.mirror = await place.open_mirror()
            world.anvil.call("evm_revert", mark)
            world.blocks(2)
            await place.look()
            assert "DE/CCC" not in place.ids()
            await place.require_right()
            assert place.mirror.state.full_readings == 0

    run(story())


def test_F24_REG72_a_restart_needs_no_chain_and_then_catches_up(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            block, before = place.mirror.state.block, place.held()
            await place.mirror.endpoints.close()
            world.anvil.stop()
            try:
                place.settings = msgspec.structs.replace(
                    place.settings,
                    registry=msgspec.structs.replace(place.settings.registry, rpc_timeout_ms=200),
                )
                place.mirror = await place.open_mirror()
                await place.look()
            finally:
                world.anvil.go_on()
            assert place.mirror.state.block == block
            assert "no whole answer" in place.mirror.state.error
            assert place.held() == before
            world.list_party(THIRD, "DE", "CCC", OTHER)
            world.mine()
            world.blocks(200)
            await place.look()
            assert place.ids()["DE/CCC"] == OTHER
            await place.require_right()
            assert place.mirror.state.full_readings == 0

    run(story())


def test_REG73_a_full_reading_of_1000_parties_needs_few_requests(world: World, folder: Path) -> None:
    many = 1_000
    for number in range(40):
        world.list_node(account(number), f"https://n{number}.example")
    world.mine(require=False)
    for number in range(many):
        world.list_party(account(1_000 + number), "DE", f"{number:03X}", account(number % 40))
    world.mine(require=False)
    for number in range(20):
        world.do(account(1_000 + number), "setService(string,string,uint256[])", "", "", [0])
    world.mine(require=False)
    for number in range(1_500):
        user, provider = account(1_020 + number % 900), account(1_000 + number // 900 * 7)
        world.do(user, "createAgreement(address)", provider)
    world.mine(require=False)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            held = place.held()
            assert (len(held["operators"]), len(held["parties"]), len(held["services"])) == (40, many, 20)
            assert len(held["agreements"]) == 1_500
            assert place.mirror.state.requests <= 30
            requests = place.mirror.state.requests
            # One change costs a handful, and none at all costs one.
            await place.look()
            assert place.mirror.state.requests == requests + 1
            world.list_party(account(1_000), "DE", "000", account(5))
            world.mine()
            await place.look()
            assert place.mirror.state.requests <= requests + 6
            await place.require_right()

    run(story())


def test_a_daily_reading_finds_what_events_did_not_tell(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.look()
            database = sqlite3.connect(place.settings.store.url.partition(":///")[2])
            key = ("party", PARTY)
            database.execute("DELETE FROM registry_records WHERE kind = ? AND key = ?", key)
            database.execute("DELETE FROM registry_parties WHERE address = ?", (PARTY,))
            database.commit()
            database.close()
            await place.mirror.endpoints.close()
            place.mirror = await place.open_mirror()
            await place.look()
            assert place.ids() == {"DE/BBB": OPERATOR}
            monkeypatch.setattr(mirror, "COMPARE_S", 0)
            await place.look()
            assert place.ids() == {"DE/AAA": OPERATOR, "DE/BBB": OPERATOR}
            assert place.mirror.state.differences == 1

    run(story())
