"""Where the demo lists its nodes and parties, behind one small interface: a signed file, or a chain.

Nodes and parties are told of it by options of the command line, as an operator would tell them.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from ocn_fast import notary
from ocn_fast.demo.processes import Child, Processes
from ocn_fast.listening import write_private
from ocn_fast.registry import snapshot

POLL_S = 1
"""How often a node looks at its registry."""
TIMEOUT_MS = 2_000
"""How long a node waits for an answer of the chain."""


@dataclass(frozen=True)
class NodeEntry:
    """A node as it is listed: its operator's key file, and where it is."""

    name: str
    key_file: Path
    url: str

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.key_file.read_text().strip())

    @property
    def operator(self) -> str:
        """The operator's address."""
        return notary.address_of(self.key)


@dataclass(frozen=True)
class PartyEntry:
    """A party as it is listed, and where its key is; another program may keep it."""

    party: str
    role: str
    address: str
    key_file: Path | None
    operator: str


class Listed(NamedTuple):
    """What came of listing a node or a party: the block that it stands in."""

    name: str
    block: int


class Registry(Protocol):
    """Lists nodes and parties, and lets others read the list."""

    async def open(self) -> None:
        """Starts what it needs. Raises `DemoError`."""

    async def add(self, nodes: Sequence[NodeEntry], parties: Sequence[PartyEntry]) -> list[Listed]:
        """Lists them all, or lists them anew. Raises `DemoError`."""
        ...

    def node_options(self) -> Sequence[str]:
        """What `ocn-fast serve` must be told to follow it."""
        ...

    def party_options(self) -> Sequence[str]:
        """What `ocn-fast party` must be told to know whose signatures count."""
        ...

    async def close(self) -> None: ...


class FileRegistry:
    """A signed snapshot file; its first node signs it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "registry.snapshot"
        self._content = snapshot.Snapshot("demo", 0, None, 0, None, "")
        self._key = b""

    async def open(self) -> None:
        """Nothing runs for a file."""

    async def add(self, nodes: Sequence[NodeEntry], parties: Sequence[PartyEntry]) -> list[Listed]:
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
        names = [one.name for one in nodes] + [one.party for one in parties]
        return [Listed(name, self._content.block) for name in names]

    def node_options(self) -> Sequence[str]:
        signers = f"registry.file_signers={notary.address_of(self._key)}"
        return _settings(f"registry.file={self._file}", signers, f"registry.poll_s={POLL_S}")

    def party_options(self) -> Sequence[str]:
        return ("--registry", str(self._file), "--registry-signer", notary.address_of(self._key))

    async def close(self) -> None:
        """Nothing is held open."""


class _Account(msgspec.Struct):
    address: str
    private_key: str


class _ChainReady(msgspec.Struct):
    url: str
    chain_id: int
    accounts: list[_Account]


class ChainRegistry:
    """The registry contracts on a chain of the demo's own, changed and read by the command line alone.

    Who is listed signs typed data; an account of the chain that has money sends it and pays.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder / "chain"
        self._processes = processes
        self._child: Child | None = None
        self._chain = _ChainReady("", 0, [])
        self.contract = ""
        self.permissions = ""

    @staticmethod
    def available() -> bool:
        """Whether the extra is installed that holds a chain."""
        return importlib.util.find_spec("eth_tester") is not None

    @property
    def url(self) -> str:
        """Of the chain's endpoint."""
        return self._chain.url

    @property
    def chain_id(self) -> int:
        return self._chain.chain_id

    async def open(self) -> None:
        """Starts the chain and deploys the contracts."""
        self._folder.mkdir(mode=0o700)
        ready_file = self._folder / "ready.json"
        self._child = await self._processes.start(
            "the chain", self._folder, "chain", "--port", "0", "--ready-file", str(ready_file)
        )
        self._chain = msgspec.json.decode(await self._child.ready(ready_file), type=_ChainReady)
        write_private(self.payer, self._chain.accounts[0].private_key.removeprefix("0x").encode())
        deployed = await self._command("deploy", "--signer-file", str(self.payer))
        self.contract, self.permissions = deployed["contract"], deployed["permissions"]

    async def add(self, nodes: Sequence[NodeEntry], parties: Sequence[PartyEntry]) -> list[Listed]:
        plan = {
            "nodes": [{"url": one.url, "key_file": str(one.key_file)} for one in nodes],
            "parties": [
                {
                    "party": one.party,
                    "roles": [one.role],
                    "operator": one.operator,
                    "key_file": str(one.key_file),
                }
                for one in parties
            ],
        }
        file = self._folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        said = await self._command("apply", str(file), "--spender-file", str(self.payer), *self._where())
        names = [one.name for one in nodes] + [one.party for one in parties]
        return [
            Listed(name, max(sent["block"] for sent in entry["transactions"]))
            for name, entry in zip(names, said["entries"], strict=True)
        ]

    def node_options(self) -> Sequence[str]:
        return _settings(
            f"registry.rpc={self.url}", f"registry.chain_id={self.chain_id}",
            f"registry.contract={self.contract}", f"registry.permissions={self.permissions}",
            "registry.confirmations=0", f"registry.poll_s={POLL_S}", f"registry.rpc_timeout_ms={TIMEOUT_MS}",
        )  # fmt: skip

    def party_options(self) -> Sequence[str]:
        """They read the chain themselves."""
        return ("--registry-rpc", self.url, "--registry-contract", self.contract)

    @property
    def payer(self) -> Path:
        """Key file of an account that has money."""
        return self._folder / "payer.key"

    def halt(self) -> None:
        """Stops the chain: it takes connections and answers nobody."""
        assert self._child is not None
        self._child.send(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None
        self._child.send(signal.SIGCONT)

    async def close(self) -> None:
        if self._child is not None:
            await self._child.end()

    def _where(self) -> Sequence[str]:
        return ("--contract", self.contract)

    async def _command(self, *arguments: str) -> dict[str, Any]:
        where = ("--rpc", self.url, "--chain-id", str(self.chain_id))
        said: dict[str, Any] = msgspec.json.decode(
            await self._processes.run("registry", *arguments, *where, "--json")
        )
        return said


def _settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]
