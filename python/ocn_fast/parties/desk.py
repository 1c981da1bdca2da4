"""What both roles work with: who they are, where they are reached, how they call, what is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ocn_fast.errors import OcpiError
from ocn_fast.parties import ocpi
from ocn_fast.parties.client import Client, Exchange, Fault
from ocn_fast.parties.ocpi import ListQuery, Object, Party
from ocn_fast.parties.state import State


@dataclass
class Desk:
    """Shared by a role's methods; one per process."""

    party: Party
    base_url: str
    client: Client
    state: State
    delay: float
    """Seconds before an asynchronous result, and between two updates of a session."""
    page_limit: int
    """The largest page of a list."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, module: str, interface: str, *segments: str) -> str:
        """Of one of our own resources."""
        return ocpi.join(f"{self.base_url}/ocpi/{ocpi.VERSION}/{interface.lower()}/{module}", *segments)

    def listed(self, module: str, objects: Sequence[Object], query: Mapping[str, str]) -> Mapping[str, Any]:
        """Data and headers of one page of one of our lists, as `Answer` takes them."""
        page = ocpi.page(objects, ListQuery.of(query), self.page_limit)
        return {"data": list(page.objects), "headers": page.headers(self.url(module, "SENDER"))}

    def node_url(self, url: str) -> str:
        """A URL that we are told to call later. Raises `OcpiError` 2001 unless it is our node's."""
        if ocpi.origin(url) != ocpi.origin(self.state.versions_url or ""):
            raise OcpiError(200, ocpi.INVALID, "response_url is not on the origin of our node")
        return url

    async def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs work beside everything else until it is done or the process ends."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        """Ends what is still running."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def crawl(self, to: Party, module: str, query: str, fault: Fault | None) -> list[Exchange]:
        """A partner's whole list, page by page along `Link`; ends early at the first page that fails."""
        exchange = await self.client.call("GET", module, "SENDER", to=to, query=query, fault=fault)
        pages = [exchange]
        while exchange.ok and (url := ocpi.next_link(exchange.headers.get("link"))) is not None:
            exchange = await self.client.call_url("GET", url, module, "SENDER", to=to)
            pages.append(exchange)
        return pages


def report(exchanges: Sequence[Exchange], data: object = None) -> Object:
    """What a step of the control API says: the calls it made, and data of its own."""
    return {"sent": [one.entry for one in exchanges], "data": data}


def objects_of(exchanges: Sequence[Exchange]) -> list[Object]:
    """The objects of all pages, in order."""
    pages = [orjson.loads(bytes(one.envelope.data)) for one in exchanges if one.ok and one.envelope]
    return [thing for page in pages for thing in page]


def addressed(wishes: Mapping[str, Any]) -> tuple[Party, Fault | None]:
    """The partner and the fault that a step was asked with. Raises `OcpiError` or `ValueError`."""
    fault = wishes.get("fault")
    return Party.parse(str(wishes["to"])), Fault(fault) if fault is not None else None
