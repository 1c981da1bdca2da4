"""The change number, and what changed since one: the JSON that the native table applies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, Row, Table, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import ConfigError
from ocn_fast.store import schema
from ocn_fast.store.ring import KeyRing

NUMBER = text("SELECT number FROM change_number")
REVISION = text("SELECT version_num FROM alembic_version")
T = TypeVar("T")
CHUNK = 500
"""Keys in one statement: SQLite allows some tens of thousands of parameters."""


async def current(connection: AsyncConnection) -> int:
    """The number of the newest change."""
    return int((await connection.execute(NUMBER)).scalar_one())


async def bump(connection: AsyncConnection) -> int:
    """Begins a change: its number. Writers of the same database wait here for each other."""
    statement = (
        update(schema.change_number)
        .values(number=schema.change_number.c.number + 1)
        .returning(schema.change_number.c.number)
    )
    return int((await connection.execute(statement)).scalar_one())


async def bury(connection: AsyncConnection, number: int, kind: str, keys: Iterable[str]) -> None:
    """Leaves tombstones for rows deleted by this change."""
    rows = [{"kind": kind, "key": key, "changed": number} for key in keys]
    if rows:
        statement = insert(schema.gone)
        statement = statement.on_conflict_do_update(
            index_elements=["kind", "key"], set_={"changed": statement.excluded.changed}
        )
        await connection.execute(statement, rows)


async def unbury(connection: AsyncConnection, kind: str, keys: Iterable[str]) -> None:
    """Removes the tombstones of rows that came back."""
    gone = schema.gone
    of_kind = select(gone.c.key).where(gone.c.kind == kind)
    back = set((await connection.execute(of_kind)).scalars()).intersection(keys)
    if back:
        statement = delete(gone).where(gone.c.kind == kind, gone.c.key == bindparam("back"))
        await connection.execute(statement, [{"back": key} for key in back])


async def since(connection: AsyncConnection, number: int, ring: KeyRing) -> bytes:
    """The change from `number` to now, as JSON for the table.

    From 0, and from a number that this database has not reached (it was restored from a backup), the change
    is full: it replaces everything.
    """
    now = await current(connection)
    full = number <= 0 or number > now
    after = 0 if full else number
    gone = {"platform": [], "operator": [], "party": []} if full else await _gone(connection, after)
    change = {
        "number": now,
        "full": full,
        "registry": await _registry(connection, after, gone["operator"], gone["party"]),
        "platforms": await _platforms(connection, after, ring),
        "gone_platforms": [int(key) for key in gone["platform"]],
    }
    return orjson.dumps(change)


async def _gone(connection: AsyncConnection, after: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"platform": [], "operator": [], "party": []}
    query = select(schema.gone.c.kind, schema.gone.c.key).where(schema.gone.c.changed > after)
    for kind, key in await connection.execute(query):
        found[kind].append(key)
    return found


async def _registry(
    connection: AsyncConnection, after: int, gone_operators: list[str], gone_parties: list[str]
) -> dict[str, Any] | None:
    state = (
        await connection.execute(select(schema.registry_state).where(schema.registry_state.c.changed > after))
    ).one_or_none()
    if state is None:
        return None
    operators, parties = schema.registry_operators.c, schema.registry_parties.c
    return {
        "block": state.block,
        "block_hash": state.block_hash,
        "block_time": state.block_time,
        "operators": await _rows(
            connection, operators.changed > after, address=operators.address, domain=operators.domain
        ),
        "gone_operators": gone_operators,
        "parties": await _rows(
            connection,
            parties.changed > after,
            country_code=parties.country_code,
            party_id=parties.party_id,
            address=parties.address,
            operator=parties.operator,
            roles=func.json(parties.roles),
            modules=func.json(parties.modules),
        ),
        "gone_parties": [key.split("/") for key in gone_parties],
    }


async def _rows(
    connection: AsyncConnection, condition: ColumnElement[bool], **members: ColumnElement[Any]
) -> orjson.Fragment:
    """Rows as a JSON list of objects with these members. The database writes it: as objects of Python, those
    of ten thousand rows would take a worker's start a tenth of a second and megabytes that it then keeps."""
    row = func.json_object(*(part for member in members.items() for part in member))
    query = select(func.json_group_array(row)).where(condition)
    return orjson.Fragment((await connection.execute(query)).scalar_one())


async def _platforms(connection: AsyncConnection, after: int, ring: KeyRing) -> list[dict[str, Any]]:
    platforms = (
        await connection.execute(select(schema.platforms).where(schema.platforms.c.changed > after))
    ).all()
    ids = [row.id for row in platforms]
    tokens = await grouped(connection, schema.access_tokens, ids, lambda row: row)
    roles = await grouped(connection, schema.roles, ids, lambda row: row)
    endpoints = await grouped(connection, schema.endpoints, ids, lambda row: row)
    rules = await grouped(connection, schema.rules, ids, lambda row: row)
    return [
        {
            "id": row.id,
            "status": row.status,
            "version": row.version,
            "parties": [
                {"country_code": role.country_code, "party_id": role.party_id, "role": role.role}
                for role in roles[row.id]
            ],
            "tokens": [{"digest": token.digest, "expires_at": token.expires_at} for token in tokens[row.id]],
            "token_b": ring.decrypt(row.token_b, token_b_place(row.id)),
            "token_encoding": row.token_encoding,
            "endpoints": [
                {"module": endpoint.module, "role": endpoint.role, "url": endpoint.url}
                for endpoint in endpoints[row.id]
            ],
            "origins": orjson.loads(row.origins),
            "versions_url": row.versions_url,
            "rules": {
                "signatures": row.rules_signatures,
                "mode": row.rules_mode,
                "entries": [
                    {
                        "country_code": rule.country_code,
                        "party_id": rule.party_id,
                        "modules": orjson.loads(rule.modules),
                    }
                    for rule in rules[row.id]
                ],
            },
            "sign_for_party": row.sign_for_party,
            "exempt": orjson.loads(row.exempt),
        }
        for row in platforms
    ]


def token_b_place(platform_id: int) -> str:
    """Where a token B stands: what its ciphertext is bound to."""
    return f"token_b of platform {platform_id}"


async def grouped(
    connection: AsyncConnection, table: Table, platform_ids: list[int], make: Callable[[Row[Any]], T]
) -> dict[int, list[T]]:
    """The rows of a table that belong to these platforms, by platform."""
    found: dict[int, list[T]] = defaultdict(list)
    for start in range(0, len(platform_ids), CHUNK):
        chunk = platform_ids[start : start + CHUNK]
        query = select(table).where(table.c.platform_id.in_(chunk)).order_by(*table.primary_key.columns)
        for row in await connection.execute(query):
            found[row.platform_id].append(make(row))
    return found


async def require_schema(connection: AsyncConnection) -> None:
    """Raises ConfigError unless the database has this version's schema."""
    try:
        found = (await connection.execute(REVISION)).scalar_one_or_none()
    except OperationalError:
        found = None
    if found != schema.REVISION:
        raise ConfigError(
            f"the database has schema {found or 'none'}, this version needs {schema.REVISION}; "
            "`ocn-fast serve` upgrades an older one",
            key="store.url",
        )
