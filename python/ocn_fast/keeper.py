"""The keeper: the one background process of a node. Brings the registry into the database and cleans up.

    python -m ocn_fast.keeper --parent PID [--prepare]

The supervisor runs it with `--prepare` before anything else: schema and first import of the registry; what
fails is one line on standard output and status 1, what is done is the line `prepared`. Then it goes on for
good, as does, without `--prepare`, each that is started in place of one that died. Workers never decode a
registry: they hear of the change number. A file that turns bad, older or foreign later on changes nothing:
the registry that is held goes on serving, and a log line and the keeper's state say so.

So with a chain. At the start its endpoints must serve the right chain and contracts, as far as they answer;
where none answers the node starts all the same, with the registry of its database or, the first time,
without any: then nobody is known, and nothing can be routed until one answers.

Of several keepers on one database only the holder of a lease writes the registry.

The start waits for what is prepared: what reads chains, or calls others, is imported where it is used.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocn_fast import figures, keyfiles, lifecycle, logs, store
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError, OcnError, RegistryFileError, RpcError, StoreConflict, StoreError
from ocn_fast.registry import snapshot as snapshots

if TYPE_CHECKING:
    from ocn_fast.registry.mirror import Mirror

SWEEP_S = 60.0
"""How often expired links and tokens are removed."""

FIRST_READING_S = 30.0
"""How long a start waits for the first reading of a chain; it goes on while the node already serves."""

_LEASE = "registry"
_WRONG_CHAIN = ("chain", "code", "variant")

_Mark = tuple[int, int, int]


class Duty:
    """The right to write the registry: taken, renewed, lost, given back."""

    def __init__(self, database: store.Store) -> None:
        self._store = database
        self._host = socket.gethostname()
        self._holder = f"{self._host} {os.getpid()}"
        self.lease: store.Lease | None = None
        """The lease, as long as it is ours."""

    async def renew(self) -> None:
        """Takes or renews it, if nobody else has it."""
        before = self.lease
        self.lease = await self._store.take_lease(_LEASE, self._holder, self._is_gone)
        if self.lease is None and before is not None:
            logs.get().warning("another keeper writes the registry now")

    async def end(self) -> None:
        """Gives it back."""
        if self.lease is not None:
            await self._store.release_lease(self.lease)
            self.lease = None

    def _is_gone(self, holder: str) -> bool:
        """A process of this machine that does not live any more will not come back."""
        host, _, process = holder.partition(" ")
        return host == self._host and not figures.lives(int(process))


class RegistryFile:
    """The snapshot file of `registry.file`, and the database that follows it."""

    def __init__(self, settings: Settings, database: store.Store) -> None:
        assert settings.registry.file is not None
        self._settings = settings.registry
        self._checks: dict[str, Any] = {
            "signers": settings.registry.file_signers or None,
            "max_parties": settings.registry.parties,
            "max_domain_bytes": settings.registry.domain_bytes,
        }
        self._path = Path(settings.registry.file)
        self._store = database
        self._seen: _Mark | None = None
        self._old = False
        self.refused = 0
        """How many files were refused."""
        self.usable = True
        """Whether the file as it is now was taken."""

    async def load(self, lease: store.Lease | None = None) -> bool:
        """Reads, checks and applies the file, unless the database holds just this one; says whether it did.

        One of which something was skipped is read at every start, and that said again. Raises
        RegistryFileError and StoreError.
        """
        data = await asyncio.to_thread(snapshots.content, self._path, self._settings.file_bytes)
        digest = await asyncio.to_thread(lambda: snapshots.digest(data, **self._checks))
        held = await self._store.registry_state()
        if held is not None and held.file == digest:
            return False
        signed = await asyncio.to_thread(lambda: snapshots.parse(data, **self._checks))
        for line in signed.warnings:
            logs.get().warning("registry entry skipped", text=line)
        new = signed.snapshot
        if held is not None and (held.network, held.chain_id) != (new.network, new.chain_id):
            raise RegistryFileError(
                f"{self._path} is of {new.network} (chain {new.chain_id}), the database of {held.network} "
                f"(chain {held.chain_id}): use another database for another registry"
            )
        try:
            applied = await self._store.apply_registry(new, lease, file=None if signed.warnings else digest)
        except store.LeaseLost:
            raise
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
        return True

    async def follow(self, lease: store.Lease | None = None) -> None:
        """Loads the file if it has changed. A file that cannot be used is reported once, and kept out."""
        await self._warn_of_age()
        mark = self._mark()
        if mark == self._seen:
            return
        try:
            await self.load(lease)
            self.usable = True
        except RegistryFileError as error:
            logs.get().error(
                "registry file refused; the registry that is held goes on serving", text=str(error)
            )
            self.refused += 1
            self.usable = False
        self._seen = mark

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
    duty = Duty(database)
    try:
        await duty.renew()
        if duty.lease is None:
            logs.get().warning("another keeper writes the registry of this database")
        if settings.registry.on_chain:
            await _prepare_chain(settings, database, duty)
        elif settings.registry.file is not None and duty.lease is not None:
            applied = await RegistryFile(settings, database).load(duty.lease)
            if not applied:
                logs.get().info("registry file unchanged", file=settings.registry.file)
    except OlderRegistry as error:
        # Not the fault of this start: what is held is newer, and serves.
        logs.get().error("registry file refused; the registry that is held goes on serving", text=str(error))
    finally:
        await duty.end()
        await database.close()


async def _prepare_chain(settings: Settings, database: store.Store, duty: Duty) -> None:
    """Whether the chain is the right one, and its first reading. Raises ConfigError."""
    from ocn_fast.registry import chain as chains

    mirror = mirror_of(settings, database)
    held = await database.registry_state()
    try:
        chain = chains.chain_of(settings.registry)
        if held is not None and held.chain_id != chain.chain_id:
            raise ConfigError(
                f"is {chain.chain_id}, the database holds the registry of chain {held.chain_id}: "
                "use another database for another chain",
                key="registry.chain_id",
            )
        try:
            await mirror.check()
        except RpcError as error:
            if error.kind in _WRONG_CHAIN:
                raise ConfigError(str(error), key="registry.rpc") from None
            logs.get().error("no endpoint of the chain answers", text=str(error))
            serving = (
                "nobody is known, nothing can be routed" if held is None else f"block {held.block} serves"
            )
            logs.get().error(f"starting without the chain: {serving} until one answers")
            return
        if duty.lease is not None and (held is None or held.contract != chain.contract):
            async with asyncio.timeout(FIRST_READING_S):
                await mirror.look(duty.lease)
    except TimeoutError:
        logs.get().warning("the first reading of the chain takes long; it goes on while the node serves")
    finally:
        await mirror.endpoints.close()


def mirror_of(settings: Settings, database: store.Store) -> Mirror:
    """The mirror that the settings ask for. Raises ConfigError."""
    from ocn_fast.registry import chain as chains
    from ocn_fast.registry.mirror import Mirror

    chain = chains.chain_of(settings.registry)
    return Mirror(
        settings.registry,
        chain,
        chains.endpoints_of(settings.registry, chain),
        database,
        operator=keyfiles.address(settings.node.key_file),
        url=settings.node.url,
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Follows the registry, tells other operators of our parties, and sweeps, until `stop` is set."""
    database = await store.open(settings)
    registry = Registry(settings, database)
    try:
        async with asyncio.TaskGroup() as tasks:
            renewal_s = settings.store.lease_s / 3
            tasks.create_task(_every(renewal_s, registry.duty.renew, stop))
            tasks.create_task(_every(settings.registry.poll_s, registry.look, stop))
            tasks.create_task(_every(SWEEP_S, lambda: _sweep(database), stop))
            tasks.create_task(_announce(settings, database, stop))
    finally:
        await registry.close()
        await database.close()


class Registry:
    """The registry as the settings name its source: a chain, a file, or none."""

    def __init__(self, settings: Settings, database: store.Store) -> None:
        self._settings = settings
        self.duty = Duty(database)
        self.mirror = mirror_of(settings, database) if settings.registry.on_chain else None
        self.file = None if settings.registry.file is None else RegistryFile(settings, database)
        self._epoch: int | None = None

    async def look(self) -> None:
        """Looks whether the registry has changed, if that is this keeper's duty, and says how things are."""
        if self.duty.lease is None:
            await self.duty.renew()
        lease = self.duty.lease
        try:
            if lease is not None:
                await self._follow(lease)
        except store.LeaseLost as error:
            logs.get().error("the registry was not written", text=str(error))
            self.duty.lease = None
        finally:
            await self._tell()

    async def close(self) -> None:
        """Gives the duty back, and closes connections."""
        try:
            await self.duty.end()
        except StoreError as error:
            logs.get().error("the lease of the registry was not given back", text=str(error))
        if self.mirror is not None:
            await self.mirror.endpoints.close()

    async def _follow(self, lease: store.Lease) -> None:
        if self.file is not None:
            await self.file.follow(lease)
        if self.mirror is not None:
            if lease.epoch != self._epoch:
                # Somebody else may have written since.
                await self.mirror.load()
                self._epoch = lease.epoch
            await self.mirror.look(lease)

    async def _tell(self) -> None:
        refused = (0, False) if self.file is None else (self.file.refused, not self.file.usable)
        mirror = None if self.mirror is None else self.mirror.state
        state = figures.Keeper(os.getpid(), *refused, mirror, self.duty.lease is not None)
        await asyncio.to_thread(figures.write_keeper, self._settings, state)


async def _announce(settings: Settings, database: store.Store, stop: asyncio.Event) -> None:
    """Tells other operators how our parties are connected, and our platforms how all are."""
    from ocn_fast.announcer import LOOK_S, Announcer
    from ocn_fast.outbound import Outbound
    from ocn_fast.party_news import PartyNews

    async with Outbound(settings) as outbound:
        announcer = Announcer(settings, database, outbound)
        news = PartyNews(settings, database, outbound)

        async def look() -> None:
            # First: it takes note of where it begins before anything new is written.
            await news.follow()
            await announcer.follow()

        try:
            await _every(LOOK_S, look, stop)
        finally:
            await announcer.close()
            await news.close()


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
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(settings, stop)


def main() -> int:
    """The process. Settings come whole from the supervisor, in the environment."""
    parser = argparse.ArgumentParser(prog="ocn_fast.keeper")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--prepare", action="store_true")
    arguments = parser.parse_args()
    lifecycle.belong_to(arguments.parent)
    lifecycle.harden()
    settings = Settings.from_json(os.environ[lifecycle.SETTINGS_VARIABLE])
    logs.configure(settings.log, "keeper")
    started = not arguments.prepare
    try:
        if arguments.prepare:
            asyncio.run(prepare(settings))
            print(lifecycle.PREPARED, flush=True)
            started = True
        asyncio.run(_run_until_signal(settings))
    except OcnError as error:
        if started:
            logs.get().error("keeper ends", text=str(error))
        else:
            print(error)
        return 1
    finally:
        logs.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
