"""What the mirror of a chain must remember: how far it read, what the contracts hold, and the last blocks.

Records and keys are the mirror's own texts; SQL never looks into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast import moments
from ocn_fast.store import schema

RecordKey = tuple[str, str]
"""Kind and key of a record."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a chain was read. `block_time` is in Unix seconds, `compared_at` in milliseconds.

    `source` names the contracts; `genesis` is the hash of block 0, if the chain tells; `held` are keys whose
    change is not believed yet.
    """

    source: str
    block: int
    block_hash: str
    block_time: int
    genesis: str | None
    compared_at: int
    held: str = "[]"

    @property
    def time(self) -> str:
        """The time of the block, as a snapshot writes it."""
        return moments.write_seconds(self.block_time)


@dataclass(frozen=True, slots=True)
class RingBlock:
    """A block that was read, and the keys that it changed."""

    number: int
    hash: str
    keys: str


@dataclass(frozen=True, slots=True)
class Held:
    """All of it, as it was written. `records`: kind, key, text and position, in the order of these."""

    cursor: Cursor
    ring: tuple[RingBlock, ...]
    records: tuple[tuple[str, str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """What a look at the chain changes: the cursor, the blocks read, and records.

    `ring` replaces the ring where `ring_since` is its first block, everything before `ring_from` leaves it.
    `records` are new or other ones: position and text; None removes one. `whole` removes all others first.
    """

    cursor: Cursor
    ring: Sequence[RingBlock]
    ring_since: int
    ring_from: int
    records: Mapping[RecordKey, tuple[int, str] | None]
    whole: bool = False


async def load(connection: AsyncConnection) -> Held | None:
    """What was written last; None before the first."""
    row = (await connection.execute(select(schema.registry_mirror))).one_or_none()
    if row is None:
        return None
    cursor = Cursor(
        row.source, row.block, row.block_hash, row.block_time, row.genesis, row.compared_at, row.held
    )
    blocks = await connection.execute(select(schema.registry_ring).order_by(schema.registry_ring.c.number))
    table = schema.registry_records
    query = select(table.c.kind, table.c.key, table.c.value, table.c.position).order_by(table.c.position)
    records = (await connection.execute(query)).all()
    ring = tuple(RingBlock(block.number, block.hash, block.keys) for block in blocks)
    return Held(cursor, ring, tuple(map(tuple, records)))


async def write(connection: AsyncConnection, progress: Progress) -> None:
    """Writes what a look at the chain changed. A wish to read everything anew is fulfilled by `whole`."""
    cursor = progress.cursor
    row: dict[str, Any] = {
        "id": 1,
        "source": cursor.source,
        "block": cursor.block,
        "block_hash": cursor.block_hash,
        "block_time": cursor.block_time,
        "genesis": cursor.genesis,
        "compared_at": cursor.compared_at,
        "held": cursor.held,
    }
    statement = insert(schema.registry_mirror).values(row | {"resync": False})
    new = row | ({"resync": False} if progress.whole else {})
    await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=new))
    ring = schema.registry_ring
    await connection.execute(
        delete(ring).where((ring.c.number >= progress.ring_since) | (ring.c.number < progress.ring_from))
    )
    if progress.ring:
        rows = [{"number": block.number, "hash": block.hash, "keys": block.keys} for block in progress.ring]
        await connection.execute(insert(ring), rows)
    await _write_records(connection, progress)


async def forget(connection: AsyncConnection) -> None:
    """Forgets the chain: what is held now came from elsewhere."""
    for table in (schema.registry_mirror, schema.registry_ring, schema.registry_records):
        await connection.execute(delete(table))


async def ask_resync(connection: AsyncConnection) -> bool:
    """Notes the wish to read everything anew; False if no chain was ever read."""
    done = await connection.execute(update(schema.registry_mirror).values(resync=True))
    return done.rowcount > 0


async def resync_is_asked(connection: AsyncConnection) -> bool:
    """Whether somebody wishes that everything is read anew."""
    found = await connection.execute(select(schema.registry_mirror.c.resync))
    return bool(found.scalar_one_or_none())


async def _write_records(connection: AsyncConnection, progress: Progress) -> None:
    table = schema.registry_records
    if progress.whole:
        await connection.execute(delete(table))
    gone = [
        {"its_kind": kind, "its_key": key}
        for (kind, key), record in progress.records.items()
        if record is None
    ]
    if gone and not progress.whole:
        by_key = and_(table.c.kind == bindparam("its_kind"), table.c.key == bindparam("its_key"))
        await connection.execute(delete(table).where(by_key), gone)
    rows = [
        {"kind": kind, "key": key, "position": record[0], "value": record[1]}
        for (kind, key), record in progress.records.items()
        if record is not None
    ]
    if rows:
        statement = insert(table)
        others = {name: statement.excluded[name] for name in ("position", "value")}
        statement = statement.on_conflict_do_update(index_elements=["kind", "key"], set_=others)
        await connection.execute(statement, rows)
