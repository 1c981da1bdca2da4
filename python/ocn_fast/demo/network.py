"""The network of the demo: nodes behind their fronts, a registry, and real parties, each with its own data.

Everything is started by the command line of this package, listens on a port that the system chose, and ends
with the demo, however that ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import msgspec

from ocn_fast import notary
from ocn_fast.demo.front import Front
from ocn_fast.demo.processes import START_S, Child, DemoError, Processes
from ocn_fast.demo.registries import (
    ChainRegistry,
    FileRegistry,
    Listed,
    NodeEntry,
    PartyEntry,
    Registry,
)
from ocn_fast.listening import write_private
from ocn_fast.parties.journal import Entry
from ocn_fast.parties.process import Ready
from ocn_fast.parties.signing import Sidecar

WORKERS = 2
DEADLINE_MS = 2_500
"""How long the demo's nodes wait for a receiver: short, because one of them never answers."""
DELAY_S = 0.2
LOOK_S = 0.1
"""Between two looks at something that must come true."""
PAGE_LIMIT = 2
CPO, MSP = "DE/CPO", "DE/MSP"
FAILING = "DE/OUT"
"""Will first hang, then be gone."""
FAR, ABSENT = "NL/MSP", "NL/NEW"
"""An eMSP that uses the other node, and one that is listed there and has never registered."""
_OCPI_ROLES = {"cpo": "CPO", "msp": "EMSP"}


class Member(NamedTuple):
    """A party of the story: what it is, and the node that it uses."""

    party: str
    kind: str
    node: str
    present: bool = True
    """Whether it runs and registers at its node; it is listed in any case."""


@dataclass(frozen=True)
class Cast:
    """Who takes part: nodes by name with the hub's own party, and parties."""

    description: str
    nodes: Mapping[str, str]
    members: Sequence[Member]


ONE_NODE = Cast(
    "a node, a CPO, an eMSP and a peer that will fail",
    {"A": "DE/HUB"},
    (Member(CPO, "cpo", "A"), Member(MSP, "msp", "A"), Member(FAILING, "cpo", "A")),
)
"""With a signed file for its registry."""
TWO_NODES = Cast(
    "a chain, two nodes, a CPO, two eMSPs and a peer that will fail",
    {"A": "DE/HUB", "B": "NL/HUB"},
    (
        Member(CPO, "cpo", "A"),
        Member(MSP, "msp", "A"),
        Member(FAR, "msp", "B"),
        Member(FAILING, "cpo", "B"),
        Member(ABSENT, "msp", "B", present=False),
    ),
)
"""With a chain for their registry."""


@dataclass
class Node:
    """A running node, and what its operator has."""

    name: str
    hub: str
    folder: Path
    processes: Processes
    http: httpx.AsyncClient
    front: Front = field(default_factory=Front)
    child: Child | None = None

    @property
    def url(self) -> str:
        return self.front.url

    @property
    def entry(self) -> NodeEntry:
        """How it is listed."""
        return NodeEntry(f"node {self.name}", self.folder / "node.key", self.url)

    @property
    def operator(self) -> str:
        return self.entry.operator

    async def make(self) -> None:
        """Its public URL, settings and keys."""
        await self.front.open()
        country_code, party_id = self.hub.split("/")
        await self.processes.run(
            "init", str(self.folder), "--dev", "--url", self.url,
            "--country-code", country_code, "--party-id", party_id,
        )  # fmt: skip

    async def start(self, registry: Registry) -> None:
        """Starts it, again if it was ended before; returns once it is ready."""
        ready_file = self.folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        self.child = await self.processes.start(
            f"node {self.name}", self.folder, "serve", "--dev",
            "--config", str(self.folder / "ocn-fast.toml"), "--port", "0", "--workers", str(WORKERS),
            "--ready-file", str(ready_file), *registry.node_options(),
            "--set", f"relay.deadline_ms={DEADLINE_MS}", "--set", "relay.connect_ms=1000",
        )  # fmt: skip
        ready = msgspec.json.decode(await self.child.ready(ready_file))
        self.front.lead_to(f"http://127.0.0.1:{ready['port']}")

    async def restart(self, registry: Registry) -> None:
        """Ends it and starts it again, with the data that it has."""
        assert self.child is not None
        await self.child.end()
        await self.start(registry)

    async def end(self) -> None:
        if self.child is not None:
            await self.child.end()
        await self.front.close()

    async def health(self) -> dict[str, Any]:
        """What it says of itself. Raises `DemoError` unless it answers 200."""
        answer = await self.http.get(f"{self.url}/health")
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"node {self.name} is not well: HTTP {answer.status_code}")
        health: dict[str, Any] = answer.json()
        return health

    async def knows(self, operators: int, parties: int) -> None:
        """Returns once its table holds so many entries. Raises `DemoError` after a while."""
        wanted = (operators, parties)
        await self._until(
            f"{self.url}/health",
            lambda said: (said["registry"]["operators"], said["registry"]["parties"]) == wanted,
            f"node {self.name} does not take the registry",
        )

    @property
    def place(self) -> dict[str, str]:
        """What nodes say of a party that uses this one."""
        return {"url": self.url, "address": self.operator.lower()}

    async def place_of(self, party: str) -> object:
        """What it says of the node of a party: as `place`, or a sentence."""
        answer = await self.http.get(f"{self.url}/ocn/registry/node/{party}")
        return answer.json() if _is_json(answer) else answer.text

    async def places(self, party: str, node: Node) -> None:
        """Returns once it says that a party uses that node. Raises `DemoError` after a while."""
        await self._until(
            f"{self.url}/ocn/registry/node/{party}", lambda said: said == node.place,
            f"node {self.name} does not see {party} at node {node.name}",
        )  # fmt: skip

    async def token(self, party: str) -> str:
        """A registration token, from its admin API."""
        country_code, party_id = party.split("/")
        answer = await self.http.post(
            f"{self.url}/admin/registration-tokens",
            json={"parties": [{"country_code": country_code, "party_id": party_id}]},
            headers={"authorization": f"Token {(self.folder / 'admin.key').read_text().strip()}"},
        )
        if answer.status_code != httpx.codes.CREATED:
            raise DemoError(f"no token for {party}: {answer.text}")
        return str(answer.json()["token"])

    async def _until(self, url: str, condition: Callable[[Any], bool], complaint: str) -> None:
        """Asks again and again, until the answer's JSON is as wanted."""
        try:
            async with asyncio.timeout(START_S):
                while True:
                    answer = await self.http.get(url)
                    if _is_json(answer) and condition(answer.json()):
                        return
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise DemoError(complaint) from None


@dataclass(frozen=True)
class PartyProcess:
    """A running party, and its control API."""

    ready: Ready
    child: Child
    folder: Path
    http: httpx.AsyncClient

    @property
    def name(self) -> str:
        return self.ready.party

    async def do(self, step: str, **wishes: Any) -> tuple[list[Entry], Any]:
        """Has the party perform a step: the calls that it made, and what it says of them."""
        answer = await self.http.post(
            f"{self.ready.url}/_party/do", json={"step": step} | wishes, headers=self._key(), timeout=60
        )
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"{self.name} could not do {step}: {answer.text}")
        said = answer.json()
        return msgspec.convert(said.get("sent", []), list[Entry]), said.get("data")

    async def journal(self, *, wait: float = 0.0, after: int = 0, **filters: str) -> list[Entry]:
        """What the party wrote down itself; waits for the first such entry."""
        query = {"wait": str(wait), "after": str(after)} | filters
        answer = await self.http.get(
            f"{self.ready.url}/_party/journal", params=query, headers=self._key(), timeout=wait + 30
        )
        return msgspec.json.decode(answer.content, type=list[Entry])

    async def count(self) -> int:
        """Number of its latest entry."""
        entries = await self.journal()
        return entries[-1].number if entries else 0

    @property
    def journal_file(self) -> Path:
        return self.folder / "journal.jsonl"

    def _key(self) -> Mapping[str, str]:
        return {"authorization": f"Token {self.ready.control_key}"}


class Network:
    """Nodes, registry and parties. An async context manager: outside of it nothing of them is alive.

    With `cpo_signer`, the URL of another implementation of the notary (see `Sidecar`), the CPO signs and
    verifies there, with the key that lives there. `cpo_without` names modules that the CPO does not offer.
    """

    def __init__(
        self, folder: Path, cast: Cast, *, cpo_without: Sequence[str] = (), cpo_signer: str | None = None
    ) -> None:
        self.folder = folder
        self.cast = cast
        self._cpo_without = cpo_without
        self._cpo_signer = cpo_signer
        self._processes = Processes()
        self._http = httpx.AsyncClient(trust_env=False)
        self.chain = ChainRegistry(folder, self._processes) if len(cast.nodes) > 1 else None
        self.registry: Registry = self.chain or FileRegistry(folder)
        self.nodes: dict[str, Node] = {
            name: Node(name, hub, folder / f"node-{name.lower()}", self._processes, self._http)
            for name, hub in cast.nodes.items()
        }
        self.parties: dict[str, PartyProcess] = {}
        self.homes: dict[str, str] = {member.party: member.node for member in cast.members}
        """Names of the nodes that the parties use, as it is now."""
        self.listed: Sequence[Listed] = ()
        """What came of listing everybody at the start."""
        self._entries: dict[str, PartyEntry] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    def key(self, party: str) -> bytes:
        """The signing key of a party."""
        return bytes.fromhex((self._home(party) / "party.key").read_text())

    async def _start(self) -> None:
        await _together(self.registry.open(), *(node.make() for node in self.nodes.values()))
        entries = [await self._new_party(member) for member in self.cast.members]
        self._entries = {entry.party: entry for entry in entries}
        self.listed = await self.registry.add([node.entry for node in self.nodes.values()], entries)
        await _together(*(node.start(self.registry) for node in self.nodes.values()))
        await _together(*(node.knows(len(self.nodes), len(entries)) for node in self.nodes.values()))
        present = [member for member in self.cast.members if member.present]
        started = await _together(*(self._start_party(member) for member in present))
        self.parties = {party.name: party for party in started}

    async def list_under(self, party: str, node: str) -> Listed:
        """Lists a party anew, under another node; returns once both nodes know. Raises `DemoError`."""
        self._entries[party] = replace(self._entries[party], operator=self.nodes[node].operator)
        (listed,) = await self.registry.add((), (self._entries[party],))
        await _together(*(one.places(party, self.nodes[node]) for one in self.nodes.values()))
        return listed

    async def swap_key(self, node: str) -> None:
        """Starts a node anew with a key that is not listed."""
        write_private(self.nodes[node].folder / "node.key", notary.new_key().hex().encode())
        await self.nodes[node].restart(self.registry)

    async def move(self, party: str, node: str) -> None:
        """Has a party leave its node and register at another one. Raises `DemoError`."""
        token = await self.nodes[node].token(party)
        versions_url = f"{self.nodes[node].url}/ocpi/versions"
        await self.parties[party].do("move", versions_url=versions_url, token=token)
        self.homes[party] = node

    async def go_home(self) -> None:
        """Brings every party back to the node that it had at the start. Raises `DemoError`."""
        for member in self.cast.members:
            if member.present and self.homes[member.party] != member.node:
                await self.list_under(member.party, member.node)
                await self.move(member.party, member.node)

    async def _new_party(self, member: Member) -> PartyEntry:
        """A party with a home and a key of its own, unless that lives with its signer."""
        home = self._home(member.party)
        home.mkdir(mode=0o700)
        operator = self.nodes[member.node].operator
        role = _OCPI_ROLES[member.kind]
        if member.party == CPO and self._cpo_signer is not None:
            sidecar = await Sidecar.connect(self._cpo_signer)
            await sidecar.close()
            return PartyEntry(member.party, role, sidecar.address, None, operator)
        key = notary.new_key()
        file = home / "party.key"
        write_private(file, key.hex().encode())
        return PartyEntry(member.party, role, notary.address_of(key), file, operator)

    async def _start_party(self, member: Member) -> PartyProcess:
        party, node = member.party, self.nodes[member.node]
        token = await node.token(party)
        home = self._home(party)
        without = [part for module in self._cpo_without for part in ("--without", module)]
        signer = ["--key-file", str(home / "party.key")]
        if party == CPO and self._cpo_signer is not None:
            signer = ["--signer-url", self._cpo_signer]
        child = await self._processes.start(
            party, home, "party", member.kind, "--id", party, "--node", f"{node.url}/ocpi/versions",
            "--token-file", "-", *signer, *self.registry.party_options(),
            "--state-file", str(home / "state.json"),
            "--journal-file", str(home / "journal.jsonl"), "--ready-file", str(home / "ready.json"),
            "--delay", str(DELAY_S), "--page-limit", str(PAGE_LIMIT), *(without if party == CPO else []),
            stdin=token,
        )  # fmt: skip
        ready = await child.ready(home / "ready.json")
        return PartyProcess(msgspec.json.decode(ready, type=Ready), child, home, self._http)

    def _home(self, party: str) -> Path:
        return self.folder / party.replace("/", "-").lower()

    async def _end(self) -> None:
        """The parties first, so that they can still say goodbye to a node that answers."""
        await asyncio.gather(*(party.child.end() for party in self.parties.values()))
        await asyncio.gather(*(node.end() for node in self.nodes.values()))
        await self.registry.close()
        await self._processes.end()
        await self._http.aclose()


def _is_json(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("application/json")


async def _together(*work: Any) -> list[Any]:
    """All at once, each to its end. Raises the first error only then: nothing is left half started."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes
