"""The mirror: keeps the database at what the registry contracts of a chain hold.

Views are the truth and events only say where to look: each look reads the records that events name, at one
block, and replaces them. A full reading begins it, and repairs it once a day. What is read passes through
`rules.to_snapshot` and is written as differences, in one change, so that a party and its operator never come
from different blocks.

Two blocks matter. Everything up to `confirmations` below the head counts. Between that and the head only
what vanished counts: who leaves the registry is believed at once, who moves in it waits.

Endpoints are not believed easily. Whatever is asked is proven to be of one chain by the same endpoint, a
reorganisation is undone to the last common block, a party that moved needs a quorum, a registry that shrinks
too much is held back, and a chain that begins anew or ends earlier changes nothing at all. The last good
table serves meanwhile: nothing here can stop a message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import orjson

from ocn_fast import figures, logs
from ocn_fast.config import Registry
from ocn_fast.errors import RpcError, StoreError
from ocn_fast.registry import records, rpc
from ocn_fast.registry.chain import Chain
from ocn_fast.registry.events import Events
from ocn_fast.registry.look import (
    Base,
    Next,
    ReadBlock,
    blocks_read,
    from_store,
    held_keys,
    same_order,
    to_write,
    trimmed,
)
from ocn_fast.registry.reader import Reader
from ocn_fast.registry.records import Key, Record, Records
from ocn_fast.registry.rpc import Block, Endpoint, Endpoints
from ocn_fast.registry.rules import Warned, to_snapshot
from ocn_fast.registry.snapshot import Snapshot
from ocn_fast.registry.views import RawParty
from ocn_fast.store import (
    AppliedRegistry,
    Cursor,
    Differences,
    Lease,
    Store,
)

CATCH_UP_BLOCKS = 50_000
"""Further behind than this a full reading is cheaper than all the events."""
COMPARE_S = 86_400
"""How often everything is read anew, to find what events did not tell."""


class Braked(Exception):
    """Too much would vanish at once: held back."""


@dataclass(frozen=True, slots=True)
class Brake:
    """What is held back: the keys that would vanish, and since when (monotonic clock)."""

    keys: frozenset[tuple[str, ...]]
    since: float


class Mirror:
    """Follows the contracts of one chain."""

    def __init__(
        self,
        settings: Registry,
        chain: Chain,
        endpoints: Endpoints,
        store: Store,
        *,
        operator: str,
        url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`operator` and `url` are this node's own, as it should be listed. `clock` is in seconds."""
        self.endpoints = endpoints
        self._settings = settings
        self._chain = chain
        self._store = store
        self._operator = operator
        self._url = url
        self._clock = clock
        contracts = [chain.contract] if chain.permissions is None else [chain.contract, chain.permissions]
        self._source = "/".join(map(str, [chain.chain_id, *contracts]))
        self._events = Events(contracts, settings.log_blocks)
        self._base: Base | None = None
        self._over: tuple[tuple[str, str], Records] = (("", ""), {})
        self._shown: Records | None = None
        self._brake: Brake | None = None
        self._state = figures.Mirror()
        self._warned: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._beyond = 0

    @property
    def state(self) -> figures.Mirror:
        """How it is now."""
        requests = sum(endpoint.requests for endpoint in self.endpoints.all)
        return _replace(self._state, endpoints=self.endpoints.state(), requests=requests)

    async def load(self) -> None:
        """Takes up what was written last. Raises StoreError."""
        self._base = self._shown = None
        held = await self._store.mirror_held()
        if held is None or held.cursor.source != self._source:
            return
        self._base = from_store(held)
        self._note_block(held.cursor)

    async def look(self, lease: Lease) -> None:
        """One look at the chain, through the first endpoint that is of use. Raises StoreError only."""
        anew = await self._store.resync_is_asked()
        for endpoint in self.endpoints.ready():
            try:
                await self._look_through(endpoint, lease, anew=anew)
            except RpcError as error:
                self._failed(endpoint, error)
            except StoreError:
                raise
            except Braked as braked:
                self.endpoints.succeeded(endpoint)
                self._say("brake", str(braked))
                return
            except Exception:  # noqa: BLE001
                # Whatever an endpoint may think up: it must not end the keeper, and with it the node.
                logs.get().exception("the mirror failed at an answer; the next endpoint is asked")
                self._failed(endpoint, RpcError("form", f"{endpoint.name} made the mirror fail"))
            else:
                self.endpoints.succeeded(endpoint)
                self._state = _replace(self._state, error="")
                self._say(f"endpoint {endpoint.name}", "")
                return

    async def check(self) -> None:
        """Asks every endpoint once whether it serves the right chain and contracts.

        Raises RpcError, of the kinds `chain`, `code` and `variant`, if none does that and one that answers
        serves something else; `transport` or another kind if none answers.
        """
        faults: list[RpcError] = []
        for endpoint in self.endpoints.all:
            try:
                await self.endpoints.head(endpoint)
                reader = await self._reader(endpoint, "latest")
                await reader.check()
            except RpcError as error:
                self.endpoints.failed(endpoint, error)
                faults.append(error)
            else:
                self.endpoints.succeeded(endpoint)
        if len(faults) == len(self.endpoints.all):
            faults.sort(key=lambda fault: fault.kind not in ("chain", "code", "variant"))
            raise faults[0]
        for fault in faults:
            logs.get().warning("an endpoint of the chain is of no use", text=str(fault))

    # -- one look

    async def _look_through(self, endpoint: Endpoint, lease: Lease, *, anew: bool) -> None:
        head = await self.endpoints.head(endpoint)
        self._state = _replace(self._state, head=head.number)
        base = self._base
        safe = max(head.number - self._chain.confirmations, 0)
        if base is None or anew:
            to = await self._block(endpoint, safe, head)
            found = await self._whole(endpoint, to, None if anew else base)
            await self._write(endpoint, head, found, lease, anew=anew)
            return
        if head.number < base.cursor.block:
            await self._require_same_chain(endpoint, base)
            raise RpcError(
                "moved",
                f"{endpoint.name} is at block {head.number}, before block {base.cursor.block} that is known",
            )
        to = await self._block(endpoint, max(safe, base.cursor.block), head)
        await self._write(endpoint, head, await self._next(endpoint, base, to), lease)
        if time.time() * 1_000 - self._base_now.cursor.compared_at > COMPARE_S * 1_000:
            await self._write(endpoint, head, await self._whole(endpoint, to, self._base_now), lease)

    @property
    def _base_now(self) -> Base:
        assert self._base is not None, "something was written"
        return self._base

    async def _next(self, endpoint: Endpoint, base: Base, to: Block) -> Next:
        """What is new since the last look: by events or, where they cannot tell, by a full reading."""
        cursor = base.cursor
        held = held_keys(cursor)
        if (to.number, to.hash) == (cursor.block, cursor.block_hash) and not held:
            return Next(to, base.records, base.ring, genesis=cursor.genesis)
        since, undone = await self._common(endpoint, base, to)
        if since is None or to.number - since[0] > CATCH_UP_BLOCKS:
            return await self._whole(endpoint, to, base)
        found = await self._events.between(endpoint, since, to)
        if found.missing:
            logs.get().warning(
                "an endpoint seems to keep events back; everything is read", name=endpoint.name
            )
            return await self._whole(endpoint, to, base)
        known = dict(base.records)
        again = [key for block in undone for key in block.new if known.pop(key, None) is not None]
        told = dict.fromkeys(log.key for log in found.logs)
        wanted = dict.fromkeys([*told, *(key for block in undone for key in block.keys), *held])
        reader = await self._reader(endpoint, to)
        changes = await records.read(reader, wanted)
        self._unreadable -= {whose for _, whose in wanted}
        self._unreadable |= {whose for (_, whose), record in changes.items() if record is None}
        waiting = await self._not_agreed(endpoint, to, known, changes)
        new: list[Key] = []
        for key in wanted:
            record = changes.get(key)
            if record is None or key in waiting:
                continue
            if key not in known:
                # Whom no event names and who holds nothing has never been listed on this branch.
                if (key not in told and records.is_blank(record)) or self._is_too_much(known, key, record):
                    continue
                new.append(key)
            known[key] = record
        ring = {number: block for number, block in base.ring.items() if number <= since[0]}
        ring |= blocks_read(found, new)
        return Next(to, known, ring, tuple(waiting), cursor.genesis, again=tuple(again))

    async def _common(
        self, endpoint: Endpoint, base: Base, to: Block
    ) -> tuple[tuple[int, str] | None, list[ReadBlock]]:
        """The newest block that was read and that the endpoint's chain still has, and those that it has not.

        None if there is none among the last ones.
        """
        cursor = base.cursor
        if to.number == cursor.block:
            same = to.hash == cursor.block_hash
        else:
            same = await self._hash(endpoint, cursor.block) == cursor.block_hash
        if same:
            return (cursor.block, cursor.block_hash), []
        await self._require_same_chain(endpoint, base)
        numbers = sorted(base.ring)
        heads = await endpoint.batch([_by_number(number) for number in numbers])
        now = {
            number: rpc.block(head).hash
            for number, head in zip(numbers, heads, strict=True)
            if head is not None
        }
        kept = [number for number in numbers if now.get(number) == base.ring[number].hash]
        undone = [base.ring[number] for number in numbers if not kept or number > kept[-1]]
        logs.get().warning(
            "the chain was reorganised",
            known=cursor.block,
            common=kept[-1] if kept else None,
            name=endpoint.name,
        )
        self._state = _replace(self._state, reorganisations=self._state.reorganisations + 1)
        if not kept:
            return None, undone
        return (kept[-1], base.ring[kept[-1]].hash), undone

    async def _whole(self, endpoint: Endpoint, to: Block, base: Base | None) -> Next:
        """A full reading; compared with what was known, if `base` is given."""
        genesis = await self._genesis(endpoint)
        reader = await self._reader(endpoint, to, by_hash=False)
        reading = await reader.read_all(self._settings.parties, self._own_parties(base))
        self._unreadable, self._beyond = set(reading.unreadable), reading.beyond
        found = records.of_reading(reading)
        if base is not None:
            # What cannot be read now stays as it was.
            lost = set(reading.unreadable)
            found |= {
                key: record for key, record in base.records.items() if key[1] in lost and key not in found
            }
        self._state = _replace(self._state, full_readings=self._state.full_readings + 1)
        ring = {to.number: ReadBlock(to.hash, (), ())}
        if base is None:
            return Next(to, found, ring, genesis=genesis, full=True, replaces=True)
        missing = tuple(key for key in base.records if key[0] in ("operator", "party") and key not in found)
        waiting = await self._not_agreed(endpoint, to, base.records, found)
        for key in waiting:
            found[key] = base.records[key]
        if (to.number, to.hash) == (base.cursor.block, base.cursor.block_hash):
            self._compared(base.records, found)
        return Next(
            to,
            found,
            ring,
            tuple(waiting),
            genesis,
            full=True,
            replaces=not same_order(base.records, found),
            missing=missing,
        )

    async def _overlay(self, endpoint: Endpoint, head: Block, found: Next) -> Records:
        """What has vanished between the confirmed block and the head: blank records."""
        to = found.block
        if head.number <= to.number:
            return {}
        ends = to.hash, head.hash
        if self._over[0] != ends:
            told = await self._events.between(endpoint, (to.number, to.hash), head)
            reader = await self._reader(endpoint, head)
            changes = await records.read(reader, dict.fromkeys(log.key for log in told.logs))
            self._over = (
                ends,
                {
                    key: record
                    for key, record in changes.items()
                    if record is not None and records.is_blank(record)
                },
            )
        return {
            key: record
            for key, record in self._over[1].items()
            if not records.is_blank(found.records.get(key))
        }

    # -- writing

    async def _write(
        self, endpoint: Endpoint, head: Block, found: Next, lease: Lease, *, anew: bool = False
    ) -> None:
        base = self._base
        overlay = await self._overlay(endpoint, head, found)
        shown = found.records | overlay if overlay else found.records
        other = base is None or anew or (shown is not self._shown and shown != self._shown)
        differences = None
        if other:
            snapshot, warnings = await asyncio.to_thread(self._convert, found.block, shown)
            differences = await self._store.compare_registry(snapshot, lower=True)
            if differences is not None and not anew and base is not None:
                await self._require_no_slump(endpoint, head, found, overlay, differences)
        self._brake = None
        cursor = self._cursor(found)
        if other or base is None or cursor != base.cursor:
            progress = to_write(base, found, cursor)
            applied = await self._store.write_mirror(progress, differences, lease)
            before = {} if base is None else base.positions
            positions: dict[Key, int] = {}
            for key in found.records:
                written = progress.records.get(key)
                positions[key] = before[key] if written is None else written[0]
            self._base = Base(cursor, found.records, positions, trimmed(found.ring, found.block.number))
            self._told(found, applied)
        if other:
            self._shown = shown
            self._note_content(snapshot, warnings)
        self._note_block(cursor)
        self._state = _replace(self._state, waiting=len(found.held), brake=0)
        self._say("brake", "")
        held = f"{len(found.held)} moves wait until {self._quorum} endpoints agree" if found.held else ""
        self._say("quorum", held)

    def _told(self, found: Next, applied: AppliedRegistry) -> None:
        if applied.number is not None:
            logs.get().info(
                "registry applied",
                block=found.block.number,
                written=applied.written,
                removed=applied.removed,
                number=applied.number,
                full=found.full,
            )

    def _convert(self, block: Block, shown: Records) -> tuple[Snapshot, tuple[Warned, ...]]:
        chain = self._chain
        return to_snapshot(
            records.to_reading(shown, block)._replace(
                unreadable=tuple(sorted(self._unreadable)), beyond=self._beyond
            ),
            chain.network,
            chain.chain_id,
            chain.contract,
            max_domain_bytes=self._settings.domain_bytes,
        )

    def _cursor(self, found: Next) -> Cursor:
        base = self._base
        compared_at = time.time_ns() // 1_000_000 if found.full or base is None else base.cursor.compared_at
        return Cursor(
            self._source,
            found.block.number,
            found.block.hash,
            found.block.time,
            found.genesis,
            compared_at,
            orjson.dumps(found.held).decode(),
        )

    # -- what is not believed at once

    async def _not_agreed(
        self,
        endpoint: Endpoint,
        block: Block,
        known: Mapping[Key, Record],
        changes: Mapping[Key, Record | None],
    ) -> list[Key]:
        """Which of the changes are moves that no quorum of endpoints confirms."""
        moves = {
            key: record
            for key, record in changes.items()
            if record is not None and key in known and records.moved(known[key], record)
        }
        if not moves or self._quorum <= 1:
            return []
        agreed = await self._agreed(endpoint, block, moves, self._quorum - 1)
        return [key for key in moves if key not in agreed]

    async def _agreed(
        self, endpoint: Endpoint, block: Block, wanted: Mapping[Key, Record], needed: int
    ) -> set[Key]:
        """Which of these records as many other endpoints hold too, at the same block."""
        votes = dict.fromkeys(wanted, 0)
        for other in self.endpoints.ready():
            if other is endpoint:
                continue
            try:
                await self.endpoints.head(other)
                found = await records.read(await self._reader(other, block), wanted)
            except RpcError as error:
                self._failed(other, error)
                continue
            self.endpoints.succeeded(other)
            for key, record in wanted.items():
                votes[key] += found.get(key) == record
        return {key for key, count in votes.items() if count >= needed}

    @property
    def _quorum(self) -> int:
        return self._settings.quorum or min(len(self.endpoints.all), 2)

    async def _require_no_slump(
        self, endpoint: Endpoint, head: Block, found: Next, overlay: Records, differences: Differences
    ) -> None:
        """Raises Braked while more would vanish than one endpoint is believed to say."""
        gone: set[tuple[str, ...]] = set()
        too_much = False
        for kind in ("operator", "party"):
            before, removed = differences.gone(kind)
            gone.update((kind, *key) for key in removed)
            bound = max(before * self._settings.shrink_percent / 100, self._settings.shrink_least)
            missing = sum(key[0] == kind for key in found.missing)
            too_much = too_much or max(len(removed), missing) > bound
        if not too_much:
            return
        now = self._clock()
        keys = frozenset(gone) | frozenset(found.missing)
        if self._brake is None or not keys >= self._brake.keys:
            self._brake = Brake(keys, now)
        if now - self._brake.since >= self._settings.brake_s:
            return
        base = self._base_now
        changed = {key: record for key, record in found.records.items() if base.records.get(key) != record}
        changed |= {key: records.blank(key) for key in found.missing}
        for block, wanted in ((found.block, changed), (head, overlay)):
            if wanted and not await self._agreed(endpoint, block, wanted, 1) >= set(wanted):
                break
        else:
            return
        self._state = _replace(self._state, brake=len(keys))
        raise Braked(
            f"{endpoint.name} says that {len(keys)} operators and parties are gone at block "
            f"{found.block.number}; held back until another endpoint agrees, or for "
            f"{self._settings.brake_s} s"
        )

    async def _require_same_chain(self, endpoint: Endpoint, base: Base) -> None:
        """Raises RpcError if the endpoint's chain begins with another block than the one that is known."""
        genesis = await self._genesis(endpoint)
        if base.cursor.genesis is not None and genesis is not None and genesis != base.cursor.genesis:
            raise RpcError(
                "reset",
                f"{endpoint.name} serves a chain that begins with another block: nothing is applied; "
                "`ocn-fast registry resync` reads it anew",
            )

    def _is_too_much(self, known: Records, key: Key, record: Record) -> bool:
        """Whether a new party is one beyond the bound, and not one of ours."""
        if not isinstance(record, RawParty) or record.operator == self._operator:
            return False
        if len(known) < self._settings.parties:
            return False
        if sum(kind == "party" for kind, _ in known) < self._settings.parties:
            return False
        self._beyond += 1
        return True

    def _own_parties(self, base: Base | None) -> Iterable[str]:
        if base is None:
            return ()
        return [
            record.address
            for record in base.records.values()
            if isinstance(record, RawParty) and record.operator == self._operator
        ]

    # -- small questions

    async def _reader(self, endpoint: Endpoint, block: Block | str, *, by_hash: bool = True) -> Reader:
        chain, batch = self._chain, self._settings.batch
        if isinstance(block, Block) and by_hash:
            return Reader(endpoint, chain.contract, chain.permissions, block, batch=batch, by_hash=True)
        wanted = block.hash if isinstance(block, Block) else block
        return await Reader.at(endpoint, chain.contract, chain.permissions, wanted, batch=batch)

    async def _block(self, endpoint: Endpoint, number: int, head: Block) -> Block:
        if number == head.number:
            return head
        return rpc.block(await endpoint.call(*_by_number(number)))

    async def _hash(self, endpoint: Endpoint, number: int) -> str:
        return rpc.block(await endpoint.call(*_by_number(number))).hash

    async def _genesis(self, endpoint: Endpoint) -> str | None:
        """The hash of block 0; None where an endpoint does not have it any more."""
        found = await endpoint.call(*_by_number(0))
        return None if found is None else rpc.block(found).hash

    # -- telling

    def _note_block(self, cursor: Cursor) -> None:
        self._state = _replace(
            self._state, block=cursor.block, block_hash=cursor.block_hash, block_time=cursor.block_time
        )

    def _note_content(self, snapshot: Snapshot, warnings: tuple[Warned, ...]) -> None:
        self._state = _replace(
            self._state,
            left_out={warned.kind: warned.count for warned in warnings},
            own=self._own_fault(snapshot),
        )
        self._say("own", self._state.own)
        texts = {warned.kind: warned.text for warned in warnings}
        for kind, text in texts.items():
            if text != self._left_out.get(kind):
                logs.get().warning("entries of the registry are not used", text=text)
        self._left_out = texts

    def _own_fault(self, snapshot: Snapshot) -> str:
        """What is wrong with this node's own listing: others cannot reach it then."""
        for operator in snapshot.operators:
            if operator.address == self._operator:
                if operator.domain == self._url:
                    return ""
                return f"the registry lists this node at {operator.domain}, node.url is {self._url}"
        return f"the registry does not list this node's operator {self._operator}: nobody can reach it"

    def _compared(self, before: Records, after: Records) -> None:
        keys = {key for key in before.keys() | after.keys() if _other(before.get(key), after.get(key))}
        self._state = _replace(self._state, differences=self._state.differences + len(keys))
        if keys:
            logs.get().error(
                "a full reading differs from what events had told", differences=len(keys), first=min(keys)
            )

    def _failed(self, endpoint: Endpoint, error: RpcError) -> None:
        self.endpoints.failed(endpoint, error)
        self._state = _replace(self._state, error=str(error))
        self._say(f"endpoint {endpoint.name}", str(error))

    def _say(self, what: str, text: str) -> None:
        """Logs a fault when it begins or changes, and its end."""
        if self._warned.get(what, "") == text:
            return
        self._warned[what] = text
        if text:
            logs.get().error("the mirror of the registry has a fault", what=what, text=text)
        else:
            logs.get().info("the mirror of the registry is rid of a fault", what=what)


_replace = msgspec.structs.replace


def _by_number(number: int) -> rpc.Call:
    return "eth_getBlockByNumber", (hex(number), False)


def _other(before: Record | None, after: Record | None) -> bool:
    return before != after and not (records.is_blank(before) and records.is_blank(after))
