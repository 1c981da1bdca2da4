"""The registry as a party has it: a signed file, or the contract on a chain, read anew for unknown signers.

So a party believes no node about who may sign, and still knows whoever joined after it had started.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ocn_fast.errors import RpcError
from ocn_fast.parties.ocpi import Party
from ocn_fast.parties.signing import Role, Seal, Trust, Untrusted

if TYPE_CHECKING:
    from ocn_fast.registry.rpc import Endpoint

TIMEOUT_MS = 5_000
ANSWER_BYTES = 16 * 1024 * 1024
AGAIN_S = 0.5
"""Between two readings: strangers must not have a party read a chain for each of their messages."""


class Book:
    """Judges signers by what the registry says now."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._endpoint: Endpoint | None = None
        self._contract = ""
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    @classmethod
    def of_file(cls, file: Path | None, signers: list[str]) -> Self:
        """See `Trust.read`."""
        return cls(Trust.read(file, signers))

    @classmethod
    async def of_chain(cls, url: str, contract: str) -> Self:
        """Reads it once. Raises ConfigError for a bad URL, and RpcError."""
        # Here, so that a party with a file does not load what reads chains.
        from ocn_fast.registry.rpc import Endpoint

        book = cls(Trust())
        book._endpoint, book._contract = Endpoint(url, TIMEOUT_MS, ANSWER_BYTES), contract
        await book._read()
        return book

    async def judge(self, seal: Seal, sender: Party) -> Role:
        """See `Trust.judge`."""
        judged = self._read_at
        try:
            return self._trust.judge(seal, sender)
        except Untrusted:
            if not await self._newer(judged):
                raise
        return self._trust.judge(seal, sender)

    async def judge_hub(self, seal: Seal, own: Party) -> Role:
        """See `Trust.judge_hub`."""
        judged = self._read_at
        try:
            return self._trust.judge_hub(seal, own)
        except Untrusted:
            if not await self._newer(judged):
                raise
        return self._trust.judge_hub(seal, own)

    async def close(self) -> None:
        if self._endpoint is not None:
            await self._endpoint.close()

    async def _newer(self, judged: float) -> bool:
        """Whether there is a newer reading than that which was judged by, if need be by a new one."""
        if self._endpoint is None:
            return False
        async with self._reading:
            if self._read_at == judged and time.monotonic() - judged > AGAIN_S:
                try:
                    await self._read()
                except RpcError:
                    return False  # what was read before still holds, and refuses
            return self._read_at != judged

    async def _read(self) -> None:
        from ocn_fast.registry.reader import read_registry, to_snapshot

        assert self._endpoint is not None
        reading = await read_registry(self._endpoint, self._contract)
        content, _ = to_snapshot(reading, "", 0, self._contract)
        self._trust = Trust.of(content)
        self._read_at = time.monotonic()
