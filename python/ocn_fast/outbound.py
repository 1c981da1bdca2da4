"""The outbound half of a node, for a process that relays nothing: calls to other nodes, and their signatures.

The same native client as the relay's: the same rules for addresses, the same deadlines, no redirects.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from types import TracebackType
from typing import Self

from ocn_fast import _native, keyfiles
from ocn_fast.config import Settings

Answer = tuple[int, list[tuple[str, bytes]], bytes]
"""Status, headers (names in lower case) and body."""


class Outbound:
    """An open client, as an asynchronous context. Raises ConfigError where a key file cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._key = keyfiles.read_node_key(settings.node.key_file, dev=settings.node.dev)
        self.address = _native.address_of(self._key)
        """The operator's address (EIP-55)."""
        ring = keyfiles.read_key_ring(settings.node.key_ring_file)
        self._native = _native.Node(settings.native(), self._key, ring)
        self._timeout_ms = settings.store.timeout_ms
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        self._descriptor = self._native.open(_no_work, self._timeout_ms)
        asyncio.get_running_loop().add_reader(self._descriptor, self._native.drain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._native.close()

    def put(self, url: str, headers: list[tuple[str, str]], body: bytes, deadline_ms: int) -> Future[Answer]:
        """PUTs to another server; answers of more than 64 KiB are refused. Raises OutboundError."""
        return self._native.fetch("PUT", url, headers, body, deadline_ms, 64 * 1024)

    def sign_document(self, text: bytes) -> str:
        """The node's signature over a JSON object: 130 hex digits, as existing nodes write it.

        Raises ValueError for any other text: the node's key signs nothing that could mean something
        elsewhere (`safety.md` I21).
        """
        if not text.startswith(b"{"):
            raise ValueError("only a JSON object is signed")
        return _native.personal_sign(self._key, text).removeprefix("0x")


def _no_work(work_id: int, verb: str, payload: bytes) -> None:
    raise RuntimeError(f"nothing is relayed here, yet the relay asks for {verb}")
