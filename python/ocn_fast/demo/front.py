"""The front of a node, as a reverse proxy would be: its public URL is known before the node listens.

It passes bytes on as they come. Of the requests it writes down the messages between nodes, with their
correlation ids, so that the demo can tell which way a message went; and it can be told to alter one of them.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_CORRELATION = re.compile(rb"\r\nx-correlation-id: *([^\r]*)", re.IGNORECASE)
_NODE_CALL = re.compile(rb"[A-Z]+ /ocn/relay/(?!session )")
_PIECE = 65_536


@dataclass(frozen=True)
class Change:
    """What somebody on the way does to a body: one text for another of the same length."""

    old: bytes
    new: bytes


@dataclass
class Front:
    """Listens on a free port of its own; where the node itself listens may change."""

    change: Change | None = None
    """Done to every call between nodes, as long as it is set."""
    node_calls: list[str] = field(default_factory=list)
    """Correlation ids of the calls that other nodes made here, in order."""
    _target: tuple[str, int] | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lead_to(self, url: str) -> None:
        """Where requests go from now on."""
        place = urlsplit(url)
        assert place.hostname is not None
        assert place.port is not None
        self._target = (place.hostname, place.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until one side has closed it. Without a node it is closed at once."""
        if self._target is None:
            return
        try:
            theirs, ours = await asyncio.open_connection(*self._target)
        except OSError:
            return
        answers = asyncio.create_task(_pour(theirs, writer))
        requests = asyncio.create_task(self._requests(reader, ours))
        try:
            await asyncio.wait((answers, requests), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answers, requests):
                task.cancel()
            await asyncio.gather(answers, requests, return_exceptions=True)
            ours.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whole requests, one by one. All parties and nodes give the length of what they send; where somebody
        else does not, everything from there on passes as it comes."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if _CHUNKED.search(head):
                    writer.write(head)
                    await _pour(reader, writer)
                    return
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1])) if found is not None else b""
                if _NODE_CALL.match(head):
                    named = _CORRELATION.search(head)
                    self.node_calls.append(named[1].decode() if named is not None else "")
                    if self.change is not None:
                        body = body.replace(self.change.old, self.change.new, 1)
                writer.write(head + body)
                await writer.drain()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
