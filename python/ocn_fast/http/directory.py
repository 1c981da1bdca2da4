"""The registry for anybody who asks: kept in memory, so that no query costs a database or a chain.

One compact copy for each worker, made when somebody asks for the first time: five bytes for each party's id
and four for its operator, and the lists as the bytes that go out. When the registry has changed, the next
query has the copy made anew behind its back; until then the last one answers. However often the registry
changes and whoever asks, that takes at most a tenth of the worker's time (`safety.md` A101, A150).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from ocn_fast import logs
from ocn_fast.node import NodeService
from ocn_fast.store import Party, Store
from ocn_fast.store.listing import ListedParty, Listing

ListName = Literal["operators", "parties", "own", "own_emsp"]

LEAST_PAUSE_S = 0.2
"""Between two readings of the registry, however quick they are."""
SHARE = 10
"""After a reading that took so long, none for so many times as long."""
_ID_BYTES = 5


@dataclass(frozen=True, slots=True)
class Listed:
    """A list as JSON, cut off at `registry.list_rows`, and how many entries there are in all."""

    body: bytes
    total: int


class Directory:
    """What the registry says, for open queries. Belongs to the event loop of the worker."""

    def __init__(self, store: Store, node: NodeService, list_rows: int) -> None:
        self._store = store
        self._node = node
        self._list_rows = list_rows
        self._copy: _Copy | None = None
        self._number = 0
        self._may_read_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def find(self, party: Party) -> tuple[str, str] | None:
        """Address and domain of the operator of a party; None for a party that the registry does not list.

        The domain is empty where the operator itself is not listed. Raises StoreError before the first copy.
        """
        return (await self._current()).find(party)

    async def list(self, name: ListName) -> Listed:
        """One of the lists. Raises StoreError before the first copy."""
        return (await self._current()).lists[name]

    async def close(self) -> None:
        """Breaks a reading off: the store is about to close."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _current(self) -> _Copy:
        if self._node.change_number() != self._number and time.monotonic() >= self._may_read_at:
            self._start_reading()
        if self._copy is None:
            # All who wait for the first copy share it, and its failure.
            await asyncio.shield(self._start_reading())
            assert self._copy is not None
        return self._copy

    def _start_reading(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._ended)
        return self._reading

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # Taken note of here: nobody may be waiting for it.
            logs.get().warning("the registry could not be read for open queries", text=str(error))

    async def _read(self) -> None:
        began = time.monotonic()
        number = self._node.change_number()
        try:
            if self._copy is None or await self._store.registry_mark() != self._copy.mark:
                async with self._store.registry_listing() as listing:
                    self._copy = await _copy(listing, self._node.address, self._list_rows)
            self._number = number
        finally:
            now = time.monotonic()
            self._may_read_at = now + max(LEAST_PAUSE_S, SHARE * (now - began))


@dataclass(frozen=True, slots=True)
class _Copy:
    mark: int
    ids: bytes
    """The ids of all parties, five bytes each, in order."""
    operator_of: array[int]
    operators: list[tuple[str, str]]
    lists: dict[ListName, Listed]

    def find(self, party: Party) -> tuple[str, str] | None:
        wanted = (party.country_code + party.party_id).encode()
        count = len(self.operator_of)
        place = bisect_left(range(count), wanted, key=self._id)
        if place == count or self._id(place) != wanted:
            return None
        return self.operators[self.operator_of[place]]

    def _id(self, place: int) -> bytes:
        return self.ids[place * _ID_BYTES : (place + 1) * _ID_BYTES]


@dataclass(slots=True)
class _Rows:
    """A list in the making: no more entries than go out, and a count of all."""

    most: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0

    def add(self, entry: dict[str, Any] | None) -> None:
        self.total += 1
        if entry is not None:
            self.entries.append(entry)

    @property
    def is_full(self) -> bool:
        return len(self.entries) >= self.most


class _Maker:
    """Takes the registry in, party by party."""

    def __init__(self, listing: Listing, own: str, list_rows: int) -> None:
        self._own = own.lower()
        self._operators = [(address.lower(), domain) for address, domain in listing.operators.items()]
        self._number_of = {address: number for number, (address, _) in enumerate(self._operators)}
        self._ids, self._operator_of = bytearray(), array("I")
        self._rows: dict[ListName, _Rows] = {
            name: _Rows(list_rows) for name in ("operators", "parties", "own", "own_emsp")
        }
        operators = self._rows["operators"]
        for address, domain in self._operators:
            operators.add(None if operators.is_full else {"id": address, "domain": domain})

    def add(self, entry: ListedParty) -> None:
        address = entry.operator.lower()
        number = self._number_of.setdefault(address, len(self._operators))
        if number == len(self._operators):
            self._operators.append((address, ""))
        self._ids += (entry.party.country_code + entry.party.party_id).encode()
        self._operator_of.append(number)
        names: list[ListName] = ["parties"]
        if address == self._own:
            names.append("own")
            if "EMSP" in entry.roles:
                names.append("own_emsp")
        for name in names:
            rows = self._rows[name]
            rows.add(None if rows.is_full else _party(entry, *self._operators[number]))

    def finish(self, mark: int) -> _Copy:
        lists = {name: Listed(orjson.dumps(rows.entries), rows.total) for name, rows in self._rows.items()}
        return _Copy(mark, bytes(self._ids), self._operator_of, self._operators, lists)


async def _copy(listing: Listing, own: str, list_rows: int) -> _Copy:
    maker = _Maker(listing, own, list_rows)
    async for page in listing.parties():
        for entry in page:
            maker.add(entry)
    return await asyncio.to_thread(maker.finish, listing.mark)


def _party(entry: ListedParty, operator: str, domain: str) -> dict[str, Any]:
    """A party as v2 nodes show it (`ocn-node.md` 2.4), without what this registry does not hold."""
    party = entry.party
    return {
        "id": f"{party.country_code}/{party.party_id}",
        "countryCode": party.country_code,
        "partyId": party.party_id,
        "partyAddress": entry.address.lower(),
        "roles": entry.roles,
        "operator": {"id": operator, "domain": domain},
    }
