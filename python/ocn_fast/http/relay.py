"""The hot door: a plain ASGI callable through which every relayed message passes.

Read `RelayDoor.__call__`: it is the whole way of a message on this side of the native core. What a message
means is decided over there; here its body is read, its requester watched, its answer sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ocn_fast.errors import StoreError
from ocn_fast.node import Gate, NodeService, Reply

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WATCH_S = 0.05
"""How often relays under way are looked at. One that was there the last time is watched for a requester
that hangs up; most have been answered by then and never cost a look."""


class RelayDoor:
    """Relays whatever arrives. `body_timeout_s`: seconds for a whole body to arrive
    (`http.body_timeout_ms`)."""

    def __init__(self, node: NodeService, *, body_timeout_s: float) -> None:
        self._node = node
        self._body_timeout_s = body_timeout_s
        self._watch = HangUpWatch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One message. Where a newer table could change the verdict, it is fetched and the message tried
        again."""
        seen = self._node.change_number()
        reply, body = await self._relay(scope, receive, None)
        if reply.stale is not None:
            try:
                if await self._node.refresh(reply.stale, scope, seen):
                    reply, _ = await self._relay(scope, receive, body)
            except StoreError:
                # Nobody may be called unknown on the word of a table that cannot be checked.
                reply = self._node.unavailable(scope)
        await send(reply.start)
        await send(reply.body)

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
        with self._watch(gate, receive):
            return await gate.relay(body), body

    async def _read(self, gate: Gate, receive: Receive) -> bytes | Reply:
        """The whole body, or the refusal that takes its place. Each `receive` costs as much as the
        crossing, so there is none without a body, and none after the last announced byte."""
        announced = gate.announced
        if announced == 0:
            return b""
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                while announced is None or size < announced:
                    message = await receive()
                    chunk = message.get("body", b"")
                    if announced is None and (refusal := gate.grow(len(chunk))) is not None:
                        return refusal
                    chunks.append(chunk)
                    size += len(chunk)
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        break
        except TimeoutError:
            return gate.refuse("slow")
        if message["type"] == "http.disconnect" or size < (announced or 0):
            return gate.refuse("gone")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class HangUpWatch:
    """Notices requesters that hang up, at the price of one timer for all messages.

    The server does not end a handler whose client is gone; it says so to whoever calls `receive`. Calling
    it for every message would cost as much as the rest of the crossing, so only relays that take long are
    watched.
    """

    def __init__(self) -> None:
        self._relays: dict[Gate, _Relay] = {}
        self._ticking = False

    def __call__(self, gate: Gate, receive: Receive) -> "_Relay":
        return _Relay(self, gate, receive)

    def enter(self, relay: "_Relay") -> None:
        self._relays[relay.gate] = relay
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(WATCH_S, self._tick)

    def leave(self, relay: "_Relay") -> None:
        del self._relays[relay.gate]

    def _tick(self) -> None:
        for relay in self._relays.values():
            relay.grow_older()
        self._ticking = bool(self._relays)
        if self._ticking:
            asyncio.get_running_loop().call_later(WATCH_S, self._tick)


class _Relay:
    """One relay under way."""

    __slots__ = ("_receive", "_seen", "_task", "_watch", "gate")

    def __init__(self, watch: HangUpWatch, gate: Gate, receive: Receive) -> None:
        self.gate = gate
        self._watch = watch
        self._receive = receive
        self._seen = False
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._watch.enter(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._watch.leave(self)
        if self._task is not None:
            self._task.cancel()
        if kind is not None:
            # The handler itself is being ended: nobody will take the answer.
            self.gate.cancel()

    def grow_older(self) -> None:
        """Called at every tick; from the second one on the requester is watched."""
        if self._seen and self._task is None:
            self._task = asyncio.create_task(self._until_gone())
        self._seen = True

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        # What has left is relayed to its end all the same; the answer then finds nobody.
        self.gate.cancel()
