"""The registry in SQL: a snapshot applied as differences, so that a restart needs neither file nor chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import orjson
from sqlalchemy import Table, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreConflict
from ocn_fast.store import changes, schema
from ocn_fast.store.records import AppliedRegistry, Party, RegisteredParty, RegistryState

Rows: TypeAlias = dict[tuple[str, ...], tuple[str, ...]]
"""Rows by primary key: their other columns, `changed` left out, in the order of the table."""


PAGE_ROWS = 10_000
"""Rows read at a time."""


class OperatorEntry(Protocol):
    """A listed node."""

    @property
    def address(self) -> str: ...
    @property
    def domain(self) -> str: ...


class PartyEntry(Protocol):
    """A listed party and its operator."""

    @property
    def country_code(self) -> str: ...
    @property
    def party_id(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def operator(self) -> str: ...
    @property
    def roles(self) -> Sequence[str]: ...
    @property
    def modules(self) -> Sequence[str]: ...


class ServiceEntry(Protocol):
    """A listed service."""

    @property
    def provider(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def permissions(self) -> Sequence[str]: ...


class AgreementEntry(Protocol):
    """A user's consent to a provider's service."""

    @property
    def user(self) -> str: ...
    @property
    def provider(self) -> str: ...


class RegistrySnapshot(Protocol):
    """A whole registry at one block: what a snapshot file holds."""

    @property
    def network(self) -> str: ...
    @property
    def chain_id(self) -> int: ...
    @property
    def contract(self) -> str | None: ...
    @property
    def block(self) -> int: ...
    @property
    def block_hash(self) -> str | None: ...
    @property
    def time(self) -> str: ...
    @property
    def operators(self) -> Sequence[OperatorEntry]: ...
    @property
    def parties(self) -> Sequence[PartyEntry]: ...
    @property
    def services(self) -> Sequence[ServiceEntry]: ...
    @property
    def agreements(self) -> Sequence[AgreementEntry]: ...


@dataclass(frozen=True, slots=True)
class _Difference:
    """What is to be done to one table. Its tombstones are of `kind`; None where the workers hold no copy."""

    table: Table
    kind: str | None
    written: Rows
    removed: list[tuple[str, ...]]
    before: int


@dataclass(frozen=True, slots=True)
class Differences:
    """How a snapshot differs from what the database held. `seen` is the change of its state; None without.

    `renamed`: it is of another network, chain or contract.
    """

    seen: int | None
    renamed: bool
    state: dict[str, Any]
    tables: tuple[_Difference, ...]

    @property
    def written(self) -> int:
        """How many rows are new or other."""
        return sum(len(table.written) for table in self.tables)

    @property
    def others(self) -> bool:
        """Whether anything is other than before but the block."""
        return self.seen is None or self.renamed or self.written > 0 or self.removed > 0

    @property
    def removed(self) -> int:
        """How many rows have gone."""
        return sum(len(table.removed) for table in self.tables)

    def gone(self, kind: Literal["operator", "party"]) -> tuple[int, list[tuple[str, ...]]]:
        """How many operators or parties there were, and the keys of those that would vanish."""
        (found,) = (table for table in self.tables if table.kind == kind)
        return found.before, found.removed


async def compare(
    connection: AsyncConnection, snapshot: RegistrySnapshot, *, lower: bool = False
) -> Differences | None:
    """What has to be written to hold exactly this registry; None if nothing. Reads all of it, without a lock.

    Raises StoreConflict if the database holds a later block of the same registry, unless `lower` allows that.
    """
    row = (await connection.execute(select(schema.registry_state))).mappings().one_or_none()
    after = {
        "network": snapshot.network,
        "chain_id": snapshot.chain_id,
        "contract": snapshot.contract,
        "block": snapshot.block,
        "block_hash": snapshot.block_hash,
        "block_time": snapshot.time,
    }
    before = None if row is None else {name: row[name] for name in after}
    same = before is not None and all(
        before[name] == after[name] for name in ("network", "chain_id", "contract")
    )
    if before is not None and same and not lower and before["block"] > snapshot.block:
        raise StoreConflict(
            f"the registry is known at block {before['block']}; this one is of block {snapshot.block}"
        )
    tables = [await _difference(connection, table, kind, rows) for table, kind, rows in _wanted(snapshot)]
    found = Differences(None if row is None else row["changed"], not same, after, tuple(tables))
    return None if found.written == found.removed == 0 and before == after else found


async def write(connection: AsyncConnection, differences: Differences, now: int) -> AppliedRegistry:
    """Writes differences in one change. Raises StoreConflict if somebody else wrote since they were found."""
    number = await changes.bump(connection)
    await _require_unchanged(connection, differences)
    for difference in differences.tables:
        await _write(connection, difference, number)
    state = {"id": 1, "applied_at": now, "changed": number, **differences.state}
    await _put(connection, schema.registry_state, [state])
    return AppliedRegistry(number, differences.written, differences.removed)


async def advance(
    connection: AsyncConnection, now: int, block: int, block_hash: str, block_time: str
) -> None:
    """Notes that the same registry was found at another block. Workers do not hear of it."""
    statement = update(schema.registry_state).values(
        applied_at=now, block=block, block_hash=block_hash, block_time=block_time
    )
    await connection.execute(statement)


async def remember_file(connection: AsyncConnection, digest: str) -> None:
    """Notes that the registry is that of a file, until anything of it is written. Workers hear nothing."""
    await _put(connection, schema.registry_file, [{"id": 1, "digest": digest}])


async def _require_unchanged(connection: AsyncConnection, differences: Differences) -> None:
    seen = (await connection.execute(select(schema.registry_state.c.changed))).scalar_one_or_none()
    if seen != differences.seen:
        raise StoreConflict("the registry was written by another process at the same time")


async def state(connection: AsyncConnection) -> RegistryState | None:
    """Which registry is held; None before the first."""
    row = (await connection.execute(select(schema.registry_state))).one_or_none()
    if row is None:
        return None
    counts = [
        (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        for table in (schema.registry_operators, schema.registry_parties)
    ]
    file = (await connection.execute(select(schema.registry_file.c.digest))).scalar_one_or_none()
    return RegistryState(
        network=row.network,
        chain_id=row.chain_id,
        contract=row.contract,
        block=row.block,
        block_hash=row.block_hash,
        block_time=row.block_time,
        applied_at=row.applied_at,
        operators=counts[0],
        parties=counts[1],
        file=file,
    )


async def find_party(connection: AsyncConnection, party: Party) -> RegisteredParty | None:
    """A party as the registry lists it."""
    parties, operators = schema.registry_parties, schema.registry_operators
    query = (
        select(parties, operators.c.domain)
        .outerjoin(operators, operators.c.address == parties.c.operator)
        .where(parties.c.country_code == party.country_code, parties.c.party_id == party.party_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return RegisteredParty(
        party=party,
        address=row.address,
        operator=row.operator,
        domain=row.domain,
        roles=tuple(orjson.loads(row.roles)),
    )


def _wanted(snapshot: RegistrySnapshot) -> Iterable[tuple[Table, str | None, Rows]]:
    """What the tables should hold: table, kind of its tombstones, rows."""
    yield (
        schema.registry_operators,
        "operator",
        {(entry.address,): (entry.domain,) for entry in snapshot.operators},
    )
    yield (
        schema.registry_parties,
        "party",
        {
            (entry.country_code.upper(), entry.party_id.upper()): (
                entry.address,
                entry.operator,
                _text(entry.roles),
                _text(entry.modules),
            )
            for entry in snapshot.parties
        },
    )
    yield (
        schema.registry_services,
        None,
        {(entry.provider,): (entry.name, entry.url, _text(entry.permissions)) for entry in snapshot.services},
    )
    yield (
        schema.registry_agreements,
        None,
        {(entry.user, entry.provider): () for entry in snapshot.agreements},
    )


async def _difference(
    connection: AsyncConnection, table: Table, kind: str | None, wanted: Rows
) -> _Difference:
    """Compares row by row as they are read: a registry is held in memory once, not twice."""
    keys = len(table.primary_key.columns)
    columns = [column for column in table.columns if column.name != "changed"]
    removed = []
    before = 0
    result = await connection.stream(select(*columns), execution_options={"yield_per": PAGE_ROWS})
    async for page in result.partitions():
        before += len(page)
        for row in page:
            values = tuple(row)
            key = values[:keys]
            if key not in wanted:
                removed.append(key)
            elif wanted[key] == values[keys:]:
                del wanted[key]
    return _Difference(table, kind, wanted, removed, before)


async def _write(connection: AsyncConnection, difference: _Difference, number: int) -> None:
    table, kind = difference.table, difference.kind
    names = [column.name for column in table.columns]
    mark = () if kind is None else (number,)
    await _put(
        connection,
        table,
        [dict(zip(names, key + values + mark, strict=True)) for key, values in difference.written.items()],
    )
    if difference.removed:
        keys = _key_names(table)
        by_key = and_(*(table.c[name] == bindparam(f"key_{name}") for name in keys))
        rows = [
            {f"key_{name}": part for name, part in zip(keys, key, strict=True)} for key in difference.removed
        ]
        await connection.execute(delete(table).where(by_key), rows)
    if kind is not None:
        await changes.bury(connection, number, kind, ["/".join(key) for key in difference.removed])
        await changes.unbury(connection, kind, ["/".join(key) for key in difference.written])


def _key_names(table: Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


async def _put(connection: AsyncConnection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts rows, or replaces those of the same key."""
    if not rows:
        return
    statement = insert(table)
    keys = _key_names(table)
    others = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    if others:
        statement = statement.on_conflict_do_update(index_elements=keys, set_=others)
    await connection.execute(statement, rows)


def _text(words: Sequence[str]) -> str:
    return orjson.dumps(list(words)).decode()
