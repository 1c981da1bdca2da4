"""The hot door: a plain ASGI callable through which every relayed message passes.

Read `RelayDoor.__call__`: it is the whole way of a message on this side of the native core. What a message
means is decided over there; here its body is read, its requester watched, its answer sent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ocn_fast.errors import StoreError
from ocn_fast.http import unread
from ocn_fast.node import Gate, NodeService, Reply

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WATCH_S = 0.05
"""How often everything that is waited for is looked at: a body that is late, a relay whose requester has hung
up. Most is over before the first look and costs none."""


class RelayDoor:
    """Relays whatever arrives. `body_timeout_s`: seconds for a whole body to arrive
    (`http.body_timeout_ms`); `linger_s`: for the rest of one that was refused (`http.linger_ms`)."""

    def __init__(self, node: NodeService, *, body_timeout_s: float, linger_s: float) -> None:
        self._node = node
        self._body_timeout_s = body_timeout_s
        self._linger_s = linger_s
        self._watch = Watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One message. Where a newer table could change the verdict, it is fetched and the message tried
        again."""
        seen = self._node.change_number()
        reply, body = await self._relay(scope, receive, None)
        if reply.stale is not None:
            try:
                if await self._node.refresh(reply.stale, scope, seen):
                    reply, body = await self._relay(scope, receive, body)
            except StoreError:
                # Nobody may be called unknown on the word of a table that cannot be checked.
                reply = self._node.unavailable(scope)
        await send(reply.start)
        await send(reply.body)
        if body is None:
            await unread.drop(scope, receive, self._linger_s)

    async def _relay(self, scope: Scope, receive: Receive, body: bytes | None) -> tuple[Reply, bytes | None]:
        """The answer, and the body if it was read."""
        gate = self._node.admit(scope)
        if gate.reply is not None:
            return gate.reply, body
        if body is None:
            read = await self._read(gate, receive)
            if isinstance(read, Reply):
                return read, None
            body = read
        answer = _Answer(gate, receive)
        self._watch.add(answer)
        try:
            return await gate.relay(body), body
        except BaseException:
            # The handler itself is being ended: nobody will take the answer.
            gate.cancel()
            raise
        finally:
            self._watch.drop(answer)
            if answer.listener is not None:
                answer.listener.cancel()

    async def _read(self, gate: Gate, receive: Receive) -> bytes | Reply:
        """The whole body, or the refusal that takes its place. Each `receive` costs as much as the
        crossing, so there is none without a body, and none after the last announced byte."""
        announced = gate.announced
        if announced == 0:
            return b""
        chunks: list[bytes] = []
        size = 0
        reading = _Body(self._body_timeout_s)
        self._watch.add(reading)
        try:
            while announced is None or size < announced:
                message = await receive()
                chunk = message.get("body", b"")
                if announced is None and (refusal := gate.grow(len(chunk))) is not None:
                    return refusal
                chunks.append(chunk)
                size += len(chunk)
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
        except asyncio.CancelledError:
            if not reading.is_late_only():
                raise
            return gate.refuse("slow")
        finally:
            self._watch.drop(reading)
        if message["type"] == "http.disconnect" or size < (announced or 0):
            return gate.refuse("gone")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class Watch:
    """Looks at what is waited for, at the price of one timer for all messages: a timer for each would cost a
    tenth of what the event loop spends on a message."""

    def __init__(self) -> None:
        self._waits: set[_Body | _Answer] = set()
        self._ticking = False

    def add(self, wait: "_Body | _Answer") -> None:
        self._waits.add(wait)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(WATCH_S, self._tick)

    def drop(self, wait: "_Body | _Answer") -> None:
        self._waits.discard(wait)

    def _tick(self) -> None:
        for wait in self._waits:
            wait.look()
        self._ticking = bool(self._waits)
        if self._ticking:
            asyncio.get_running_loop().call_later(WATCH_S, self._tick)


class _Body:
    """A body on its way. One that takes too long ends what waits for it, as `asyncio.timeout` would."""

    __slots__ = ("_expired", "_reader", "_until")

    def __init__(self, seconds: float) -> None:
        self._reader = asyncio.current_task()
        self._until = time.monotonic() + seconds
        self._expired = False

    def look(self) -> None:
        if not self._expired and time.monotonic() >= self._until:
            self._expired = True
            assert self._reader is not None, "handlers run in tasks"
            self._reader.cancel()

    def is_late_only(self) -> bool:
        """Whether a cancellation was ours, and nobody else wants the handler to end."""
        return self._expired and self._reader is not None and self._reader.uncancel() == 0


class _Answer:
    """A relay under way. The server does not end a handler whose client is gone; it says so to whoever
    calls `receive`, which costs as much as the rest of the crossing: only relays that take long are listened
    for."""

    __slots__ = ("_gate", "_receive", "_seen", "listener")

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate = gate
        self._receive = receive
        self._seen = False
        self.listener: asyncio.Task[None] | None = None

    def look(self) -> None:
        """From the second look on somebody listens for the requester."""
        if self._seen and self.listener is None:
            self.listener = asyncio.create_task(self._until_gone())
        self._seen = True

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # What has left is relayed to its end all the same; the answer then finds nobody.
        self._gate.cancel()
