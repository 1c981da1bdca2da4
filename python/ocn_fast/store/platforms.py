"""Platforms with their parties, roles and endpoints: registered, updated, steered, removed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreConflict
from ocn_fast.store import changes, schema, tokens
from ocn_fast.store.records import (
    AccessToken,
    Endpoint,
    Party,
    PartyTaken,
    Platform,
    Receiver,
    Registered,
    Registration,
    Role,
    Rule,
    Rules,
    Status,
)
from ocn_fast.store.ring import KeyRing


async def register(
    connection: AsyncConnection, registration: Registration, *, now: int, ring: KeyRing
) -> Registered:
    """Adds a platform. Raises PartyTaken."""
    number = await changes.bump(connection)
    values = {
        "status": "CONNECTED",
        "version": registration.version,
        "versions_url": registration.versions_url,
        # Its ciphertext is bound to the id, which the row gets only now.
        "token_b": b"",
        "token_encoding": registration.token_encoding,
        "origins": "[]",
        "exempt": "[]",
        "sign_for_party": False,
        "rules_signatures": False,
        "rules_mode": "none",
        "handshakes": 1,
        "registered_at": now,
        "changed": number,
    }
    result = await connection.execute(
        insert(schema.platforms).values(values).returning(schema.platforms.c.id)
    )
    platform_id: int = result.scalar_one()
    await _set(connection, platform_id, number, token_b=_encrypted_token_b(ring, platform_id, registration))
    await _write_registration(connection, platform_id, registration)
    return Registered(platform_id, await tokens.add_access_token(connection, platform_id, now))


async def update_registration(
    connection: AsyncConnection,
    platform: Platform,
    registration: Registration,
    *,
    grace_until: int,
    now: int,
    ring: KeyRing,
) -> Registered:
    """Replaces what a handshake found out about a platform; its old token C ends at `grace_until`.

    Raises StoreConflict if the platform has gone or has made another handshake since `platform` was read, and
    PartyTaken.
    """
    number = await changes.bump(connection)
    table = schema.platforms
    statement = (
        update(table)
        .where(table.c.id == platform.id, table.c.handshakes == platform.handshakes)
        .values(
            version=registration.version,
            versions_url=registration.versions_url,
            token_b=_encrypted_token_b(ring, platform.id, registration),
            token_encoding=registration.token_encoding,
            handshakes=platform.handshakes + 1,
            changed=number,
        )
    )
    if (await connection.execute(statement)).rowcount != 1:
        raise StoreConflict(f"platform {platform.id} has gone or was changed by another handshake")
    for written in (schema.roles, schema.parties, schema.endpoints):
        await connection.execute(delete(written).where(written.c.platform_id == platform.id))
    await _write_registration(connection, platform.id, registration)
    await tokens.retire_access_tokens(connection, platform.id, grace_until)
    return Registered(platform.id, await tokens.add_access_token(connection, platform.id, now))


async def remove(connection: AsyncConnection, platform_id: int) -> bool:
    """Removes a platform and everything that hangs on it; False if there is none."""
    number = await changes.bump(connection)
    await connection.execute(delete(schema.links).where(schema.links.c.platform_id == platform_id))
    result = await connection.execute(delete(schema.platforms).where(schema.platforms.c.id == platform_id))
    if result.rowcount != 1:
        return False
    await changes.bury(connection, number, "platform", [str(platform_id)])
    return True


async def set_status(connection: AsyncConnection, platform_id: int, status: Status) -> bool:
    """Sets the connection status; False if there is no such platform."""
    return await _set(connection, platform_id, await changes.bump(connection), status=status)


async def set_sign_for_party(connection: AsyncConnection, platform_id: int, enabled: bool) -> bool:
    """Whether the operator signs for the platform's parties; False if there is no such platform."""
    return await _set(connection, platform_id, await changes.bump(connection), sign_for_party=enabled)


async def rotate(connection: AsyncConnection, platform_id: int, now: int) -> str | None:
    """A new token C in place of all others, which end at once; None if there is no such platform."""
    number = await changes.bump(connection)
    if not await _set(connection, platform_id, number):
        return None
    await tokens.revoke_access_tokens(connection, platform_id)
    await tokens.forget_answers(connection, [platform_id])
    return await tokens.add_access_token(connection, platform_id, now)


async def current_token_used(connection: AsyncConnection, platform_id: int) -> None:
    """The platform has shown its newest token C: replaced ones end, and the kept answer is erased."""
    if await tokens.drop_retired_tokens(connection, platform_id):
        await _set(connection, platform_id, await changes.bump(connection))
    await tokens.forget_answers(connection, [platform_id])


async def set_rules(connection: AsyncConnection, platform_id: int, rules: Rules) -> bool:
    """Replaces the platform's rules; False if there is no such platform."""
    number = await changes.bump(connection)
    if not await _set(
        connection, platform_id, number, rules_signatures=rules.signatures, rules_mode=rules.mode
    ):
        return False
    table = schema.rules
    await connection.execute(delete(table).where(table.c.platform_id == platform_id))
    rows = [
        {
            "platform_id": platform_id,
            "country_code": rule.party.country_code,
            "party_id": rule.party.party_id,
            "modules": json.dumps(rule.modules),
        }
        for rule in rules.entries
    ]
    if rows:
        await connection.execute(insert(table), rows)
    return True


async def find(connection: AsyncConnection, platform_id: int) -> Platform | None:
    """The platform of that id."""
    found = await _read(connection, platform_id)
    return found[0] if found else None


async def everything(connection: AsyncConnection) -> list[Platform]:
    """All platforms, oldest first."""
    return await _read(connection, None)


async def receivers(connection: AsyncConnection, module: str, ring: KeyRing) -> list[Receiver]:
    """All connected platforms that serve the receiver's side of a module."""
    table, endpoints = schema.platforms, schema.endpoints
    query = (
        select(table.c.id, table.c.token_b, endpoints.c.url)
        .join(endpoints, endpoints.c.platform_id == table.c.id)
        .where(table.c.status == "CONNECTED", endpoints.c.module == module, endpoints.c.role == "RECEIVER")
    )
    found = {row.id: row for row in await connection.execute(query)}
    if not found:
        return []
    return [
        Receiver(
            platform,
            found[platform.id].url,
            ring.decrypt(found[platform.id].token_b, changes.token_b_place(platform.id)),
        )
        for platform in await everything(connection)
        if platform.id in found
    ]


async def write_last_seen(connection: AsyncConnection, last_seen: Mapping[int, int]) -> None:
    """Moves last-seen times forward, never back. Platforms that have gone are passed over."""
    table = schema.platforms
    for platform_id, moment in last_seen.items():
        await connection.execute(
            update(table)
            .where(table.c.id == platform_id, (table.c.last_seen.is_(None)) | (table.c.last_seen < moment))
            .values(last_seen=moment)
        )


async def _set(connection: AsyncConnection, platform_id: int, number: int, **values: Any) -> bool:
    statement = (
        update(schema.platforms).where(schema.platforms.c.id == platform_id).values(changed=number, **values)
    )
    return (await connection.execute(statement)).rowcount == 1


def _encrypted_token_b(ring: KeyRing, platform_id: int, registration: Registration) -> bytes:
    return ring.encrypt(registration.token_b, changes.token_b_place(platform_id))


async def _write_registration(
    connection: AsyncConnection, platform_id: int, registration: Registration
) -> None:
    parties = list(dict.fromkeys(role.party for role in registration.roles))
    await _require_free(connection, parties)
    await connection.execute(
        insert(schema.parties),
        [
            {"country_code": party.country_code, "party_id": party.party_id, "platform_id": platform_id}
            for party in parties
        ],
    )
    await connection.execute(
        insert(schema.roles),
        [
            {
                "platform_id": platform_id,
                "role": role.role,
                "country_code": role.party.country_code,
                "party_id": role.party.party_id,
                "business_details": json.dumps(role.business_details),
            }
            for role in registration.roles
        ],
    )
    await connection.execute(
        insert(schema.endpoints),
        [
            {
                "platform_id": platform_id,
                "module": endpoint.module,
                "role": endpoint.role,
                "url": endpoint.url,
            }
            for endpoint in registration.endpoints
        ],
    )


async def _require_free(connection: AsyncConnection, parties: Sequence[Party]) -> None:
    table = schema.parties
    ids = [(party.country_code, party.party_id) for party in parties]
    for start in range(0, len(ids), changes.CHUNK):
        query = select(table.c.country_code, table.c.party_id).where(
            tuple_(table.c.country_code, table.c.party_id).in_(ids[start : start + changes.CHUNK])
        )
        taken = (await connection.execute(query.limit(1))).one_or_none()
        if taken is not None:
            raise PartyTaken(Party(*taken))


async def _read(connection: AsyncConnection, platform_id: int | None) -> list[Platform]:
    table = schema.platforms
    query = select(table).order_by(table.c.id)
    if platform_id is not None:
        query = query.where(table.c.id == platform_id)
    rows = (await connection.execute(query)).all()
    ids = [row.id for row in rows]
    roles = await changes.grouped(connection, schema.roles, ids, _role)
    endpoints = await changes.grouped(connection, schema.endpoints, ids, _endpoint)
    access = await changes.grouped(connection, schema.access_tokens, ids, _access_token)
    rules = await changes.grouped(connection, schema.rules, ids, _rule)
    return [
        Platform(
            id=row.id,
            status=row.status,
            version=row.version,
            versions_url=row.versions_url,
            token_encoding=row.token_encoding,
            roles=tuple(roles[row.id]),
            endpoints=tuple(endpoints[row.id]),
            tokens=tuple(access[row.id]),
            rules=Rules(row.rules_signatures, row.rules_mode, tuple(rules[row.id])),
            origins=tuple(json.loads(row.origins)),
            exempt=tuple(json.loads(row.exempt)),
            sign_for_party=row.sign_for_party,
            handshakes=row.handshakes,
            registered_at=row.registered_at,
            last_seen=row.last_seen,
        )
        for row in rows
    ]


def _role(row: Row[Any]) -> Role:
    return Role(row.role, Party(row.country_code, row.party_id), json.loads(row.business_details))


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(row.module, row.role, row.url)


def _access_token(row: Row[Any]) -> AccessToken:
    return AccessToken(row.digest, row.created_at, row.expires_at)


def _rule(row: Row[Any]) -> Rule:
    return Rule(Party(row.country_code, row.party_id), tuple(json.loads(row.modules)))
