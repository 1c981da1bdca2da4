"""Tokens that this node made: registration tokens (A) and access tokens (C), kept as digests."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.store import changes, schema
from ocn_fast.store.records import Party, RegistrationToken
from ocn_fast.store.ring import KeyRing

TOKEN_BYTES = 32
REPEAT_MS = 10 * 60 * 1_000
"""How long the answer to a registration can be had again."""


def new_token() -> str:
    """A fresh token: 43 printable characters that no Base64 decoder takes for padded Base64."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> str:
    """SHA-256 of a token, in hex: what is stored and compared."""
    return hashlib.sha256(token.encode()).hexdigest()


async def create_registration_token(
    connection: AsyncConnection, parties: Sequence[Party], now: int, expires_at: int
) -> RegistrationToken:
    """Makes a token A for these parties; none given means any that the registry lists here."""
    token = new_token()
    statement = insert(schema.registration_tokens).values(
        digest=digest(token),
        parties=json.dumps([[party.country_code, party.party_id] for party in parties]),
        created_at=now,
        expires_at=expires_at,
    )
    result = await connection.execute(statement.returning(schema.registration_tokens.c.id))
    return RegistrationToken(
        id=result.scalar_one(), parties=tuple(parties), created_at=now, expires_at=expires_at, token=token
    )


async def find_registration_token(
    connection: AsyncConnection, digests: Sequence[str]
) -> tuple[int, RegistrationToken] | None:
    """The token A of one of these digests, used and expired ones too, and which digest it was."""
    table = schema.registration_tokens
    rows = (await connection.execute(select(table).where(table.c.digest.in_(digests)))).all()
    found = {row.digest: row for row in rows}
    for index, candidate in enumerate(digests):
        if candidate in found:
            return index, _registration_token(found[candidate])
    return None


async def find_platform_by_token(
    connection: AsyncConnection, digests: Sequence[str], now: int
) -> tuple[int, int, bool] | None:
    """Whose live token C one of these digests is: index of the digest, platform, whether it is the newest."""
    table = schema.access_tokens
    rows = (await connection.execute(select(table).where(table.c.digest.in_(digests)))).all()
    found = {row.digest: row for row in rows if row.expires_at is None or row.expires_at > now}
    for index, candidate in enumerate(digests):
        if candidate in found:
            row = found[candidate]
            return index, row.platform_id, row.expires_at is None
    return None


async def spend_registration_token(
    connection: AsyncConnection, token_id: int, request: str, now: int
) -> bool:
    """Spends a token A; False if that was done before or it has expired. `request` is who may ask again."""
    table = schema.registration_tokens
    statement = (
        update(table)
        .where(table.c.id == token_id, table.c.used_at.is_(None), table.c.expires_at > now)
        .values(used_at=now, request_digest=request)
    )
    return (await connection.execute(statement)).rowcount == 1


async def keep_answer(
    connection: AsyncConnection, token_id: int, platform_id: int, token_c: str, until: int, ring: KeyRing
) -> None:
    """Keeps what a spent token A was answered, encrypted, for a repetition of its request."""
    table = schema.registration_tokens
    await connection.execute(
        update(table)
        .where(table.c.id == token_id)
        .values(
            platform_id=platform_id,
            token_c=ring.encrypt(token_c, _token_c_place(token_id)),
            token_c_until=until,
        )
    )


async def repeated_registration(
    connection: AsyncConnection, token_id: int, request: str, now: int, ring: KeyRing
) -> tuple[int, str] | None:
    """Platform and token C of the registration that this very request made, as long as they are kept."""
    table = schema.registration_tokens
    query = select(table.c.platform_id, table.c.token_c).where(
        table.c.id == token_id,
        table.c.request_digest == request,
        table.c.token_c.is_not(None),
        table.c.token_c_until > now,
        table.c.platform_id.is_not(None),
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.platform_id, ring.decrypt(row.token_c, _token_c_place(token_id)))


async def answer_is_kept(connection: AsyncConnection, platform_id: int) -> bool:
    """Whether the answer to this platform's registration is still kept."""
    table = schema.registration_tokens
    query = select(table.c.id).where(table.c.platform_id == platform_id, table.c.token_c.is_not(None))
    return (await connection.execute(query.limit(1))).one_or_none() is not None


async def forget_answers(connection: AsyncConnection, platform_ids: Sequence[int]) -> None:
    """Erases kept tokens C of platforms that have used theirs."""
    table = schema.registration_tokens
    for start in range(0, len(platform_ids), changes.CHUNK):
        chunk = platform_ids[start : start + changes.CHUNK]
        await connection.execute(
            update(table)
            .where(table.c.platform_id.in_(chunk), table.c.token_c.is_not(None))
            .values(token_c=None, token_c_until=None)
        )


async def add_access_token(connection: AsyncConnection, platform_id: int, now: int) -> str:
    """Makes a token C for a platform."""
    token = new_token()
    await connection.execute(
        insert(schema.access_tokens).values(digest=digest(token), platform_id=platform_id, created_at=now)
    )
    return token


async def retire_access_tokens(connection: AsyncConnection, platform_id: int, until: int) -> None:
    """Gives the current token C of a platform an end. Those that have one keep it."""
    table = schema.access_tokens
    await connection.execute(
        update(table)
        .where(table.c.platform_id == platform_id, table.c.expires_at.is_(None))
        .values(expires_at=until)
    )


async def revoke_access_tokens(connection: AsyncConnection, platform_id: int) -> None:
    """Ends all tokens C of a platform at once."""
    table = schema.access_tokens
    await connection.execute(delete(table).where(table.c.platform_id == platform_id))


async def drop_retired_tokens(connection: AsyncConnection, platform_id: int) -> bool:
    """Ends the replaced tokens C of a platform; whether there were any."""
    table = schema.access_tokens
    result = await connection.execute(
        delete(table).where(table.c.platform_id == platform_id, table.c.expires_at.is_not(None))
    )
    return result.rowcount > 0


async def sweep_registration_tokens(connection: AsyncConnection, now: int) -> int:
    """Erases kept answers whose time is over, and removes tokens A that can do nothing more."""
    table = schema.registration_tokens
    await connection.execute(
        update(table).where(table.c.token_c_until <= now).values(token_c=None, token_c_until=None)
    )
    result = await connection.execute(
        delete(table).where(table.c.expires_at <= now, table.c.token_c.is_(None))
    )
    return result.rowcount


async def sweep_access_tokens(connection: AsyncConnection, now: int) -> int:
    """Removes tokens C whose grace is over. The table has judged them by their expiry already."""
    table = schema.access_tokens
    return (await connection.execute(delete(table).where(table.c.expires_at <= now))).rowcount


def _registration_token(row: Row[Any]) -> RegistrationToken:
    return RegistrationToken(
        id=row.id,
        parties=tuple(Party(*ids) for ids in json.loads(row.parties)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        platform_id=row.platform_id,
    )


def _token_c_place(token_id: int) -> str:
    return f"token_c of registration {token_id}"
