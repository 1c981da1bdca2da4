"""What tests of `ocn-fast registry` share: the command in this process, a chain, and contracts on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ocn_fast import _native
from ocn_fast.cli import app, main
from ocn_fast.registry import contracts, transactions
from tools_found import Anvil

COMMANDS = typer.main.get_command(app)


@dataclass(frozen=True)
class Outcome:
    """Status and output of one command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which has to be one JSON document."""
        return json.loads(self.out)


class Key:
    """A key of a test: its address, and the file that holds it."""

    def __init__(self, folder: Path) -> None:
        self.secret = _native.new_key()
        self.address = _native.address_of(self.secret)
        self.file = folder / f"{self.address}.key"
        self.file.write_text(self.secret.hex())
        self.file.chmod(0o600)


@dataclass
class Deployed:
    """A registry on a chain, whoever wrote it."""

    anvil: Anvil
    registry: str
    permissions: str
    folder: Path
    keys: list[Key] = field(default_factory=list)

    @property
    def options(self) -> list[str]:
        """The options that lead a command there."""
        return [
            *("--rpc", self.anvil.url, "--chain-id", str(self.anvil.chain_id)),
            *("--contract", self.registry, "--permissions-contract", self.permissions),
        ]

    def key(self, *, ether: int = 1) -> Key:
        """A new key, and what it has on the chain."""
        made = Key(self.folder)
        self.anvil.call("anvil_setBalance", made.address, hex(ether * 10**18))
        self.keys.append(made)
        return made

    def nothing_sent(self, *keys: Key) -> bool:
        """Whether none of these keys has ever paid for a transaction."""
        return all(
            self.anvil.call("eth_getTransactionCount", key.address, "pending") == "0x0" for key in keys
        )


class Tool:
    """`ocn-fast registry`, run in this process as in a pipe, against one registry."""

    def __init__(self, deployed: Deployed, capfd: pytest.CaptureFixture[str]) -> None:
        self.deployed = deployed
        self._capfd = capfd

    def run(self, *arguments: object) -> Outcome:
        """A command with all its options. Whatever it says, it never says a key."""
        # What the test itself caused before is not the command's.
        self._capfd.readouterr()
        words = ["registry", *(str(argument) for argument in arguments)]
        with pytest.MonkeyPatch.context() as patch:
            # Built once: hundreds of commands in one process are no way of using it.
            patch.setattr("ocn_fast.cli.app", COMMANDS)
            with pytest.raises(SystemExit) as ended:
                main(words)
        captured = self._capfd.readouterr()
        for key in self.deployed.keys:
            assert key.secret.hex() not in captured.out + captured.err
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    def __call__(
        self, name: str, *arguments: object, by: Key | None = None, pays: Key | None = None
    ) -> Outcome:
        """A command about the registry of this test, signed and paid with key files."""
        keys: list[object] = []
        if by is not None:
            keys += ["--signer-file", by.file]
        if pays is not None:
            keys += ["--spender-file", pays.file]
        return self.run(name, *self.deployed.options, *keys, *arguments)

    def good(self, name: str, *arguments: object, by: Key | None = None, pays: Key | None = None) -> Any:
        """A command that has to succeed and print JSON."""
        outcome = self(name, *arguments, "--json", by=by, pays=pays)
        assert outcome.status == 0, outcome.err
        return outcome.json

    def node(self, url: str = "https://node.example.org") -> Key:
        """An operator with a node."""
        operator = self.deployed.key()
        self.good("set-node", url, by=operator)
        return operator

    def party(self, country: str, party: str, *roles: str, operator: Key) -> Key:
        """A party at a node."""
        key = self.deployed.key()
        self.good(
            "set-party", "-c", country, party, "-r", *(roles or ("CPO",)), "-o", operator.address, by=key
        )
        return key


def our_bytecodes() -> tuple[bytes, bytes]:
    """What creates our Registry and Permissions."""
    return contracts.registry().bytecode, contracts.permissions().bytecode


def published_bytecodes(package: Path) -> tuple[bytes, bytes]:
    """What creates the contracts of the public registry tool."""
    found = json.loads((package / "contract.defs.local.json").read_text())
    registry, permissions = (
        bytes.fromhex(found[name]["bytecode"].removeprefix("0x")) for name in ("Registry", "Permissions")
    )
    return registry, permissions


def deploy(anvil: Anvil, folder: Path, codes: tuple[bytes, bytes]) -> Deployed:
    """Puts both contracts on a chain."""
    made = Deployed(anvil, "", "", folder)
    payer = made.key(ether=10)
    with transactions.connect(anvil.url, anvil.chain_id) as chain:
        registry = chain.send(transactions.deployment("registry", codes[0]), payer.secret)
        made.registry = str(registry.contract)
        call = transactions.deployment("permissions", codes[1], made.registry)
        made.permissions = str(chain.send(call, payer.secret).contract)
    return made
