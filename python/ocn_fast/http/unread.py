"""What is left of a body once its request is answered: read and dropped, so that its sender sees the answer.

A connection that is closed while bytes of its client are on their way is reset, and the reset overtakes the
answer: the client then knows of a broken pipe and not why (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def drop(scope: Scope, receive: Receive, seconds: float) -> None:
    """Reads to the end of the body, at most so long (`http.linger_ms`). A client that waits for leave to send
    its body has got none, and sends nothing."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await receive()).get("more_body", False):
                pass


class Drop:
    """Around an application: what it leaves of a body is dropped after its answer."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which has no body."""
        more = scope["type"] == "http"

        async def reading() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        await self._app(scope, reading, send)
        if more:
            await drop(scope, receive, self._seconds)
