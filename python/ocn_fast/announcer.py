"""Tells every other operator how our parties are connected: client infos, from the keeper (`ocn-node.md` 6).

What is to be said follows from the database: whenever its change number moves, our client infos are brought
in line with platforms and registry, and each operator is sent what it has not yet taken. Nothing is queued:
after a crash, or a day without a network, the same comparison finds what is missing. An operator that does
not answer, or refuses, is tried again later and later; it keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from ocn_fast import logs
from ocn_fast.config import Settings
from ocn_fast.errors import OcnError, OutboundError, StoreError
from ocn_fast.http import urls
from ocn_fast.http.hubclientinfo import shown
from ocn_fast.outbound import Answer, Outbound
from ocn_fast.registry.enums import ROLES
from ocn_fast.store import ClientInfo, Store

LOOK_S = 0.5
"""How often the change number is looked at."""

AT_A_TIME = 500
"""Client infos read for one operator at a time."""
AT_ONCE = 10
"""So many are sent without a pause, the others one at a time: the receiver counts (`http.open_rate`)."""
PACE_S = 0.1
LATER = 5
"""How often an operator may ask for patience (429) before it is left alone for a while."""
REFUSED = 10
"""Refusals in a row after which an operator is left alone for a while."""


class Refused(OcnError):
    """An operator answered, and did not take what it was told."""


@dataclass(slots=True, eq=False)
class _Listener:
    """Another operator. `due`: there may be something that it has not taken."""

    address: str
    domain: str
    due: bool = True
    failures: int = 0
    not_before: float = 0.0
    task: asyncio.Task[None] | None = None


class Announcer:
    """Keeps all other operators informed. `follow` is to be called again and again, `close` at the end."""

    def __init__(
        self,
        settings: Settings,
        database: Store,
        outbound: Outbound,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = database
        self._outbound = outbound
        self._clock = clock
        self._number = -1
        self._listeners: dict[str, _Listener] = {}
        self._room = asyncio.Semaphore(settings.client_info.concurrency)

    async def follow(self) -> None:
        """One look: finds what is new, and goes on telling. Raises StoreError."""
        number = await self._store.change_number()
        if number != self._number:
            changed = await self._store.reconcile_client_infos(self._outbound.address, frozenset(ROLES))
            self._know(await self._store.operators(), news=changed > 0)
            self._number = number
        now = self._clock()
        for listener in self._listeners.values():
            if listener.due and listener.task is None and now >= listener.not_before:
                listener.task = asyncio.create_task(self._tell(listener))

    async def close(self) -> None:
        """Breaks off; what was not taken is sent at the next start."""
        tasks = [listener.task for listener in self._listeners.values() if listener.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _know(self, operators: Mapping[str, str], *, news: bool) -> None:
        """Takes note of who is listed now. Who has another domain than before is tried at once."""
        own = self._settings.node.url
        usable = {
            address: domain.rstrip("/")
            for address, domain in operators.items()
            if address.lower() != self._outbound.address.lower()
            and domain.rstrip("/") != own
            and urls.is_usable(domain)
        }
        known = self._listeners
        for address in known.keys() - usable.keys():
            gone = known.pop(address)
            if gone.task is not None:
                gone.task.cancel()
        for address, domain in usable.items():
            listener = known.get(address)
            if listener is None:
                known[address] = _Listener(address, domain)
                continue
            if listener.domain != domain:
                listener.domain, listener.failures, listener.not_before = domain, 0, 0.0
                listener.due = True
            listener.due = listener.due or news

    async def _tell(self, listener: _Listener) -> None:
        try:
            async with self._room:
                # Unset first: what becomes known meanwhile is for the next time.
                listener.due = False
                await self._tell_everything(listener)
        except (OutboundError, Refused, StoreError) as error:
            self._leave_alone(listener, str(error))
        except Exception:  # noqa: BLE001
            # A defect of ours: it must neither end the others' news nor go unseen.
            logs.get().exception("client infos were not sent", operator=listener.address)
            self._leave_alone(listener, "defect")
        else:
            if listener.failures:
                logs.get().info("operator takes client infos again", operator=listener.address)
            listener.failures = 0
        finally:
            listener.task = None

    async def _tell_everything(self, listener: _Listener) -> None:
        own = self._outbound.address
        while infos := await self._store.unacknowledged_client_infos(own, listener.address, AT_A_TIME):
            taken: list[ClientInfo] = []
            refused, refused_in_a_row = "", 0
            try:
                for place, info in enumerate(infos):
                    if place >= AT_ONCE:
                        await asyncio.sleep(PACE_S)
                    try:
                        await self._send(listener, info)
                    except Refused as error:
                        refused, refused_in_a_row = str(error), refused_in_a_row + 1
                        if refused_in_a_row == REFUSED:
                            break
                    else:
                        taken.append(info)
                        refused_in_a_row = 0
            finally:
                await self._store.acknowledge_client_infos(listener.address, taken)
            if refused:
                raise Refused(refused)

    async def _send(self, listener: _Listener, info: ClientInfo) -> None:
        text = orjson.dumps(shown(info))
        headers = [
            ("content-type", "text/plain; charset=UTF-8"),
            ("ocn-signature", self._outbound.sign_document(text)),
        ]
        url = f"{listener.domain}/ocn/client-info"
        for _ in range(LATER):
            answer = await self._outbound.put(url, headers, text, self._settings.client_info.send_ms)
            if answer[0] != 429:
                break
            await asyncio.sleep(1)
        if not _is_taken(answer):
            raise Refused(f"{listener.domain} answered {answer[0]}")

    def _leave_alone(self, listener: _Listener, text: str) -> None:
        if not listener.failures:
            logs.get().warning(
                "operator does not take client infos; tried again", operator=listener.address, text=text
            )
        listener.due = True
        pause = min(2.0**listener.failures, self._settings.client_info.retry_s)
        listener.failures = min(listener.failures + 1, 32)
        # Spread, or all nodes would come back to one that was away in the same moment.
        listener.not_before = self._clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311


def _is_taken(answer: Answer) -> bool:
    """Existing nodes and ours answer 200 with nothing or a text; 200 with an envelope is an error."""
    status, _, body = answer
    return status == 200 and not body.lstrip().startswith(b"{")
