"""What a party sent and received, as it saw it: in memory to be asked for, and in a file line by line.

One entry for each exchange. Digests are SHA-256 in hex, taken from the bytes on the wire: two parties that
agree on them have seen the same message.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

import msgspec

KEPT = 10_000
"""Entries held in memory; the file keeps all."""


class Entry(msgspec.Struct, omit_defaults=True):
    """One exchange, seen from one side."""

    kind: Literal["sent", "received"]
    method: str
    path: str
    """With the query, as on the wire."""
    module: str = ""
    interface: str = ""
    peer: str = ""
    """The other party, as `DE/CPO`."""
    correlation_id: str = ""
    request_id: str = ""
    digest: str = ""
    """Of the request's body as sent or received."""
    origin_digest: str = ""
    """Of the request's body with the values of rewritten leaves put back: what the origin sent."""
    verdict: str = "none"
    """`valid`, `unsigned`, `invalid` or `none`: of the request if received, of the answer if sent."""
    signer: str = ""
    """Who signed: `party`, `operator`, `hub`; `unchecked` without a registry."""
    rewrites: int = 0
    reason: str = ""
    """Why the signature does not hold, or why there was no answer."""
    http: int = 0
    ocpi: int = 0
    message: str = ""
    answer_digest: str = ""
    """Of the answer's body without its signature."""
    delivery: str = ""
    """`OCN-Delivery` of an answer that the hub made."""
    signed_data: str = ""
    """Digest of the bytes of a CDR's `signed_data`."""
    ms: float = 0.0
    at: float = 0.0
    number: int = 0


class Journal:
    """Entries in order, numbered from 1."""

    def __init__(self, file: Path | None, show: Callable[[Entry], None]) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._count = 0
        self._news = asyncio.Condition()
        self._show = show
        self._file: IO[bytes] | None = None
        if file is not None:
            self._file = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0)

    async def add(self, entry: Entry) -> Entry:
        """Numbers, writes, shows."""
        self._count += 1
        entry.number = self._count
        entry.at = round(time.time(), 3)
        self._entries.append(entry)
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        self._show(entry)
        async with self._news:
            self._news.notify_all()
        return entry

    def after(self, number: int, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Entries later than `number` that are wanted, oldest first."""
        return [one for one in self._entries if one.number > number and wanted(one)]

    async def wait(self, number: int, wanted: Callable[[Entry], bool], seconds: float) -> list[Entry]:
        """Like `after`, but waits until there is one or the time is over."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: self.after(number, wanted))
        except TimeoutError:
            pass  # nothing came: the empty list says so
        return self.after(number, wanted)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_journal(file: Path) -> list[Entry]:
    """The entries of a journal file, whoever wrote it and whether or not it still runs."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Entry) for line in file.read_bytes().splitlines()]
