"""The keeper: the registry file into the database, at start and later, and what a file may never do."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ocn_fast import _native, figures, keeper, keyfiles, lifecycle, logs, store
from ocn_fast.cli.init import write_node
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError, RegistryFileError
from ocn_fast.registry import snapshot as snapshots


class Place:
    """A node's folder with its settings, and a registry file that can be written anew."""

    def __init__(self, folder: Path) -> None:
        made = write_node(folder, url="http://127.0.0.1:0", country_code="DE", party_id="HUB", dev=True)
        self.operator = made.address
        self.file = folder / "registry"
        self.signer = folder / "signer.key"
        self.address = keyfiles.create_node_key(self.signer)
        flags = {"http.port": 0, "registry.file": self.file, "registry.file_signers": (self.address,)}
        self.settings = Settings.load(made.settings, flags=flags)

    def publish(self, block: int, parties: int = 1, network: str = "test", key: Path | None = None) -> None:
        """Writes a snapshot of so many parties."""
        document = {
            "network": network,
            "chain_id": 1,
            "contract": None,
            "block": block,
            "block_hash": None,
            "time": "2026-01-01T00:00:00Z",
            "operators": [{"address": self.operator, "domain": "http://127.0.0.1:1"}],
            "parties": [
                {
                    "country_code": "DE",
                    "party_id": f"{i:03}",
                    "address": self.address,
                    "operator": self.operator,
                }
                for i in range(parties)
            ],
        }
        data = snapshots.sign(
            snapshots.from_json(json.dumps(document).encode()), keyfiles.read_node_key(key or self.signer)
        )
        snapshots.write(self.file, data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "node")


def with_store(place: Place, work: Callable[[store.Store], Awaitable[Any]]) -> Any:
    """Runs a coroutine with the open database."""

    async def run() -> Any:
        database = await store.open(place.settings)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def held(place: Place) -> tuple[int, int] | None:
    """Block and number of parties that the database holds."""

    async def look(database: store.Store) -> tuple[int, int] | None:
        state = await database.registry_state()
        return None if state is None else (state.block, state.parties)

    got: tuple[int, int] | None = with_store(place, look)
    return got


def test_prepare_makes_the_database_and_imports_the_file(place: Place) -> None:
    place.publish(5, parties=3)
    asyncio.run(keeper.prepare(place.settings))
    assert held(place) == (5, 3)
    assert (place.file.parent / "ocn-fast.db").stat().st_mode & 0o777 == 0o600
    asyncio.run(keeper.prepare(place.settings))
    assert held(place) == (5, 3)


@pytest.mark.parametrize("content", [b"", b"ocn-fast-registry/1\n{}\n0x00\n", None])
def test_I23_a_bad_file_at_start_is_refused(place: Place, content: bytes | None) -> None:
    if content is not None:
        place.file.write_bytes(content)
    with pytest.raises(RegistryFileError):
        asyncio.run(keeper.prepare(place.settings))


def test_I23_a_file_of_a_stranger_or_of_another_network_is_refused_at_start(place: Place) -> None:
    stranger = place.file.parent / "stranger.key"
    keyfiles.create_node_key(stranger)
    place.publish(5, key=stranger)
    with pytest.raises(RegistryFileError, match="not among"):
        asyncio.run(keeper.prepare(place.settings))
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    place.publish(6, network="other")
    with pytest.raises(RegistryFileError, match="use another database"):
        asyncio.run(keeper.prepare(place.settings))
    assert held(place) == (5, 1)


def test_an_older_file_at_start_leaves_the_newer_registry(place: Place) -> None:
    place.publish(5, parties=2)
    asyncio.run(keeper.prepare(place.settings))
    place.publish(4)
    asyncio.run(keeper.prepare(place.settings))
    assert held(place) == (5, 2)


def test_later_on_only_a_good_and_newer_file_changes_the_registry(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    logs.configure(place.settings.log, "keeper")
    stranger = place.file.parent / "stranger.key"
    keyfiles.create_node_key(stranger)

    async def story(database: store.Store) -> None:
        file = keeper.RegistryFile(place.settings, database)

        async def block() -> int:
            await file.follow()
            state = await database.registry_state()
            assert state is not None
            return state.block

        place.publish(6, parties=2)
        assert await block() == 6
        place.file.write_bytes(b"half of a f")
        assert await block() == 6
        place.publish(5)
        assert await block() == 6
        place.publish(7, network="other")
        assert await block() == 6
        place.publish(8, key=stranger)
        assert await block() == 6
        place.file.unlink()
        assert await block() == 6
        place.publish(9)
        assert await block() == 9

    with_store(place, story)
    logs.flush(10)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert sum("refused" in line["event"] for line in lines) == 5


def test_a_refusal_is_said_once_for_each_change_of_the_file(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    logs.configure(place.settings.log, "keeper")

    async def story(database: store.Store) -> None:
        file = keeper.RegistryFile(place.settings, database)
        place.file.write_bytes(b"broken")
        for _ in range(3):
            await file.follow()

    with_store(place, story)
    logs.flush(10)
    assert capfd.readouterr().err.count("registry file refused") == 1


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that are read from here on, and not only looked at."""
    sizes: list[int] = []
    parse = snapshots.parse

    def noted(data: bytes, **checks: Any) -> snapshots.Signed:
        sizes.append(len(data))
        return parse(data, **checks)

    monkeypatch.setattr(snapshots, "parse", noted)
    return sizes


def changed_by_hand(place: Place, statement: str) -> None:
    """Runs one statement in the database, as somebody with a tool of his own would."""
    database = sqlite3.connect(place.file.parent / "ocn-fast.db")
    assert database.execute(statement).rowcount == 1
    database.commit()
    database.close()


def test_the_file_that_is_held_is_not_read_again(place: Place, parsed: list[int]) -> None:
    place.publish(5, parties=3)
    asyncio.run(keeper.prepare(place.settings))
    size = place.file.stat().st_size
    assert parsed == [size]
    number = with_store(place, store.Store.change_number)
    asyncio.run(keeper.prepare(place.settings))

    async def look(database: store.Store) -> None:
        await keeper.RegistryFile(place.settings, database).follow()

    with_store(place, look)
    # Written anew with the same content, as by a tool that fetches it every hour.
    place.publish(5, parties=3)
    asyncio.run(keeper.prepare(place.settings))
    assert parsed == [size]
    assert held(place) == (5, 3)
    assert with_store(place, store.Store.change_number) == number
    place.publish(6, parties=2)
    asyncio.run(keeper.prepare(place.settings))
    assert len(parsed) == 2
    assert held(place) == (6, 2)


def test_I23_the_file_that_is_held_is_read_again_under_other_settings(
    place: Place, parsed: list[int]
) -> None:
    place.publish(5, parties=3)
    asyncio.run(keeper.prepare(place.settings))
    other = keyfiles.create_node_key(place.file.parent / "other.key")
    for setting, value, fault in (
        ("registry.file_signers", (other,), "not among"),
        ("registry.parties", 2, "allowed are 2"),
        ("registry.file_bytes", 100, "larger than 100"),
    ):
        flags = {"http.port": 0, "registry.file": place.file, setting: value}
        settings = Settings.load(place.file.parent / "ocn-fast.toml", os.environ, flags)
        with pytest.raises(RegistryFileError, match=fault):
            asyncio.run(keeper.prepare(settings))
    flags = {"http.port": 0, "registry.file": place.file, "registry.domain_bytes": 100}
    settings = Settings.load(place.file.parent / "ocn-fast.toml", os.environ, flags)
    parsed.clear()
    asyncio.run(keeper.prepare(settings))
    assert len(parsed) == 1
    assert held(place) == (5, 3)


def test_a_file_is_read_again_by_another_version(
    place: Place, parsed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    monkeypatch.setattr(_native, "__version__", "0.0.0")
    asyncio.run(keeper.prepare(place.settings))
    asyncio.run(keeper.prepare(place.settings))
    assert len(parsed) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM registry_parties WHERE party_id = '002'",
        "UPDATE registry_operators SET domain = 'http://elsewhere'",
        "UPDATE registry_state SET block = 4",
        "INSERT INTO registry_agreements VALUES ('0x1', '0x2')",
    ],
)
def test_a_registry_that_somebody_changed_in_the_database_is_made_the_files_again(
    place: Place, statement: str
) -> None:
    place.publish(5, parties=3)
    asyncio.run(keeper.prepare(place.settings))
    before = with_store(place, lambda database: database.changes_since(0))
    changed_by_hand(place, statement)
    asyncio.run(keeper.prepare(place.settings))
    after = with_store(place, lambda database: database.changes_since(0))
    told = [json.loads(change)["registry"] for change in (before, after)]
    assert told[0] == told[1]
    assert held(place) == (5, 3)
    with sqlite3.connect(place.file.parent / "ocn-fast.db") as database:
        assert database.execute("SELECT count(*) FROM registry_agreements").fetchone() == (0,)


def test_a_start_that_was_killed_while_it_wrote_has_not_taken_the_file(
    place: Place, parsed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.publish(5, parties=3)

    async def killed(connection: Any, digest: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ocn_fast.store.registry.remember_file", killed)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(keeper.prepare(place.settings))
    assert held(place) is None
    asyncio.run(keeper.prepare(place.settings))
    assert len(parsed) == 2
    assert held(place) == (5, 3)


def test_a_start_reads_a_file_without_what_reads_chains(place: Place) -> None:
    place.publish(5)
    program = (
        "import asyncio, os, sys; from ocn_fast import config, keeper, lifecycle;"
        "asyncio.run(keeper.prepare(config.Settings.from_json(os.environ[lifecycle.SETTINGS_VARIABLE])));"
        "print(*{'eth_abi', 'httpx', 'pydantic', 'rich', 'starlette'} & set(sys.modules))"
    )
    environment = os.environ | {lifecycle.SETTINGS_VARIABLE: place.settings.to_json()}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
    assert held(place) == (5, 1)


def started(place: Place) -> subprocess.Popen[str]:
    """The keeper's process, as the supervisor starts the first one."""
    command = [sys.executable, "-m", "ocn_fast.keeper", "--parent", str(os.getpid()), "--prepare"]
    environment = os.environ | {lifecycle.SETTINGS_VARIABLE: place.settings.to_json()}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_process_that_prepares_says_so_and_goes_on(place: Place) -> None:
    place.publish(5)
    with started(place) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == lifecycle.PREPARED
        assert held(place) == (5, 1)
        end = time.monotonic() + 30
        while figures.read_keeper(place.settings) is None:
            assert time.monotonic() < end, "it does not say how it is"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        place.publish(6)
        while held(place) != (6, 1):
            assert time.monotonic() < end, "it does not follow the file"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.terminate()
        assert process.wait(30) == 0
        assert process.stdout.read() == ""


def test_a_process_that_cannot_prepare_says_why_and_ends(place: Place) -> None:
    place.file.write_bytes(b"broken")
    with started(place) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.strip().startswith("this is not a registry snapshot")
    assert len(said.splitlines()) == 1


def test_what_was_skipped_of_a_file_is_said_at_every_start(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    place.publish(5)
    flags = {"http.port": 0, "registry.file": place.file, "registry.domain_bytes": 10}
    settings = Settings.load(place.file.parent / "ocn-fast.toml", os.environ, flags)
    logs.configure(settings.log, "keeper")
    asyncio.run(keeper.prepare(settings))
    asyncio.run(keeper.prepare(settings))
    logs.flush(10)
    assert capfd.readouterr().err.count("registry entry skipped") == 2


def test_F47_a_newer_schema_is_refused(place: Place) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    database = sqlite3.connect(place.file.parent / "ocn-fast.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    database.close()
    with pytest.raises(ConfigError, match="newer version"):
        asyncio.run(keeper.prepare(place.settings))


def test_the_keeper_says_how_it_is(place: Place) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    assert figures.read_keeper(place.settings) is None

    async def story(database: store.Store) -> None:
        registry = keeper.Registry(place.settings, database)
        for content, refused, wrong in ((None, 0, False), (b"x", 1, True), (b"y", 2, True)):
            if content is not None:
                place.file.write_bytes(content)
            await registry.look()
            assert figures.read_keeper(place.settings) == figures.Keeper(os.getpid(), refused, wrong)
        place.publish(6)
        await registry.look()
        assert figures.read_keeper(place.settings) == figures.Keeper(os.getpid(), 2, False)

    with_store(place, story)
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    figures.write_keeper(place.settings, figures.Keeper(gone.pid))
    assert figures.read_keeper(place.settings) is None


def test_a_locked_database_is_tried_again(place: Place) -> None:
    place.publish(5)
    asyncio.run(keeper.prepare(place.settings))
    flags = {"http.port": 0, "registry.file": place.file, "registry.poll_s": 1, "store.timeout_ms": 100}
    settings = Settings.load(place.file.parent / "ocn-fast.toml", os.environ, flags)
    place.publish(6)
    other = sqlite3.connect(place.file.parent / "ocn-fast.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def story() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(keeper.run(settings, stop))
        database = await store.open(settings)
        try:
            # The lock outlives several tries; nothing has been written, and nothing has ended.
            for _ in range(3):
                state = await database.registry_state()
                assert state is not None
                assert state.block == 5
                await asyncio.wait([running], timeout=0.5)
                assert not running.done()
            other.execute("ROLLBACK")
            async with asyncio.timeout(20):
                while (await database.registry_state()).block != 6:  # type: ignore[union-attr]
                    await asyncio.wait([running], timeout=0.05)
        finally:
            other.close()
            stop.set()
            await running
            await database.close()

    asyncio.run(story())
