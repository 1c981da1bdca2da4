"""The keeper with a chain: what keeps a node from starting, what does not, and who of two may write."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocn_fast import figures, keeper, store
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError

from . import proxy as faults
from .place import Place, run
from .proxy import Proxy
from .world import World, account

OPERATOR, PARTY, SECOND = account(1), account(11), account(12)


def listed(world: World) -> None:
    world.list_node(OPERATOR, "https://a.example")
    world.list_party(PARTY, "DE", "AAA", OPERATOR)
    world.mine()


def with_registry(settings: Settings, **changed: Any) -> Settings:
    """The settings with other ones of the registry."""
    replace = msgspec.structs.replace
    return replace(settings, registry=replace(settings.registry, **changed))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_prepare_reads_the_chain_once(world: World, folder: Path) -> None:
    listed(world)
    place = Place(folder, world)
    asyncio.run(keeper.prepare(place.settings))
    assert place.ids() == {"DE/AAA": OPERATOR}
    world.list_party(SECOND, "DE", "BBB", OPERATOR)
    world.mine()
    # What is new since then is for the keeper that runs on.
    asyncio.run(keeper.prepare(place.settings))
    assert place.ids() == {"DE/AAA": OPERATOR}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"chain_id": 10}, "serves chain 9, expected is 10"),
        ({"contract": account(5)}, f"has no contract at {account(5)}"),
        ({"permissions": account(6)}, f"has no contract at {account(6)}"),
        ({"contract": None}, "is no v1 registry"),
        ({"permissions": None}, "is no v1 permissions contract"),
    ],
)
def test_A104_a_wrong_chain_or_contract_at_the_start_is_one_clear_line(
    world: World, folder: Path, changed: dict[str, Any], said: str
) -> None:
    swapped = {"contract": world.permissions, "permissions": world.registry}
    changed = {key: swapped[key] if value is None else value for key, value in changed.items()}
    place = Place(folder, world)
    with pytest.raises(ConfigError, match=said) as caught:
        asyncio.run(keeper.prepare(with_registry(place.settings, **changed)))
    assert "\n" not in str(caught.value)


def test_A104_of_two_endpoints_one_right_one_is_enough(
    world: World, folder: Path, make_proxy: Callable[[World], Proxy]
) -> None:
    listed(world)
    proxy = make_proxy(world)
    proxy.fault = faults.other_chain
    place = Place(folder, world, (proxy.url, world.anvil.url))
    asyncio.run(keeper.prepare(place.settings))
    assert place.ids() == {"DE/AAA": OPERATOR}
    # One that is wrong and one that is silent are none.
    alone = with_registry(place.settings, rpc=(proxy.url, f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(ConfigError, match="serves chain 1"):
        asyncio.run(keeper.prepare(alone))


def test_A104_a_database_of_another_chain_is_refused(world: World, folder: Path) -> None:
    listed(world)
    place = Place(folder, world)
    asyncio.run(keeper.prepare(place.settings))
    with pytest.raises(ConfigError, match="use another database"):
        asyncio.run(keeper.prepare(with_registry(place.settings, chain_id=10)))


def test_F24_without_a_chain_a_node_starts_with_what_it_has(
    world: World, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed(world)
    place = Place(folder, world)
    nowhere = with_registry(place.settings, rpc=(f"http://127.0.0.1:{closed_port()}",))
    asyncio.run(keeper.prepare(nowhere))
    assert place.ids() == {}
    # Where a log line goes was decided by whoever configured logging last in this process.
    assert "nothing can be routed until one answers" in "".join(capfd.readouterr())
    asyncio.run(keeper.prepare(place.settings))
    asyncio.run(keeper.prepare(nowhere))
    assert place.ids() == {"DE/AAA": OPERATOR}
    assert "starting without the chain: block 3 serves" in "".join(capfd.readouterr())


def test_secret_urls_come_from_a_file_and_are_never_shown(
    world: World, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed(world)
    place = Place(folder, world)
    urls = folder / "rpc"
    urls.write_text(
        f"# ours\nhttp://127.0.0.1:{closed_port()}/v3/secretsecret\n\n{world.anvil.url}/?k=hush-hush\n"
    )
    settings = with_registry(place.settings, rpc=(), rpc_file=str(urls))
    with pytest.raises(ConfigError, match="can be read or written by others"):
        asyncio.run(keeper.prepare(settings))
    urls.chmod(0o600)
    asyncio.run(keeper.prepare(settings))
    assert place.ids() == {"DE/AAA": OPERATOR}
    said = capfd.readouterr()
    assert "secret" not in said.out + said.err
    assert "hush" not in said.out + said.err


def test_the_keeper_follows_the_chain_and_says_how_it_is(world: World, folder: Path) -> None:
    listed(world)
    place = Place(folder, world, registry__poll_s=0.1)

    async def story() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(keeper.run(place.settings, stop))
        try:
            async with asyncio.timeout(30):
                while place.ids() != {"DE/AAA": OPERATOR}:
                    await asyncio.wait([running], timeout=0.02)
                world.list_party(SECOND, "DE", "BBB", OPERATOR)
                world.mine()
                while "DE/BBB" not in place.ids():
                    await asyncio.wait([running], timeout=0.02)
                while True:
                    said = figures.read_keeper(place.settings)
                    if said is not None and said.mirror is not None and said.mirror.block == world.head():
                        break
                    await asyncio.wait([running], timeout=0.02)
        finally:
            stop.set()
            await running
        assert said.active
        mirror = said.mirror
        assert (mirror.lag, mirror.error, mirror.brake, mirror.waiting) == (0, "", 0, 0)
        assert mirror.block_hash == world.anvil.call("eth_getBlockByNumber", "latest", False)["hash"]
        assert [endpoint.state for endpoint in mirror.endpoints] == ["good"]
        assert mirror.endpoints[0].url == world.anvil.url

    run(story())


def test_I17_F19_a_keeper_that_lost_its_lease_writes_nothing(world: World, folder: Path) -> None:
    listed(world)

    async def story() -> None:
        async with Place(folder, world, store__lease_s=1) as place:
            await place.look()
            # It stalls; another one takes over once the lease has run out.
            stalled, other = place.lease, None
            async with asyncio.timeout(10):
                while other is None:
                    other = await place.database.take_lease("registry", "another", lambda _: False)
                    await asyncio.sleep(0.02)
            assert other.epoch == stalled.epoch + 1
            world.list_party(SECOND, "DE", "BBB", OPERATOR)
            world.mine()
            with pytest.raises(store.LeaseLost):
                await place.look()
            assert place.ids() == {"DE/AAA": OPERATOR}
            place.lease = other
            await place.look()
            await place.require_right()
            await place.database.release_lease(stalled)
            assert await place.database.take_lease("registry", "third", lambda _: False) is None
            await place.database.release_lease(other)
            assert await place.database.take_lease("registry", "third", lambda _: False) is not None

    run(story())


def test_F19_who_has_ended_keeps_nobody_waiting(world: World, folder: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()

    async def story() -> None:
        async with Place(folder, world) as place:
            await place.database.release_lease(place.lease)
            host = socket.gethostname()
            for process, free in ((gone.pid, True), (os.getppid(), False)):
                holder = f"{host} {process}"
                assert await place.database.take_lease("registry", holder, lambda _: True) is not None
                duty = keeper.Duty(place.database)
                await duty.renew()
                assert (duty.lease is not None) == free
            other = await place.database.take_lease("registry", f"elsewhere {gone.pid}", lambda _: True)
            assert other is not None
            await duty.renew()
            assert duty.lease is None

    run(story())
