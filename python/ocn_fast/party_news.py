"""Tells our platforms of client infos that change: PUT to those that serve `hubclientinfo` (`ocpi-hub.md` 5).

Of parties at home here and elsewhere alike, as the platform's rules allow, never of its own. Nothing is kept
for a platform that does not answer, and nothing is said twice: it asks for the list when it is back.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections import deque

import orjson

from ocn_fast import logs
from ocn_fast.config import Settings
from ocn_fast.errors import OutboundError
from ocn_fast.http.hubclientinfo import shown
from ocn_fast.outbound import Outbound
from ocn_fast.store import ClientInfo, Receiver, Store

AT_A_TIME = 500
"""Changes read at a time."""
WAITING = 1_000
"""Changes that wait for a slow platform; older ones are dropped."""


class PartyNews:
    """Keeps platforms informed. `follow` is to be called again and again, `close` at the end."""

    def __init__(self, settings: Settings, database: Store, outbound: Outbound) -> None:
        self._deadline_ms = settings.client_info.send_ms
        self._store = database
        self._outbound = outbound
        self._number: int | None = None
        self._waiting: dict[int, deque[tuple[Receiver, ClientInfo]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failing: set[int] = set()
        self._room = asyncio.Semaphore(settings.client_info.concurrency)

    async def follow(self) -> None:
        """One look: hands what has changed since the last one to whom it concerns. Raises StoreError."""
        if self._number is None:
            # What changed before this keeper started, platforms find in the list.
            self._number = await self._store.client_info_sequence()
        changes = await self._store.client_infos_written_after(self._number, AT_A_TIME)
        if not changes:
            return
        receivers = await self._store.client_info_receivers()
        self._number = changes[-1][0]
        for receiver in receivers:
            news = [(receiver, info) for _, info in changes if _concerns(receiver, info)]
            if news:
                self._hand_over(receiver.platform.id, news)

    async def close(self) -> None:
        """Breaks off."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _hand_over(self, platform: int, news: list[tuple[Receiver, ClientInfo]]) -> None:
        waiting = self._waiting.setdefault(platform, deque(maxlen=WAITING))
        if len(waiting) + len(news) > WAITING:
            logs.get().warning("client infos dropped: the platform is slow", platform=platform)
        waiting.extend(news)
        if platform not in self._tasks:
            self._tasks[platform] = asyncio.create_task(self._tell(platform, waiting))

    async def _tell(self, platform: int, waiting: deque[tuple[Receiver, ClientInfo]]) -> None:
        """Sends one after the other, so that the last word arrives last."""
        try:
            while waiting:
                async with self._room:
                    await self._push(*waiting.popleft())
        except Exception:  # noqa: BLE001
            # A defect of ours: it must neither end the others' news nor go unseen.
            logs.get().exception("client infos were not sent", platform=platform)
        finally:
            del self._tasks[platform], self._waiting[platform]

    async def _push(self, receiver: Receiver, info: ClientInfo) -> None:
        platform = receiver.platform
        token = receiver.token_b
        if platform.token_encoding == "base64":  # noqa: S105
            token = base64.b64encode(token.encode()).decode()
        headers = [
            ("authorization", f"Token {token}"),
            ("content-type", "application/json"),
            ("x-request-id", str(uuid.uuid4())),
            ("x-correlation-id", str(uuid.uuid4())),
        ]
        url = f"{receiver.url.rstrip('/')}/{info.party.country_code}/{info.party.party_id}"
        try:
            status, _, _ = await self._outbound.put(
                url, headers, orjson.dumps(shown(info)), self._deadline_ms
            )
            fault = None if 200 <= status < 300 else f"HTTP {status}"
        except OutboundError as error:
            fault = str(error)
        if fault is None:
            self._failing.discard(platform.id)
        elif platform.id not in self._failing:
            self._failing.add(platform.id)
            logs.get().warning("platform does not take client infos", platform=platform.id, text=fault)


def _concerns(receiver: Receiver, info: ClientInfo) -> bool:
    platform = receiver.platform
    if info.party in platform.parties:
        return False
    if platform.rules.mode == "none":
        return True
    named = any(rule.party == info.party for rule in platform.rules.entries)
    return named == (platform.rules.mode == "whitelist")
