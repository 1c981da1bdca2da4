"""The one place where native core, store and registry meet: how a worker starts, keeps up, and stops.

The native table answers every message; this keeps it current. A change number in SQL is polled; what
changed is fetched and applied (the registry reaches the table in the same way: the keeper writes it, the
store tells). Strangers cannot buy SQL: an unknown token or receiver may ask for one look at the number,
shared, budgeted and remembered.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

import msgspec

from ocn_fast import _native, figures, keyfiles, logs
from ocn_fast._native import Gate as Gate  # the doors handle these two
from ocn_fast._native import Reply as Reply
from ocn_fast.config import Settings
from ocn_fast.errors import StoreError, StoreFull, StoreUnavailable
from ocn_fast.lookups import LookUps
from ocn_fast.store import Link, LinkTaken, Store

LAST_SEEN_S = 5.0
"""How often it is written down when platforms were last seen."""

STATS_S = 1.0
"""How often a worker writes its figures for whoever answers `/metrics`."""

CURRENT_S = 1.0
"""A refusal may stand on a table that was compared with the store at most this long ago (`safety.md`
I19)."""

_NAMED_BY: dict[str, tuple[bytes, ...]] = {
    "token": (b"authorization",),
    "sender": (b"ocpi-from-country-code", b"ocpi-from-party-id"),
    "receiver": (b"ocpi-to-country-code", b"ocpi-to-party-id"),
}


class NodeService:
    """One worker's node. Opened and closed by the application's lifespan, in the loop that serves requests.

    Raises ConfigError where a key file or a setting cannot be used.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        key = keyfiles.read_node_key(settings.node.key_file, dev=settings.node.dev)
        self.address = _native.address_of(key)
        """The operator's address (EIP-55): who signs for this node."""
        self._settings = settings
        self._store = store
        self._native = _native.Node(
            settings.native(), key, keyfiles.read_key_ring(settings.node.key_ring_file)
        )
        self._table = _TableKeeper(self._native, store)
        self._look_ups = LookUps(settings.auth)
        self._stats_file = figures.worker_file(settings)
        self._descriptor = -1
        self._upkeep: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Task[None]] = set()
        self._seen: dict[str, int] = {}

    # -- start and stop

    async def open(self) -> None:
        """Starts the native runtime, loads the table, and keeps both up to date from then on.

        Raises StoreError where the table cannot be loaded: a worker without one must not serve.
        """
        self._descriptor = self._native.open(self._on_work, self._settings.store.timeout_ms)
        asyncio.get_running_loop().add_reader(self._descriptor, self._native.drain)
        try:
            await self._table.check()
        except StoreError:
            self._end()
            raise
        self._upkeep = [
            asyncio.create_task(_every(self._settings.store.poll_ms / 1_000, self._table.follow)),
            asyncio.create_task(_every(LAST_SEEN_S, self._write_last_seen)),
            asyncio.create_task(_every(STATS_S, self._write_stats)),
        ]

    async def close(self) -> None:
        """Waits for relays under way (their own deadlines end them), writes down what is known, ends the
        runtime."""
        for task in self._upkeep:
            task.cancel()
        deadline = time.monotonic() + self._settings.shutdown.grace_s
        while self._native.in_flight() and time.monotonic() < deadline:  # noqa: ASYNC110
            # The count lives in another thread, which has nothing to wake us with.
            await asyncio.sleep(0.01)
        await self._write_last_seen()
        self._end()
        with suppress(OSError):
            self._stats_file.unlink()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        # What completed after the last wake.
        self._native.drain()
        for task in self._work:
            task.cancel()
        self._native.close()

    # -- for the doors

    def admit(self, scope: dict[str, Any]) -> Gate:
        """See `_native.Node.admit`."""
        return self._native.admit(scope)

    def unavailable(self, scope: dict[str, Any]) -> Reply:
        """See `_native.Node.unavailable`."""
        return self._native.unavailable(scope)

    async def refresh(
        self, what: Literal["token", "sender", "receiver"], scope: dict[str, Any], seen: int
    ) -> bool:
        """Whether a message that was refused for an unknown token, sender or receiver should be tried again:
        the table was behind and no longer is. `seen` is the change that it had before the message was judged:
        it may have been brought up to date since, by another look.

        Raises StoreUnavailable where it cannot be known: what may exist is never called unknown.
        """
        names = _NAMED_BY[what]
        key = hash((what, *(value for name, value in scope["headers"] if name in names)))
        if self._look_ups.is_unknown(key) or not self._look_ups.take():
            if self._table.age() > CURRENT_S:
                raise StoreUnavailable("the table could not be compared with the store")
            return self._table.number != seen
        await self._table.check()
        if self._table.number != seen:
            return True
        self._look_ups.remember(key)
        return False

    def fetch(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        deadline_ms: int,
        max_bytes: int,
    ) -> Future[tuple[int, list[tuple[str, bytes]], bytes]]:
        """See `_native.Node.fetch`."""
        return self._native.fetch(method, url, headers, body, deadline_ms, max_bytes)

    def explain(self, query: bytes) -> bytes:
        """See `_native.Node.explain`."""
        return self._native.explain(query)

    def sign_answer(self, body: bytes, container: Literal["brotli", "gzip"]) -> bytes:
        """See `_native.Node.sign_answer`."""
        return self._native.sign_answer(body, container)

    def signatory(self, text: bytes, rsv: str) -> str:
        """Who signed a text by `personal_sign` (EIP-55). Raises ValueError where nobody can have."""
        return _native.personal_recover(text, rsv)

    def change_number(self) -> int:
        """The number of the newest change that the table has."""
        return self._table.number

    def in_flight(self) -> int:
        """Messages in work, also those whose requester is gone."""
        return self._native.in_flight()

    def stats(self) -> bytes:
        """The figures of this worker: see `_native.Node.stats`; and `statements`, SQL sent by kind."""
        figures = msgspec.json.decode(self._native.stats(), type=dict[str, msgspec.Raw])
        figures["statements"] = msgspec.Raw(msgspec.json.encode(self._store.statements()))
        return msgspec.json.encode(figures)

    # -- SQL work of the relay

    def _on_work(self, work_id: int, verb: str, payload: bytes) -> None:
        task = asyncio.create_task(self._do(work_id, verb, payload))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _do(self, work_id: int, verb: str, payload: bytes) -> None:
        answer: bytes | None = None
        error: Literal["unavailable", "full", "taken"] | None = None
        try:
            answer = await self._sql(verb, payload)
        except StoreFull:
            error = "full"
        except LinkTaken:
            error = "taken"
        except StoreError:
            error = "unavailable"
        except Exception:  # noqa: BLE001
            # The message must get its answer whatever is wrong here.
            logs.get().exception("SQL work of the relay failed", verb=verb)
            error = "unavailable"
        self._native.resume(work_id, answer, error)

    async def _sql(self, verb: str, payload: bytes) -> bytes | None:
        match verb:
            case "reserve":
                await self._store.reserve_link(msgspec.json.decode(payload, type=Link))
            case "fill":
                filled = msgspec.json.decode(payload, type=_Filled)
                await self._store.fill_link(filled.id, filled.url)
            case "find":
                found = await self._store.find_link(msgspec.json.decode(payload, type=_Named).id)
                return None if found is None else msgspec.json.encode(found)
            case _:
                raise ValueError(f"unknown verb {verb}")
        return None

    # -- upkeep

    async def _write_last_seen(self) -> None:
        last_seen: dict[str, int] = msgspec.json.decode(self._native.stats(), type=_Stats).last_seen
        news = {
            int(platform): seen for platform, seen in last_seen.items() if self._seen.get(platform) != seen
        }
        if not news:
            return
        try:
            await self._store.write_last_seen(news)
        except StoreError as error:
            logs.get().warning("last-seen times were not written; tried again", text=str(error))
        else:
            self._seen = last_seen

    async def _write_stats(self) -> None:
        await asyncio.to_thread(figures.write, self._stats_file, self.stats())


class _Filled(msgspec.Struct):
    id: str
    url: str


class _Named(msgspec.Struct):
    id: str


class _Stats(msgspec.Struct):
    last_seen: dict[str, int]


class _TableKeeper:
    """Compares the native table with the store, one look at a time."""

    def __init__(self, native: _native.Node, store: Store) -> None:
        self.number = 0
        """The change number that the table is known to have."""
        self._native = native
        self._store = store
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._fault = ""

    def age(self) -> float:
        """Seconds since the table was last known to be what the store says."""
        return time.monotonic() - self._looked_at

    async def follow(self) -> None:
        """One look; a fault is reported when it begins and when it ends."""
        try:
            await self.check()
        except (StoreError, ValueError) as error:
            if self._fault != str(error):
                self._fault = str(error)
                logs.get().error(
                    "the table cannot be brought up to date; the last one serves", text=self._fault
                )
        else:
            if self._fault:
                self._fault = ""
                logs.get().info("the table is up to date again")

    async def check(self) -> None:
        """Brings the table up to date by a look that begins after this call; all who wait share it.

        One that is under way does not count: it may have read the number before the change that somebody is
        waiting for.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._looking))
        await asyncio.shield(self._next)

    async def _look_after(self, other: asyncio.Task[None] | None) -> None:
        if other is not None:
            await asyncio.wait([other])
        self._looking, self._next = self._next, None
        began = time.monotonic()
        if await self._store.change_number() != self.number:
            change = await self._store.changes_since(self.number)
            # A large change takes a while; messages go on meanwhile.
            await asyncio.to_thread(self._native.apply, change)
            self.number = msgspec.json.decode(change, type=_Numbered).number
        self._looked_at = began


class _Numbered(msgspec.Struct):
    number: int


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001
            # Upkeep that dies silently would be found out weeks later.
            logs.get().exception("upkeep failed; tried again")
