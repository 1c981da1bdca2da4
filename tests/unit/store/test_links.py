"""Links: bounded, durable, swept."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from ocn_fast.errors import StoreConflict, StoreFull
from ocn_fast.store import Link, LinkTaken, Store
from ocn_fast.store.links import SWEEP_ROWS

from .conftest import registered
from .story import CPO, MSP

pytestmark = pytest.mark.anyio

FAR = 2**52


def link(number: int, platform_id: int, expires_at: int = FAR) -> Link:
    return Link(
        id=f"{number:032x}",
        caller=("DE", "CPO"),
        owner=("NL", "MSP"),
        module="commands",
        role="SENDER",
        method="POST",
        place="START_SESSION",
        url="https://msp.example/result?x=1",
        expires_at=expires_at,
        platform=platform_id,
    )


async def test_a_link_comes_back_as_it_was(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    await database.reserve_link(link(1, platform_id))
    assert await database.find_link(link(1, platform_id).id) == link(1, platform_id)
    assert await database.find_link("0" * 32) is None


async def test_A94_a_link_is_never_replaced(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    first = link(1, platform_id, expires_at=1)
    await database.reserve_link(first)
    with pytest.raises(LinkTaken):
        await database.reserve_link(replace(first, url="sender/commands/START_SESSION/x", expires_at=FAR))
    assert await database.find_link(first.id) == first


async def test_a_reserved_link_is_filled_in_once_known(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    await database.reserve_link(link(1, platform_id))
    await database.fill_link(link(1, platform_id).id, "https://msp.example/cdrs/1")
    found = await database.find_link(link(1, platform_id).id)
    assert found is not None
    assert found.url == "https://msp.example/cdrs/1"
    with pytest.raises(StoreConflict):
        await database.fill_link("0" * 32, "https://msp.example/cdrs/1")


async def test_A88_live_links_of_a_platform_are_counted(
    open_store: Callable[..., Awaitable[Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_store(links__per_platform=2)
    platform_id, _ = await registered(database, CPO)
    other, _ = await registered(database, MSP)
    await database.reserve_link(link(1, platform_id))
    await database.reserve_link(link(2, platform_id))
    with pytest.raises(StoreFull):
        await database.reserve_link(link(3, platform_id))
    await database.reserve_link(link(4, other))
    monkeypatch.setattr("ocn_fast.store.store._now", lambda: FAR)
    await database.reserve_link(link(3, platform_id, FAR + 1))


async def test_A88_expired_links_are_swept_in_batches(
    open_store: Callable[..., Awaitable[Store]],
) -> None:
    database = await open_store(store__sqlite_synchronous="NORMAL")
    platform_id, _ = await registered(database, CPO)
    for number in range(SWEEP_ROWS + 1):
        await database.reserve_link(link(number, platform_id, expires_at=1))
    await database.reserve_link(link(SWEEP_ROWS + 1, platform_id))
    assert (await database.sweep()).links == SWEEP_ROWS + 1
    assert await database.find_link(link(SWEEP_ROWS + 1, platform_id).id) is not None


async def test_A83_links_go_with_their_platform(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    await database.reserve_link(link(1, platform_id))
    assert await database.delete_platform(platform_id)
    assert await database.find_link(link(1, platform_id).id) is None
    with pytest.raises(StoreConflict):
        await database.reserve_link(link(2, platform_id))
