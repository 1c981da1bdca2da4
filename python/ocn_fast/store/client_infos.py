"""Client infos: how each role of each party is connected, and which operators have heard it from us.

A row belongs to the operator of its party: ours follow from our platforms and the registry (`reconcile`),
those of others from what they send (`receive`). Rows are never deleted; the end is SUSPENDED.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, TypeAlias

import orjson
from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.store import schema
from ocn_fast.store.records import ClientInfo, Party, Platform, Status

Received: TypeAlias = Literal["stored", "known", "older"]
_Key: TypeAlias = tuple[str, str, str]
"""Country code, party id, role."""

_INFOS = schema.client_infos


async def reconcile(connection: AsyncConnection, own: str, roles: AbstractSet[str], now: int) -> int:
    """Brings our rows in line with platforms and registry; returns how many changed.

    `own` is our address; only these roles are told.

    A role of a platform has the platform's status. A party that the registry lists here, and that no platform
    has, is PLANNED, or SUSPENDED once it has been connected. What is neither any more is SUSPENDED; so are
    parties of others that have left the registry. A party that moved to another operator is his to report.
    """
    registered = await _registered(connection, own)
    connected = await _connected(connection)
    known = {
        (row.country_code, row.party_id, row.role): row
        for row in await connection.execute(select(_INFOS).where(_INFOS.c.operator == own))
    }
    wanted: dict[_Key, Status] = {
        key: status for key, status in connected.items() if key[:2] in registered and key[2] in roles
    }
    homes = {key[:2] for key in wanted}
    for party, listed_roles in registered.items():
        if party in homes:
            continue
        for role in roles & set(listed_roles):
            held = known.get((*party, role))
            never = held is None or held.status == "PLANNED"
            wanted[*party, role] = "PLANNED" if never else "SUSPENDED"
    for key in known:
        wanted.setdefault(key, "SUSPENDED")
    rows = [
        _row(key, own, status, now if key not in known else max(now, known[key].last_updated + 1))
        for key, status in wanted.items()
        if key not in known or known[key].status != status
    ]
    await _put(connection, rows)
    return len(rows) + await _suspend_unlisted(connection, own, now)


async def receive(connection: AsyncConnection, info: ClientInfo, operator: str) -> Received:
    """Stores what a party's operator says, unless a later word of the same operator is known."""
    key = (info.party.country_code, info.party.party_id, info.role)
    held = (await connection.execute(select(_INFOS).where(_is(key)))).one_or_none()
    # What another operator said counts no more: the registry names this one now, whatever his clock says.
    if held is not None and held.operator == operator and held.last_updated >= info.last_updated:
        return "known" if held.last_updated == info.last_updated else "older"
    await _put(connection, [_row(key, operator, info.status, info.last_updated)])
    return "stored"


async def listed(
    connection: AsyncConnection,
    platform: Platform,
    *,
    since: int | None,
    until: int | None,
    offset: int,
    limit: int,
) -> tuple[list[ClientInfo], int]:
    """A page of what this platform may see, oldest change first, and how many there are in all.

    Bounds are Unix milliseconds: `since` inclusive, `until` exclusive. Its whitelist shows only parties in
    it, its blacklist hides those (the modules of an entry do not matter).
    """
    conditions: list[ColumnElement[bool]] = []
    if since is not None:
        conditions.append(_INFOS.c.last_updated >= since)
    if until is not None:
        conditions.append(_INFOS.c.last_updated < until)
    if platform.rules.mode != "none":
        rules = schema.rules
        named = exists().where(
            rules.c.platform_id == platform.id,
            rules.c.country_code == _INFOS.c.country_code,
            rules.c.party_id == _INFOS.c.party_id,
        )
        conditions.append(named if platform.rules.mode == "whitelist" else ~named)
    total = (
        await connection.execute(select(func.count()).select_from(_INFOS).where(*conditions))
    ).scalar_one()
    query = (
        select(_INFOS)
        .where(*conditions)
        .order_by(_INFOS.c.last_updated, _INFOS.c.country_code, _INFOS.c.party_id, _INFOS.c.role)
        .offset(offset)
        .limit(limit)
    )
    return await _read(connection, query), total


async def sequence(connection: AsyncConnection) -> int:
    """The number of the newest writing; 0 before the first."""
    newest = (await connection.execute(select(func.max(_INFOS.c.sequence)))).scalar_one()
    return 0 if newest is None else int(newest)


async def written_after(connection: AsyncConnection, number: int, limit: int) -> list[tuple[int, ClientInfo]]:
    """What was written after that number, with the numbers, oldest first. What was written again meanwhile
    is there once, as it is now."""
    query = select(_INFOS).where(_INFOS.c.sequence > number).order_by(_INFOS.c.sequence).limit(limit)
    return [(row.sequence, _info(row)) for row in await connection.execute(query)]


async def unacknowledged(
    connection: AsyncConnection, own: str, operator: str, limit: int
) -> list[ClientInfo]:
    """Rows of ours that this operator has not taken in their present state, oldest change first.

    Only of parties that the registry still lists here: nobody takes our word for others.
    """
    acks, parties = schema.client_info_acks, schema.registry_parties
    ours = exists().where(
        parties.c.country_code == _INFOS.c.country_code,
        parties.c.party_id == _INFOS.c.party_id,
        parties.c.operator == own,
    )
    joined = _INFOS.outerjoin(
        acks,
        and_(
            acks.c.operator == operator,
            *(acks.c[name] == _INFOS.c[name] for name in ("country_code", "party_id", "role")),
        ),
    )
    missing = or_(acks.c.last_updated.is_(None), acks.c.last_updated != _INFOS.c.last_updated)
    query = (
        select(_INFOS)
        .select_from(joined)
        .where(_INFOS.c.operator == own, missing, ours)
        .order_by(_INFOS.c.last_updated, _INFOS.c.country_code, _INFOS.c.party_id, _INFOS.c.role)
        .limit(limit)
    )
    return await _read(connection, query)


async def acknowledge(connection: AsyncConnection, operator: str, infos: Iterable[ClientInfo]) -> None:
    """Notes that an operator has taken these."""
    rows = [
        {
            "operator": operator,
            "country_code": info.party.country_code,
            "party_id": info.party.party_id,
            "role": info.role,
            "last_updated": info.last_updated,
        }
        for info in infos
    ]
    if rows:
        statement = insert(schema.client_info_acks)
        statement = statement.on_conflict_do_update(
            index_elements=["operator", "country_code", "party_id", "role"],
            set_={"last_updated": statement.excluded.last_updated},
        )
        await connection.execute(statement, rows)


async def forget_operators(connection: AsyncConnection) -> None:
    """Drops the notes about operators that have left the registry: back again, they hear everything."""
    acks, operators = schema.client_info_acks, schema.registry_operators
    await connection.execute(delete(acks).where(~exists().where(operators.c.address == acks.c.operator)))


async def _registered(connection: AsyncConnection, own: str) -> dict[tuple[str, str], Sequence[str]]:
    table = schema.registry_parties
    query = select(table.c.country_code, table.c.party_id, table.c.roles).where(table.c.operator == own)
    return {
        (row.country_code, row.party_id): orjson.loads(row.roles) for row in await connection.execute(query)
    }


async def _connected(connection: AsyncConnection) -> dict[_Key, Status]:
    roles, platforms = schema.roles, schema.platforms
    query = select(roles.c.country_code, roles.c.party_id, roles.c.role, platforms.c.status).join(
        platforms, platforms.c.id == roles.c.platform_id
    )
    return {(row.country_code, row.party_id, row.role): row.status for row in await connection.execute(query)}


async def _suspend_unlisted(connection: AsyncConnection, own: str, now: int) -> int:
    parties = schema.registry_parties
    is_listed = exists().where(
        parties.c.country_code == _INFOS.c.country_code, parties.c.party_id == _INFOS.c.party_id
    )
    query = select(_INFOS).where(_INFOS.c.operator != own, _INFOS.c.status != "SUSPENDED", ~is_listed)
    gone = (await connection.execute(query)).all()
    await _put(
        connection,
        [_row((row.country_code, row.party_id, row.role), row.operator, "SUSPENDED", now) for row in gone],
    )
    return len(gone)


def _row(key: _Key, operator: str, status: Status, last_updated: int) -> dict[str, str | int]:
    return {
        "country_code": key[0],
        "party_id": key[1],
        "role": key[2],
        "operator": operator,
        "status": status,
        "last_updated": last_updated,
    }


async def _put(connection: AsyncConnection, rows: list[dict[str, str | int]]) -> None:
    if not rows:
        return
    last = await sequence(connection)
    for number, row in enumerate(rows, last + 1):
        row["sequence"] = number
    statement = insert(_INFOS)
    statement = statement.on_conflict_do_update(
        index_elements=["country_code", "party_id", "role"],
        set_={name: statement.excluded[name] for name in ("operator", "status", "last_updated", "sequence")},
    )
    await connection.execute(statement, rows)


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[ClientInfo]:
    return [_info(row) for row in await connection.execute(query)]


def _info(row: Row[Any]) -> ClientInfo:
    return ClientInfo(Party(row.country_code, row.party_id), row.role, row.status, row.last_updated)


def _is(key: _Key) -> ColumnElement[bool]:
    names = ("country_code", "party_id", "role")
    return and_(*(_INFOS.c[name] == part for name, part in zip(names, key, strict=True)))
