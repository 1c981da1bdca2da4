"""Questions that share a transaction: each gets its own answer, and none waits for ever."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ocn_fast import store
from ocn_fast.config import Settings
from ocn_fast.errors import StoreConflict, StoreError, StoreFull, StoreUnavailable
from ocn_fast.store import Link, LinkTaken, Store
from ocn_fast.store.together import GROUP, Together

from .conftest import registered
from .story import CPO, MSP
from .test_links import link

pytestmark = pytest.mark.anyio


class Slow:
    """A transaction that takes as long as the test wants, and notes what it was asked."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.groups: list[list[int]] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.fault = fault

    def __call__(self, questions: Sequence[int]) -> Sequence[str | StoreError]:
        self.groups.append(list(questions))
        self.begun.set()
        assert self.may_end.wait(30)
        if self.fault is not None:
            raise self.fault
        return [StoreConflict("odd") if question % 2 else str(question) for question in questions]


async def begun(transaction: Slow) -> None:
    assert await asyncio.to_thread(transaction.begun.wait, 30)
    transaction.begun.clear()


def ask(together: Together[int, str], *questions: int) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(together.ask(question)) for question in questions]


async def outcomes(tasks: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
    async with asyncio.timeout(30):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_arrives_meanwhile_shares_the_next_transaction() -> None:
    slow = Slow()
    together = Together("test", slow)
    first = ask(together, 0)
    await begun(slow)
    others = ask(together, *range(1, GROUP + 10))
    await asyncio.sleep(0)
    slow.may_end.set()
    answers = await outcomes([*first, *others])
    assert answers[::2] == [str(number) for number in range(0, GROUP + 10, 2)]
    assert all(isinstance(answer, StoreConflict) for answer in answers[1::2])
    assert [len(group) for group in slow.groups] == [1, GROUP, 9]
    await together.close()


async def test_who_stops_waiting_is_left_out_and_hurts_nobody() -> None:
    slow = Slow()
    together = Together("test", slow)
    first = ask(together, 0)
    await begun(slow)
    others = ask(together, 2, 4, 6)
    await asyncio.sleep(0)
    for task in (*first, others[1]):
        task.cancel()
    await asyncio.sleep(0)
    slow.may_end.set()
    answers = await outcomes([*first, *others])
    assert [str(answer) for answer in answers] == ["", "2", "", "6"]
    assert slow.groups == [[0], [2, 6]]
    assert await together.ask(8) == "8"
    await together.close()


async def test_F11_a_store_that_is_down_tells_all_who_wait() -> None:
    slow = Slow(StoreUnavailable("down"))
    together = Together("test", slow)
    first = ask(together, 0, 2)
    await begun(slow)
    others = ask(together, 4, 6)
    await asyncio.sleep(0)
    slow.may_end.set()
    answers = await outcomes([*first, *others])
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert slow.groups == [[0, 2]]
    slow.fault = None
    assert await together.ask(8) == "8"
    await together.close()


async def test_after_another_fault_each_is_asked_alone() -> None:
    slow = Slow(ValueError("who was it?"))
    slow.may_end.set()
    together = Together("test", slow)
    answers = await outcomes(ask(together, 0, 2))
    assert all(isinstance(answer, ValueError) for answer in answers)
    assert slow.groups == [[0, 2], [0], [2]]
    await together.close()


async def test_closing_waits_for_what_is_under_way() -> None:
    slow = Slow()
    together = Together("test", slow)
    first = ask(together, 0)
    await begun(slow)
    closing = asyncio.create_task(together.close())
    slow.may_end.set()
    assert await outcomes(first) == ["0"]
    await closing
    with pytest.raises(RuntimeError):
        await together.ask(2)


async def reserved(database: Store, links: Sequence[Link]) -> list[BaseException | None]:
    return await asyncio.gather(*map(database.reserve_link, links), return_exceptions=True)


async def test_links_that_arrive_together_cost_one_transaction(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    links = [link(number, platform_id) for number in range(100)]
    before = database.statements()["other"]
    assert await reserved(database, links) == [None] * 100
    assert database.statements()["other"] - before <= 5
    before = database.statements()["other"]
    assert await asyncio.gather(*(database.find_link(one.id) for one in links)) == links
    assert database.statements()["other"] - before <= 2
    assert await database.find_link("0" * 31 + "x") is None


async def test_A88_A94_each_link_of_a_group_is_judged_for_itself(
    open_store: Callable[..., Awaitable[Store]],
) -> None:
    database = await open_store(links__per_platform=3)
    cpo, _ = await registered(database, CPO)
    msp, _ = await registered(database, MSP)
    await database.reserve_link(link(0, cpo))
    links = [
        link(1, cpo),
        replace(link(0, cpo), url="https://other.example/"),
        link(2, cpo),
        replace(link(2, msp), url="https://other.example/"),
        link(3, cpo + msp),
        link(4, cpo),
        link(5, msp),
        link(6, cpo),
    ]
    kinds = [type(outcome) for outcome in await reserved(database, links)]
    no = type(None)
    assert kinds == [no, LinkTaken, no, LinkTaken, StoreConflict, StoreFull, no, StoreFull]
    expected = [link(0, cpo), link(1, cpo), link(2, cpo), None, None, link(5, msp), None]
    assert [await database.find_link(f"{number:032x}") for number in range(7)] == expected


async def test_a_link_that_no_database_takes_does_not_hurt_the_others(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    links = [link(number, platform_id) for number in range(4)]
    links[2] = replace(links[2], expires_at=2**70)
    outcomes = await reserved(database, links)
    assert [outcome is None for outcome in outcomes] == [True, True, False, True]
    assert await database.find_link(links[3].id) == links[3]
    assert await database.find_link(links[2].id) is None


async def test_links_are_filled_in_beside_those_that_are_written_down(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    await database.reserve_link(replace(link(1, platform_id), url=""))
    done = await asyncio.gather(
        database.reserve_link(link(2, platform_id)),
        database.fill_link(link(1, platform_id).id, "https://msp.example/cdrs/1"),
        database.fill_link(link(3, platform_id).id, "https://msp.example/cdrs/3"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in done] == [type(None), type(None), StoreConflict]
    found = await database.find_link(link(1, platform_id).id)
    assert found == replace(link(1, platform_id), url="https://msp.example/cdrs/1")


async def test_A88_two_workers_share_a_platforms_bound(open_store: Callable[..., Awaitable[Store]]) -> None:
    workers = [await open_store(links__per_platform=50) for _ in range(2)]
    platform_id, _ = await registered(workers[0], CPO)
    done = await asyncio.gather(
        *(
            workers[number % 2].reserve_link(link(number, platform_id, expires_at=2**52 + number))
            for number in range(80)
        ),
        return_exceptions=True,
    )
    assert done.count(None) == 50
    assert {type(outcome) for outcome in done} == {type(None), StoreFull}


async def test_A88_links_of_an_older_version_count(
    make_settings: Callable[..., Settings], open_store: Callable[..., Awaitable[Store]], tmp_path: Path
) -> None:
    database = await open_store(links__per_platform=2)
    platform_id, _ = await registered(database, CPO)
    await reserved(database, [link(1, platform_id), link(2, platform_id)])
    await database.close()
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("ALTER TABLE platforms DROP COLUMN links")
        triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for (trigger,) in triggers:
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("DROP TABLE registry_file")
        connection.execute("UPDATE alembic_version SET version_num = '0002'")
    connection.close()
    store.migrate(make_settings().store.url)
    database = await open_store(links__per_platform=2)
    with pytest.raises(StoreFull):
        await database.reserve_link(link(3, platform_id))


async def test_F11_a_locked_database_refuses_all_links_in_one_timeout(
    open_store: Callable[..., Awaitable[Store]], tmp_path: Path
) -> None:
    database = await open_store(store__timeout_ms=500)
    platform_id, _ = await registered(database, CPO)
    links = [link(number, platform_id) for number in range(3 * GROUP)]
    await database.reserve_link(links[0])
    other = sqlite3.connect(tmp_path / "node.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    assert {type(outcome) for outcome in await reserved(database, links[1:])} == {StoreUnavailable}
    assert time.monotonic() - started < 5
    assert await database.find_link(links[0].id) == links[0]
    other.rollback()
    other.close()
    assert await reserved(database, links[1:]) == [None] * (len(links) - 1)
