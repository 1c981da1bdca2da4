"""What one look at the chain begins with, what it finds, and the difference between them that is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from ocn_fast.registry import records
from ocn_fast.registry.events import Found
from ocn_fast.registry.records import Key, Record, Records
from ocn_fast.registry.rpc import Block
from ocn_fast.store import Cursor, Held, Progress, RecordKey, RingBlock

RING_BLOCKS = 256
"""Reorganisations deeper than this are answered by a full reading."""


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block that was read: its hash, which records it changed, and which of them it listed first."""

    hash: str
    keys: tuple[Key, ...]
    new: tuple[Key, ...]


@dataclass(slots=True)
class Base:
    """What was written last: the cursor, the records there, and the blocks read since."""

    cursor: Cursor
    records: Records
    positions: dict[Key, int]
    ring: dict[int, ReadBlock]


@dataclass(slots=True)
class Next:
    """What a look found, before it is written. `held` waits for a quorum."""

    block: Block
    records: Records
    ring: dict[int, ReadBlock]
    held: tuple[Key, ...] = ()
    genesis: str | None = None
    full: bool = False
    """Everything was read: at the start, after a deep reorganisation, for comparison."""
    replaces: bool = False
    """What was there before is of no use: it is written anew."""
    missing: tuple[Key, ...] = ()
    """Records of a whole reading's lists that had been there and are not: lists never shrink."""
    again: tuple[Key, ...] = ()
    """Records whose first listing was undone: they stand at the end of the order now, if anywhere."""


def from_store(held: Held) -> Base:
    """What the store holds, as it was when it was written."""
    found: Records = {}
    positions: dict[Key, int] = {}
    for kind, whose, text, position in held.records:
        key, found[key] = records.from_text(kind, whose, text)
        positions[key] = position
    return Base(held.cursor, found, positions, {block.number: _read_from(block) for block in held.ring})


def held_keys(cursor: Cursor) -> list[Key]:
    """The records whose moves waited for a quorum when this cursor was written."""
    return [(kind, whose) for kind, whose in orjson.loads(cursor.held)]


def same_order(before: Mapping[Key, Record], after: Mapping[Key, Record]) -> bool:
    """Whether the parties that both know come in the same order, new ones after them."""

    def parties(records: Mapping[Key, Record]) -> list[Key]:
        return [key for key in records if key[0] == "party"]

    known = [key for key in parties(before) if key in after]
    return parties(after)[: len(known)] == known


def blocks_read(found: Found, new: Iterable[Key]) -> dict[int, ReadBlock]:
    """The blocks of a range for the ring: each certain one with the events up to it."""
    left = dict.fromkeys(new)
    blocks: dict[int, ReadBlock] = {}
    start = 0
    for block in found.blocks:
        keys = tuple(dict.fromkeys(log.key for log in found.logs if start <= log.block <= block.number))
        first = tuple(key for key in keys if key in left)
        for key in first:
            del left[key]
        if keys or block is found.blocks[-1]:
            blocks[block.number] = ReadBlock(block.hash, keys, first)
        start = block.number + 1
    return blocks


def trimmed(ring: Mapping[int, ReadBlock], newest: int) -> dict[int, ReadBlock]:
    """The blocks of a ring that are young enough to be kept once `newest` is the newest."""
    return {number: block for number, block in ring.items() if number > newest - RING_BLOCKS}


def to_write(base: Base | None, found: Next, cursor: Cursor) -> Progress:
    """What is to be written: what is new or other or gone; everything, if nothing before is of use."""
    before: Mapping[Key, Record] = {} if base is None or found.replaces else base.records
    places = {} if base is None or found.replaces else dict(base.positions)
    following = max(places.values(), default=-1) + 1
    for key in found.again:
        places.pop(key, None)
    changes: dict[RecordKey, tuple[int, str] | None] = {}
    if found.records is not before:
        for key, record in found.records.items():
            if before.get(key) == record and key in places:
                continue
            place = places.get(key, following)
            following = max(following, place + 1)
            changes[key] = (place, records.to_text(record))
        changes |= {key: None for key in before if key not in found.records}
    old_ring = {} if base is None else base.ring
    ring = trimmed(found.ring, found.block.number)
    fresh = [number for number in ring if old_ring.get(number) != ring[number]]
    gone = [number for number in old_ring if number not in found.ring]
    since = 0 if found.replaces else min([*fresh, *gone], default=found.block.number + 1)
    return Progress(
        cursor,
        [RingBlock(number, read.hash, _keys_to(read)) for number, read in ring.items() if number >= since],
        since,
        found.block.number - RING_BLOCKS + 1,
        changes,
        base is None or found.replaces,
    )


def _keys_to(read: ReadBlock) -> str:
    return orjson.dumps([read.keys, read.new]).decode()


def _read_from(block: RingBlock) -> ReadBlock:
    keys, new = orjson.loads(block.keys)
    return ReadBlock(block.hash, tuple(map(tuple, keys)), tuple(map(tuple, new)))
