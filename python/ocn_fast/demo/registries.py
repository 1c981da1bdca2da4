"""Where the demo lists its nodes and parties, behind one small interface: a signed file, or a chain.

Nodes and parties are told of it by options of the command line, as an operator would tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ocn_fast import notary
from ocn_fast.registry import snapshot


@dataclass(frozen=True)
class NodeEntry:
    """A node as it is listed: its operator's key, and where it is."""

    key: bytes
    url: str

    @property
    def operator(self) -> str:
        return notary.address_of(self.key)


@dataclass(frozen=True)
class PartyEntry:
    """A party as it is listed; `key` is None where another program keeps it."""

    party: str
    role: str
    address: str
    key: bytes | None
    operator: str


class Registry(Protocol):
    """Lists nodes and parties, and lets others read the list."""

    name: str

    async def open(self) -> None:
        """Starts what it needs. Raises `DemoError`."""

    async def add(self, nodes: Sequence[NodeEntry], parties: Sequence[PartyEntry]) -> None:
        """Lists them all, or lists them anew. Raises `DemoError`."""

    def node_options(self) -> Sequence[str]:
        """What `ocn-fast serve` must be told to follow it."""
        ...

    async def party_options(self) -> Sequence[str]:
        """What `ocn-fast party` must be told to know whose signatures count."""
        ...

    async def close(self) -> None: ...


class FileRegistry:
    """A signed snapshot file; its first node signs it."""

    name = "a signed file"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "registry.snapshot"
        self._content = snapshot.Snapshot("demo", 0, None, 0, None, "")
        self._key = b""

    async def open(self) -> None:
        """Nothing runs for a file."""

    async def add(self, nodes: Sequence[NodeEntry], parties: Sequence[PartyEntry]) -> None:
        self._key = self._key or nodes[0].key
        operators = {one.address: one for one in self._content.operators}
        operators |= {one.operator: snapshot.Operator(one.operator, one.url) for one in nodes}
        listed = {one.address: one for one in self._content.parties}
        for one in parties:
            country_code, party_id = one.party.split("/")
            listed[one.address] = snapshot.Party(
                country_code, party_id, one.address, one.operator, (one.role,)
            )
        self._content = snapshot.Snapshot(
            network="demo",
            chain_id=0,
            contract=None,
            block=self._content.block + 1,
            block_hash=None,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            operators=tuple(operators.values()),
            parties=tuple(listed.values()),
        )
        snapshot.write(self._file, snapshot.sign(self._content, self._key))

    def node_options(self) -> Sequence[str]:
        signers = f"registry.file_signers={notary.address_of(self._key)}"
        return ("--set", f"registry.file={self._file}", "--set", signers)

    async def party_options(self) -> Sequence[str]:
        return ("--registry", str(self._file), "--registry-signer", notary.address_of(self._key))

    async def close(self) -> None:
        """Nothing is held open."""
