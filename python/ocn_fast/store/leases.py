"""Leases: one process at a time does a thing, and whoever lost his lease without noticing is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ocn_fast.errors import StoreConflict
from ocn_fast.store import schema


class LeaseLost(StoreConflict):
    """Another process does it now; what this one wanted to write is too late."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do `name`, until somebody else has a higher epoch."""

    name: str
    holder: str
    epoch: int


async def take(
    connection: AsyncConnection,
    name: str,
    holder: str,
    *,
    now: int,
    expires_at: int,
    is_gone: Callable[[str], bool],
) -> Lease | None:
    """Takes or renews a lease; None while another holder has it, unless `is_gone` knows that he has ended."""
    leases = schema.leases
    row = (await connection.execute(select(leases).where(leases.c.name == name))).one_or_none()
    epoch = 1 if row is None else row.epoch
    if row is not None and row.holder != holder:
        if row.expires_at > now and not is_gone(row.holder):
            return None
        epoch += 1
    values = {"name": name, "holder": holder, "epoch": epoch, "expires_at": expires_at}
    statement = insert(leases).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    return Lease(name, holder, epoch)


async def release(connection: AsyncConnection, lease: Lease) -> None:
    """Gives it back, if it is still held: the next one need not wait."""
    leases = schema.leases
    mine = (leases.c.name == lease.name) & (leases.c.epoch == lease.epoch)
    await connection.execute(update(leases).where(mine).values(expires_at=0))


async def require(connection: AsyncConnection, lease: Lease) -> None:
    """Raises LeaseLost unless the lease is still held. To be asked inside the transaction that it guards."""
    leases = schema.leases
    query = select(leases.c.epoch).where(leases.c.name == lease.name)
    if (await connection.execute(query)).scalar_one_or_none() != lease.epoch:
        raise LeaseLost(f"the lease {lease.name!r} has passed to another process: nothing was written")
