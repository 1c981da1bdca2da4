"""Links: URLs of one party that another may call through this node. Durable before anybody can call them."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreFull
from ocn_fast.store import schema
from ocn_fast.store.records import Link, LinkTaken

SWEEP_ROWS = 500
"""Expired rows removed in one transaction, so that no writer waits long for a sweep."""


async def reserve(connection: AsyncConnection, link: Link, *, per_platform: int, now: int) -> None:
    """Writes a link down. Raises LinkTaken if there is one of that id, expired or not, StoreFull if its
    platform holds `per_platform` live ones, StoreConflict if the platform has gone.
    """
    table = schema.links
    if (await connection.execute(select(table.c.id).where(table.c.id == link.id))).first() is not None:
        raise LinkTaken(f"link {link.id}")
    live = select(func.count()).where(table.c.platform_id == link.platform, table.c.expires_at > now)
    if (await connection.execute(live)).scalar_one() >= per_platform:
        raise StoreFull(f"platform {link.platform} holds {per_platform} live links (links.per_platform)")
    await connection.execute(
        insert(table).values(
            id=link.id,
            caller_country_code=link.caller[0],
            caller_party_id=link.caller[1],
            owner_country_code=link.owner[0],
            owner_party_id=link.owner[1],
            module=link.module,
            role=link.role,
            method=link.method,
            place=link.place,
            url=link.url,
            expires_at=link.expires_at,
            platform_id=link.platform,
        )
    )


async def fill(connection: AsyncConnection, link_id: str, url: str) -> bool:
    """Sets the URL of a reserved link; False if the link has gone."""
    table = schema.links
    return (
        await connection.execute(update(table).where(table.c.id == link_id).values(url=url))
    ).rowcount == 1


async def find(connection: AsyncConnection, link_id: str) -> Link | None:
    """The link of that id, expired or not."""
    row = (await connection.execute(select(schema.links).where(schema.links.c.id == link_id))).one_or_none()
    if row is None:
        return None
    return Link(
        id=row.id,
        caller=(row.caller_country_code, row.caller_party_id),
        owner=(row.owner_country_code, row.owner_party_id),
        module=row.module,
        role=row.role,
        method=row.method,
        place=row.place,
        url=row.url,
        expires_at=row.expires_at,
        platform=row.platform_id,
    )


async def sweep(connection: AsyncConnection, now: int) -> int:
    """Removes at most `SWEEP_ROWS` expired links; how many it were."""
    table = schema.links
    expired = select(table.c.id).where(table.c.expires_at <= now).limit(SWEEP_ROWS)
    return (await connection.execute(delete(table).where(table.c.id.in_(expired)))).rowcount
