"""Links: URLs of one party that another may call through this node. Durable before anybody can call them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreConflict, StoreError, StoreFull
from ocn_fast.store import schema
from ocn_fast.store.records import Link, LinkTaken

SWEEP_ROWS = 500
"""Expired rows removed in one transaction, so that no writer waits long for a sweep."""

_LINKS, _PLATFORMS = schema.links, schema.platforms
_WITH_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_WHICH_ARE_THERE = select(_LINKS.c.id).where(_LINKS.c.id.in_(_WITH_IDS))
_FIND = select(_LINKS).where(_LINKS.c.id.in_(_WITH_IDS))
_INSERT = insert(_LINKS)
_FILL = update(_LINKS).where(_LINKS.c.id == bindparam("link_id")).values(url=bindparam("link_url"))
_HELD = select(_PLATFORMS.c.id, _PLATFORMS.c.links).where(_PLATFORMS.c.id.in_(_WITH_IDS)).with_for_update()
_COUNT_LIVE = select(func.count()).where(
    _LINKS.c.platform_id == bindparam("platform"), _LINKS.c.expires_at > bindparam("now")
)
_NOTE_HELD = (
    update(_PLATFORMS).where(_PLATFORMS.c.id == bindparam("platform")).values(links=bindparam("held"))
)


@dataclass(frozen=True, slots=True)
class Filling:
    """The URL of a link that was reserved without one."""

    id: str
    url: str


def write(
    connection: Connection, entries: Sequence[Link | Filling], *, per_platform: int, now: int
) -> list[StoreError | None]:
    """Writes links down, and fills in URLs; for each entry why that was not done.

    LinkTaken: there is a link of that id, expired or not, or one further up in `entries`. StoreFull: its
    platform holds `per_platform` live ones. StoreConflict: the platform, or the link to be filled in, has
    gone.
    """
    there = set(connection.scalars(_WHICH_ARE_THERE, {"ids": [entry.id for entry in entries]}))
    shares = _Shares(connection, entries, per_platform=per_platform, now=now)
    outcomes: list[StoreError | None] = []
    for entry in entries:
        outcome: StoreError | None = None
        if isinstance(entry, Filling):
            if entry.id not in there:
                outcome = StoreConflict("the link has gone")
        elif entry.id in there:
            outcome = LinkTaken(f"link {entry.id}")
        else:
            outcome = shares.take(entry.platform)
            if outcome is None:
                there.add(entry.id)
        outcomes.append(outcome)
    done = [entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome is None]
    if rows := [_row(entry) for entry in done if isinstance(entry, Link)]:
        connection.execute(_INSERT, rows)
    if fillings := [entry for entry in done if isinstance(entry, Filling)]:
        connection.execute(_FILL, [{"link_id": entry.id, "link_url": entry.url} for entry in fillings])
    shares.note()
    return outcomes


class _Shares:
    """How many links each platform of some entries holds: at most, and counted only where that is too many.

    Links that expire are not subtracted; counting all live ones of a platform takes longer the more there
    are, and happens once in as many new links as it had room for the last time.
    """

    def __init__(
        self, connection: Connection, entries: Iterable[Link | Filling], *, per_platform: int, now: int
    ) -> None:
        self._connection = connection
        self._per_platform = per_platform
        self._now = now
        self._counted: set[int] = set()
        self._noted: dict[int, int] = {}
        if platforms := {entry.platform for entry in entries if isinstance(entry, Link)}:
            rows = connection.execute(_HELD, {"ids": list(platforms)})
            self._noted = {row.id: row.links for row in rows}
        self._held = dict(self._noted)

    def take(self, platform: int) -> StoreError | None:
        """Takes one link out of the platform's share, or says why there is none."""
        if platform not in self._held:
            return StoreConflict(f"platform {platform} has gone")
        if self._held[platform] >= self._per_platform and platform not in self._counted:
            self._counted.add(platform)
            parameters = {"platform": platform, "now": self._now}
            live = self._connection.execute(_COUNT_LIVE, parameters).scalar_one()
            # What was taken before, here, is in no row yet.
            self._held[platform] += live - self._noted[platform]
        if self._held[platform] >= self._per_platform:
            return StoreFull(
                f"platform {platform} holds {self._per_platform} live links (links.per_platform)"
            )
        self._held[platform] += 1
        return None

    def note(self) -> None:
        """Writes down what has changed."""
        changed = self._held.items() - self._noted.items()
        if changed:
            rows = [{"platform": platform, "held": held} for platform, held in changed]
            self._connection.execute(_NOTE_HELD, rows)


def find(connection: Connection, ids: Sequence[str]) -> list[Link | None]:
    """The links of these ids, expired or not."""
    found = {row.id: _link(row) for row in connection.execute(_FIND, {"ids": list(ids)})}
    return [found.get(link_id) for link_id in ids]


def _row(link: Link) -> dict[str, str | int]:
    return {
        "id": link.id,
        "caller_country_code": link.caller[0],
        "caller_party_id": link.caller[1],
        "owner_country_code": link.owner[0],
        "owner_party_id": link.owner[1],
        "module": link.module,
        "role": link.role,
        "method": link.method,
        "place": link.place,
        "url": link.url,
        "expires_at": link.expires_at,
        "platform_id": link.platform,
    }


def _link(row: Row[Any]) -> Link:
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
