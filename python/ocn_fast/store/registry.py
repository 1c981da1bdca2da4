"""The registry in SQL: a snapshot applied as differences, so that a restart needs neither file nor chain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Table, and_, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreConflict
from ocn_fast.store import changes, schema
from ocn_fast.store.records import AppliedRegistry, Party, RegisteredParty, RegistryState

Rows: TypeAlias = dict[tuple[str, ...], dict[str, Any]]
"""Rows by primary key."""


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


async def apply(connection: AsyncConnection, snapshot: RegistrySnapshot, now: int) -> AppliedRegistry:
    """Makes the database hold exactly this registry, in one change, writing only what differs.

    Raises StoreConflict if the database holds a later block of the same registry.
    """
    before = await _state_row(connection)
    after = {
        "network": snapshot.network,
        "chain_id": snapshot.chain_id,
        "contract": snapshot.contract,
        "block": snapshot.block,
        "block_hash": snapshot.block_hash,
        "block_time": snapshot.time,
    }
    if before is not None:
        same = all(before[name] == after[name] for name in ("network", "chain_id", "contract"))
        if same and before["block"] > snapshot.block:
            raise StoreConflict(
                f"the registry is known at block {before['block']}; this one is of block {snapshot.block}"
            )
    differences = [
        await _difference(connection, table, kind, rows) for table, kind, rows in _wanted(snapshot)
    ]
    written = sum(len(difference.written) for difference in differences)
    removed = sum(len(difference.removed) for difference in differences)
    if written == removed == 0 and before == after:
        return AppliedRegistry(None, 0, 0)
    number = await changes.bump(connection)
    for difference in differences:
        await _write(connection, difference, number)
    await _put(connection, schema.registry_state, [{"id": 1, "applied_at": now, "changed": number, **after}])
    return AppliedRegistry(number, written, removed)


async def state(connection: AsyncConnection) -> RegistryState | None:
    """Which registry is held; None before the first."""
    row = (await connection.execute(select(schema.registry_state))).one_or_none()
    if row is None:
        return None
    counts = [
        (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        for table in (schema.registry_operators, schema.registry_parties)
    ]
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
        roles=tuple(json.loads(row.roles)),
    )


def _wanted(snapshot: RegistrySnapshot) -> Iterable[tuple[Table, str | None, Rows]]:
    """What the tables should hold: table, kind of its tombstones, rows."""
    yield (
        schema.registry_operators,
        "operator",
        {
            (entry.address,): {"address": entry.address, "domain": entry.domain}
            for entry in snapshot.operators
        },
    )
    yield (
        schema.registry_parties,
        "party",
        {
            (entry.country_code.upper(), entry.party_id.upper()): {
                "country_code": entry.country_code.upper(),
                "party_id": entry.party_id.upper(),
                "address": entry.address,
                "operator": entry.operator,
                "roles": _text(entry.roles),
                "modules": _text(entry.modules),
            }
            for entry in snapshot.parties
        },
    )
    yield (
        schema.registry_services,
        None,
        {
            (entry.provider,): {
                "provider": entry.provider,
                "name": entry.name,
                "url": entry.url,
                "permissions": _text(entry.permissions),
            }
            for entry in snapshot.services
        },
    )
    yield (
        schema.registry_agreements,
        None,
        {
            (entry.user, entry.provider): {"user": entry.user, "provider": entry.provider}
            for entry in snapshot.agreements
        },
    )


@dataclass(frozen=True, slots=True)
class _Difference:
    """What is to be done to one table. Its tombstones are of `kind`; None where the workers hold no copy."""

    table: Table
    kind: str | None
    written: Rows
    removed: list[tuple[str, ...]]


async def _difference(
    connection: AsyncConnection, table: Table, kind: str | None, wanted: Rows
) -> _Difference:
    keys = _key_names(table)
    columns = [column for column in table.columns if column.name != "changed"]
    held: Rows = {}
    for row in (await connection.execute(select(*columns))).mappings():
        held[tuple(row[name] for name in keys)] = dict(row)
    written = {key: row for key, row in wanted.items() if held.get(key) != row}
    return _Difference(table, kind, written, [key for key in held if key not in wanted])


async def _write(connection: AsyncConnection, difference: _Difference, number: int) -> None:
    table, kind = difference.table, difference.kind
    mark = {} if kind is None else {"changed": number}
    await _put(connection, table, [{**row, **mark} for row in difference.written.values()])
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


async def _state_row(connection: AsyncConnection) -> dict[str, Any] | None:
    table = schema.registry_state
    names = ("network", "chain_id", "contract", "block", "block_hash", "block_time")
    row = (await connection.execute(select(*(table.c[name] for name in names)))).mappings().one_or_none()
    return None if row is None else dict(row)


def _text(words: Sequence[str]) -> str:
    return json.dumps(list(words))
