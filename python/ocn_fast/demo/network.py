"""The processes of the demo: node, CPO, eMSP and two peers that will fail, each with its own data.

Everything is started by the command line of this package, listens on a port that the system chose, and ends
with the demo, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from ocn_fast import notary
from ocn_fast.errors import OcnError
from ocn_fast.parties.journal import Entry
from ocn_fast.parties.process import Ready
from ocn_fast.parties.signing import Sidecar
from ocn_fast.parties.state import write_private
from ocn_fast.registry import snapshot

START_S = 120.0
STOP_S = 10.0
WORKERS = 2
DEADLINE_MS = 2_500
"""How long the demo's node waits for a receiver: short, because one of them never answers."""
DELAY_S = 0.2
PAGE_LIMIT = 2
HUB = ("DE", "HUB")
CPO, MSP, GONE, HANGS = "DE/CPO", "DE/MSP", "DE/GON", "DE/HNG"
_KINDS = {CPO: "cpo", MSP: "msp", GONE: "cpo", HANGS: "cpo"}
_ROLES = {"cpo": "CPO", "msp": "EMSP"}


class DemoError(OcnError):
    """The demo could not be set up; nothing was proven either way."""


class Child:
    """One process and everything it may leave behind."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Signals the process itself, not its children."""
        # Not by the process object, which would take the exit status away from whoever waits for it.
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self, seconds: float) -> bool:
        """Whether it ended within the time."""
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Asks it to end; kills it, and whatever it started, if it does not or has left something."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        await self.ended(STOP_S)
        with suppress(ProcessLookupError, TimeoutError):
            async with asyncio.timeout(STOP_S):
                while True:  # until there is nobody left in its group, children of children included
                    os.killpg(self.pid, signal.SIGKILL)
                    await asyncio.sleep(0.01)
        await self._process.wait()

    def last_words(self) -> str:
        """The end of its log, for when it failed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])


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
    """The node and its parties. An async context manager: outside of it nothing of them is alive.

    With `cpo_signer`, the URL of another implementation of the notary (see `Sidecar`), the CPO signs and
    verifies there, with the key that lives there.
    """

    def __init__(
        self, folder: Path, *, cpo_without: Sequence[str] = (), cpo_signer: str | None = None
    ) -> None:
        self.folder = folder
        self._cpo_without = cpo_without
        self._cpo_signer = cpo_signer
        self._children: list[Child] = []
        self._http = httpx.AsyncClient(trust_env=False)
        self.url = ""
        self.parties: dict[str, PartyProcess] = {}

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

    @property
    def node_folder(self) -> Path:
        return self.folder / "node"

    def key(self, party: str) -> bytes:
        """The signing key of a party."""
        return bytes.fromhex((self._home(party) / "party.key").read_text())

    async def _start(self) -> None:
        config = self.node_folder / "ocn-fast.toml"
        await self._command(
            "init", str(self.node_folder), "--dev", "--url", "http://127.0.0.1:0",
            "--country-code", HUB[0], "--party-id", HUB[1],
        )  # fmt: skip
        operator_key = bytes.fromhex((self.node_folder / "node.key").read_text().strip())
        operator = notary.address_of(operator_key)
        registry = self._sign_registry(operator_key, 0, "", ())
        node = await self._spawn(
            "node", self.node_folder, "serve", "--dev", "--config", str(config), "--port", "0",
            "--workers", str(WORKERS), "--ready-file", str(self.node_folder / "ready.json"),
            "--set", f"registry.file={registry}", "--set", f"registry.file_signers={operator}",
            "--set", "registry.poll_s=1",
            "--set", f"relay.deadline_ms={DEADLINE_MS}", "--set", "relay.connect_ms=1000",
        )  # fmt: skip
        ready = await self._ready(node, self.node_folder / "ready.json")
        self.url = str(msgspec.json.decode(ready)["url"]).rstrip("/")
        # A registry names nodes by their URL, and this one's was unknown before: the next block has it.
        self._sign_registry(operator_key, 1, self.url, await self._new_parties(operator))
        await self._registry_known(block=1)
        started = await asyncio.gather(
            *(self._start_party(party, registry, operator) for party in _KINDS), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, BaseException):
                raise outcome
            self.parties[outcome.name] = outcome

    async def _new_parties(self, operator: str) -> list[snapshot.Party]:
        """Every party of the story with a new key of its own, all under our operator."""
        parties = []
        for party, kind in _KINDS.items():
            self._home(party).mkdir(mode=0o700)
            address = await self._make_key(party)
            country_code, party_id = party.split("/")
            parties.append(snapshot.Party(country_code, party_id, address, operator, (_ROLES[kind],)))
        return parties

    def _sign_registry(self, key: bytes, block: int, domain: str, parties: Sequence[snapshot.Party]) -> Path:
        """The registry of this network, signed by its one operator."""
        content = snapshot.Snapshot(
            network="demo",
            chain_id=0,
            contract=None,
            block=block,
            block_hash=None,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            operators=(snapshot.Operator(notary.address_of(key), domain),),
            parties=tuple(parties),
        )
        file = self.folder / "registry.snapshot"
        snapshot.write(file, snapshot.sign(content, key))
        return file

    async def _registry_known(self, block: int) -> None:
        """Returns once the node's table holds that block."""
        try:
            async with asyncio.timeout(START_S):
                while True:
                    if await self._block() == block:
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoError("the node does not take the registry") from None

    async def _block(self) -> object:
        health: dict[str, Any] = (await self._http.get(f"{self.url}/health")).json()
        return health["registry"]["block"]

    async def _new_token(self, party: str) -> str:
        """A registration token, from the node's admin API."""
        country_code, party_id = party.split("/")
        answer = await self._http.post(
            f"{self.url}/admin/registration-tokens",
            json={"parties": [{"country_code": country_code, "party_id": party_id}]},
            headers={"authorization": f"Token {(self.node_folder / 'admin.key').read_text().strip()}"},
        )
        if answer.status_code != httpx.codes.CREATED:
            raise DemoError(f"no token for {party}: {answer.text}")
        return str(answer.json()["token"])

    async def _make_key(self, party: str) -> str:
        """The address of a party, whose key is new or lives with its signer."""
        if party == CPO and self._cpo_signer is not None:
            sidecar = await Sidecar.connect(self._cpo_signer)
            await sidecar.close()
            return sidecar.address
        key = notary.new_key()
        write_private(self._home(party) / "party.key", key.hex().encode())
        return notary.address_of(key)

    async def _start_party(self, party: str, registry: Path, operator: str) -> PartyProcess:
        token = await self._new_token(party)
        home = self._home(party)
        without = [part for module in self._cpo_without for part in ("--without", module)]
        signer = ["--key-file", str(home / "party.key")]
        if party == CPO and self._cpo_signer is not None:
            signer = ["--signer-url", self._cpo_signer]
        child = await self._spawn(
            party, home, "party", _KINDS[party], "--id", party, "--node", f"{self.url}/ocpi/versions",
            "--token-file", "-", *signer, "--registry", str(registry),
            "--registry-signer", operator, "--state-file", str(home / "state.json"),
            "--journal-file", str(home / "journal.jsonl"), "--ready-file", str(home / "ready.json"),
            "--delay", str(DELAY_S), "--page-limit", str(PAGE_LIMIT), *(without if party == CPO else []),
            stdin=token,
        )  # fmt: skip
        ready = await self._ready(child, home / "ready.json")
        return PartyProcess(msgspec.json.decode(ready, type=Ready), child, home, self._http)

    def _home(self, party: str) -> Path:
        return self.folder / party.replace("/", "-").lower()

    async def _spawn(self, name: str, home: Path, *arguments: str, stdin: str = "") -> Child:
        log = home / "log.txt"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ocn_fast", *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=out, stderr=out, cwd=home,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        child = Child(name, process, log)
        self._children.append(child)
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        return child

    async def _command(self, *arguments: str) -> bytes:
        """Runs one command of this package to its end. Raises `DemoError` if it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ocn_fast", *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=_end_with_parent,
        )  # fmt: skip
        try:
            out, errors = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise DemoError(f"ocn-fast {arguments[0]} failed: {errors.decode(errors='replace').strip()}")
        return out

    async def _ready(self, child: Child, file: Path) -> bytes:
        """The ready file of a process. Raises `DemoError` if it ends first or takes too long."""
        try:
            async with asyncio.timeout(START_S):
                while (content := _content(file)) is None:
                    if not child.running:
                        raise DemoError(f"{child.name} did not start: {child.last_words()}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise DemoError(
                f"{child.name} was not ready within {START_S:.0f} s: {child.last_words()}"
            ) from None
        return content

    async def _end(self) -> None:
        """The parties first, so that they can still say goodbye to a node that answers."""
        node, parties = self._children[:1], self._children[1:]
        await asyncio.gather(*(child.end() for child in parties))
        await asyncio.gather(*(child.end() for child in node))
        await self._http.aclose()


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """A demo that is killed cannot end its children: on Linux the kernel does it.

    It kills them: one of them is stopped on purpose and would never see a request to end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
