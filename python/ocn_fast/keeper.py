"""The keeper: the one background process of a node. Brings the registry file into the database and cleans up.

    python -m ocn_fast.keeper --parent PID [--prepare]

The supervisor runs it twice: with `--prepare` before anything else (schema, first import of the registry;
what fails is one line on standard output and status 1), then for good. Workers never decode a registry:
they hear of the change number. A file that turns bad, older or foreign later on changes nothing: the
registry that is held goes on serving, and a log line and the keeper's state say so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from ocn_fast import figures, lifecycle, logs, store
from ocn_fast.announcer import LOOK_S, Announcer
from ocn_fast.config import Settings
from ocn_fast.errors import OcnError, RegistryFileError, StoreConflict, StoreError
from ocn_fast.outbound import Outbound
from ocn_fast.registry import snapshot as snapshots

SWEEP_S = 60.0
"""How often expired links and tokens are removed."""

_Mark = tuple[int, int, int]


class RegistryFile:
    """The snapshot file of `registry.file`, and the database that follows it."""

    def __init__(self, settings: Settings, database: store.Store) -> None:
        assert settings.registry.file is not None
        self._settings = settings.registry
        self._path = Path(settings.registry.file)
        self._store = database
        self._seen: _Mark | None = None
        self._old = False
        self.refused = 0
        """How many files were refused."""
        self.usable = True
        """Whether the file as it is now was taken."""

    async def load(self) -> None:
        """Reads, checks and applies the file. Raises RegistryFileError and StoreError."""
        signed = await asyncio.to_thread(self._read)
        for line in signed.warnings:
            logs.get().warning("registry entry skipped", text=line)
        new, held = signed.snapshot, await self._store.registry_state()
        if held is not None and (held.network, held.chain_id) != (new.network, new.chain_id):
            raise RegistryFileError(
                f"{self._path} is of {new.network} (chain {new.chain_id}), the database of {held.network} "
                f"(chain {held.chain_id}): use another database for another registry"
            )
        try:
            applied = await self._store.apply_registry(new)
        except StoreConflict as error:
            raise OlderRegistry(f"{self._path}: {error}") from None
        logs.get().info(
            "registry applied",
            block=new.block,
            time=new.time,
            operators=len(new.operators),
            parties=len(new.parties),
            signatory=signed.signatory,
            written=applied.written,
            removed=applied.removed,
            number=applied.number,
        )

    async def follow(self) -> None:
        """Loads the file if it has changed. A file that cannot be used is reported once, and kept out."""
        await self._warn_of_age()
        mark = self._mark()
        if mark == self._seen:
            return
        try:
            await self.load()
            self.usable = True
        except RegistryFileError as error:
            logs.get().error(
                "registry file refused; the registry that is held goes on serving", text=str(error)
            )
            self.refused += 1
            self.usable = False
        self._seen = mark

    def _read(self) -> snapshots.Signed:
        settings = self._settings
        return snapshots.read(
            self._path,
            max_bytes=settings.file_bytes,
            signers=settings.file_signers or None,
            max_parties=settings.parties,
            max_domain_bytes=settings.domain_bytes,
        )

    def _mark(self) -> _Mark | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    async def _warn_of_age(self) -> None:
        held = await self._store.registry_state()
        if held is None:
            return
        age = datetime.now(UTC) - datetime.fromisoformat(held.block_time)
        old = age.total_seconds() > self._settings.age_warn_s
        if old and not self._old:
            logs.get().warning("registry is old", age_s=int(age.total_seconds()), block=held.block)
        self._old = old


class OlderRegistry(RegistryFileError):
    """The file is of an earlier block than the database: the newer one stays."""


async def prepare(settings: Settings) -> None:
    """Schema and first import. Raises OcnError for what must keep the node from starting."""
    await asyncio.to_thread(store.migrate, settings.store.url)
    database = await store.open(settings)
    try:
        if settings.registry.file is not None:
            await RegistryFile(settings, database).load()
    except OlderRegistry as error:
        # Not the fault of this start: what is held is newer, and serves.
        logs.get().error("registry file refused; the registry that is held goes on serving", text=str(error))
    finally:
        await database.close()


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Follows the registry file, tells other operators of our parties, and sweeps, until `stop` is set."""
    database = await store.open(settings)
    try:
        async with asyncio.TaskGroup() as tasks:
            file = None if settings.registry.file is None else RegistryFile(settings, database)
            tasks.create_task(_every(settings.registry.poll_s, lambda: look(settings, file), stop))
            tasks.create_task(_every(SWEEP_S, lambda: _sweep(database), stop))
            tasks.create_task(_announce(settings, database, stop))
    finally:
        await database.close()


async def look(settings: Settings, file: RegistryFile | None) -> None:
    """Follows the registry file, and says how things are."""
    if file is None:
        state = figures.Keeper(os.getpid())
    else:
        await file.follow()
        state = figures.Keeper(os.getpid(), file.refused, not file.usable)
    await asyncio.to_thread(figures.write_keeper, settings, state)


async def _announce(settings: Settings, database: store.Store, stop: asyncio.Event) -> None:
    """Tells other operators how our parties are connected."""
    async with Outbound(settings) as outbound:
        announcer = Announcer(settings, database, outbound)
        try:
            await _every(LOOK_S, announcer.follow, stop)
        finally:
            await announcer.close()


async def _sweep(database: store.Store) -> None:
    swept = await database.sweep()
    if swept.links or swept.registration_tokens or swept.access_tokens:
        logs.get().info(
            "swept",
            links=swept.links,
            registration_tokens=swept.registration_tokens,
            access_tokens=swept.access_tokens,
        )


async def _every(seconds: float, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Does the work now and then again, until `stop`. A database that is down is reported and tried again."""
    while not stop.is_set():
        try:
            await work()
        except StoreError as error:
            logs.get().error("the database did not answer; tried again", text=str(error))
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            continue


async def _run_until_signal(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


def main() -> int:
    """The process. Settings come whole from the supervisor, in the environment."""
    parser = argparse.ArgumentParser(prog="ocn_fast.keeper")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--prepare", action="store_true")
    arguments = parser.parse_args()
    lifecycle.die_with_parent(arguments.parent)
    lifecycle.harden()
    settings = Settings.from_json(os.environ[lifecycle.SETTINGS_VARIABLE])
    logs.configure(settings.log, "keeper")
    try:
        asyncio.run(prepare(settings) if arguments.prepare else _run_until_signal(settings))
    except OcnError as error:
        if not arguments.prepare:
            logs.get().error("keeper ends", text=str(error))
            return 1
        print(error)
        return 1
    finally:
        logs.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
