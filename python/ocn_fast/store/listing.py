"""The registry as it stands, read page by page: for the open queries, which show it to anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.store import schema
from ocn_fast.store.records import Party

PAGE_ROWS = 1_000
"""Rows read at a time: between two pages the event loop serves messages."""


@dataclass(frozen=True, slots=True)
class ListedParty:
    """A party as the registry lists it: its own address, and that of the operator who speaks for it."""

    party: Party
    address: str
    operator: str
    roles: tuple[str, ...]


class Listing:
    """The registry at one moment. Usable as long as the connection that it was made with."""

    def __init__(self, connection: AsyncConnection, mark: int, operators: Mapping[str, str]) -> None:
        self._connection = connection
        self.mark = mark
        """See `mark` below."""
        self.operators = operators
        """Domains by address, in order of the addresses."""

    async def parties(self) -> AsyncIterator[Sequence[ListedParty]]:
        """All parties in order of their ids, a page at a time."""
        table = schema.registry_parties
        query = select(
            table.c.country_code, table.c.party_id, table.c.address, table.c.operator, table.c.roles
        ).order_by(table.c.country_code, table.c.party_id)
        result = await self._connection.stream(query, execution_options={"yield_per": PAGE_ROWS})
        async for page in result.partitions():
            yield [
                ListedParty(
                    Party(row.country_code, row.party_id),
                    row.address,
                    row.operator,
                    tuple(orjson.loads(row.roles)),
                )
                for row in page
            ]


async def read(connection: AsyncConnection) -> Listing:
    """The registry as this connection sees it."""
    number = await mark(connection)
    return Listing(connection, number, await operators(connection))


async def mark(connection: AsyncConnection) -> int:
    """The number of the newest change to any operator or party, 0 before the first.

    A registry that is only of a later block, and otherwise the same, keeps its mark.
    """
    gone = select(func.max(schema.gone.c.changed)).where(schema.gone.c.kind.in_(("operator", "party")))
    numbers = [
        (await connection.execute(query)).scalar_one()
        for query in (
            select(func.max(schema.registry_operators.c.changed)),
            select(func.max(schema.registry_parties.c.changed)),
            gone,
        )
    ]
    return max((number for number in numbers if number is not None), default=0)


async def operators(connection: AsyncConnection) -> dict[str, str]:
    """Domains of all operators by address, in order of the addresses."""
    table = schema.registry_operators
    rows = await connection.execute(select(table.c.address, table.c.domain).order_by(table.c.address))
    return {row.address: row.domain for row in rows}
