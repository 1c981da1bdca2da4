"""What breaks around the database, and what must hold all the same."""

import asyncio
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.process
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from ocn_fast import store
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError, StoreConflict, StoreError, StoreUnavailable
from ocn_fast.store import KeyRing, Store
from ocn_fast.store.schema import REVISION, metadata

from .conftest import registered
from .story import CPO, RING, register, registration
from .test_links import link

pytestmark = pytest.mark.anyio


async def test_F11_a_locked_database_answers_readers_and_refuses_writers_in_time(
    open_store: Callable[..., Awaitable[Store]], tmp_path: Path
) -> None:
    database = await open_store(store__timeout_ms=200)
    platform_id, _ = await registered(database, CPO)
    other = sqlite3.connect(tmp_path / "node.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await database.reserve_link(link(1, platform_id))
    assert time.monotonic() - started < 5
    number = await database.change_number()
    assert number > 1
    assert await database.changes_since(number)
    other.rollback()
    other.close()
    await database.reserve_link(link(1, platform_id))


@pytest.mark.parametrize("connections", [1, 2])
async def test_who_waits_for_one_of_store_pool_connections_is_refused_in_time(
    open_store: Callable[..., Awaitable[Store]], connections: int
) -> None:
    database = await open_store(store__timeout_ms=200, store__pool=connections)
    async with database._database.writing():
        if connections == 1:
            with pytest.raises(StoreUnavailable):
                await database.change_number()
        else:
            await database.change_number()
    await database.change_number()


async def test_A52_errors_of_the_database_show_no_value(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    await database.reserve_link(link(1, platform_id))
    with pytest.raises(StoreConflict) as refused:
        await database.reserve_link(link(1, platform_id))
    assert "msp.example" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_A126_a_new_database_is_its_owners_only(database: Store, tmp_path: Path) -> None:
    await registered(database, CPO)
    modes = await asyncio.to_thread(_modes, tmp_path)
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}, modes


def test_the_migrations_make_the_schema(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    store.migrate(make_settings().store.url)
    store.migrate(make_settings().store.url)
    engine = create_engine(f"sqlite:///{tmp_path}/node.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISION
    engine.dispose()


def test_a_database_that_is_up_to_date_is_not_migrated(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.migrate(make_settings().store.url)
    # As if it were not there: importing it raises ImportError.
    monkeypatch.setitem(sys.modules, "alembic", None)
    store.migrate(make_settings().store.url)


async def test_F47_a_newer_or_missing_schema_is_refused(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings()
    with pytest.raises(ConfigError, match="schema none"):
        await store.open(settings, RING)
    store.migrate(settings.store.url)
    with sqlite3.connect(tmp_path / "node.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999"):
        await store.open(settings, RING)
    with pytest.raises(ConfigError, match="newer version"):
        store.migrate(settings.store.url)


async def test_token_b_needs_the_key_that_encrypted_it(
    make_settings: Callable[..., Settings], database: Store
) -> None:
    await registered(database, CPO)
    rotated = await store.open(make_settings(), KeyRing([(2, b"n" * 32), *RING.entries]))
    assert await rotated.changes_since(0)
    await rotated.close()
    foreign = await store.open(make_settings(), KeyRing([(2, b"n" * 32)]))
    with pytest.raises(StoreError, match="not in the key ring"):
        await foreign.changes_since(0)
    await foreign.close()


def _modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.fixture
def no_server_left() -> Iterator[None]:
    """The fork server would end only after us, when somebody may already look for what we left behind."""
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_server_left")
async def test_F02_a_registration_is_there_whole_or_not_at_all(
    make_settings: Callable[..., Settings], tool: Callable[[str], str], tmp_path: Path
) -> None:
    """The process is killed at its n-th write or sync, for every n of the story."""
    strace = tool("strace")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ocn_fast.store"])
    outcomes = []
    killed = True
    while killed:
        number = len(outcomes) + 1
        settings = make_settings(store__url=f"sqlite+aiosqlite:///{tmp_path}/node{number}.db")
        store.migrate(settings.store.url)
        database = await store.open(settings, RING)
        await database.create_registration_token([CPO])
        before = await database.changes_since(0)
        await database.close()
        process = processes.Process(target=register, args=(settings.to_json(),))
        process.start()
        killed = await asyncio.to_thread(_killed_at, strace, number, process)
        database = await store.open(settings, RING)
        platforms = await database.platforms()
        token = await database.repeated_registration(1, "request")
        if platforms:
            assert token is not None
            assert [platform.parties for platform in platforms] == [(CPO,)]
            assert (await database.find_caller([token.token_c])) is not None
        else:
            assert token is None
            assert await database.changes_since(0) == before
            await database.register(1, "request", registration(CPO))
        await database.close()
        outcomes.append(bool(platforms))
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) > 10
    assert outcomes.count(True) > 1


def _killed_at(strace: str, number: int, process: multiprocessing.process.BaseProcess) -> bool:
    """Lets the process run to its n-th write or sync; False if it came to its end before."""
    assert process.pid is not None
    _wait_for(process.pid, "State:\tT")
    calls = "pwrite64,fsync,fdatasync,ftruncate"
    command = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:signal=SIGKILL:when={number}", "-p", str(process.pid)]
    with subprocess.Popen(command) as tracer:
        _wait_for(process.pid, f"TracerPid:\t{tracer.pid}\n")
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        tracer.wait(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _wait_for(pid: int, line: str) -> None:
    ends = time.monotonic() + 30
    while line not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < ends, f"process {pid} never came to {line!r}"
        time.sleep(0.002)
