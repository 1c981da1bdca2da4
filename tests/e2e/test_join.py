"""`ocn-fast join` against a real chain: from nothing to connected, and taken up again wherever it stopped."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import running, until

from ocn_fast import keyfiles
from ocn_fast.cli import main
from ocn_fast.registry import contracts, transactions
from registry_tool import published_bytecodes
from tools_found import Anvil

CONTINUED = 3
Start = Callable[..., Anvil]


class World:
    """A chain with a registry on it, and somebody who can pay."""

    def __init__(self, anvil: Anvil, folder: Path, bytecode: bytes | None = None) -> None:
        self.anvil = anvil
        self.folder = folder
        self.payer = self.key("payer", ether=100)
        with transactions.connect(anvil.url, anvil.chain_id) as chain:
            call = transactions.deployment("registry", bytecode or contracts.registry().bytecode)
            self.contract = str(chain.send(call, keyfiles.read_node_key(self.payer)).contract)

    def key(self, name: str, *, ether: int = 0) -> Path:
        file = self.folder / f"{name}.key"
        address = keyfiles.create_node_key(file)
        if ether:
            self.pay(address, ether)
        return file

    def pay(self, address: str, ether: int) -> None:
        self.anvil.call("anvil_setBalance", address, hex(ether * 10**18))

    @property
    def chain(self) -> list[str]:
        return [
            *("--rpc", self.anvil.url, "--chain-id", str(self.anvil.chain_id)),
            *("--contract", self.contract, "--confirmations", "0"),
        ]

    def node(self, address: str) -> str:
        with transactions.connect(self.anvil.url, self.anvil.chain_id) as chain:
            (domain,) = chain.view(self.contract, "getNode", address)
        return bytes(domain).decode()

    def count(self, address: str) -> int:
        """Transactions that an address has paid for, waiting ones too."""
        return int(self.anvil.call("eth_getTransactionCount", address, "pending"), 16)


@pytest.fixture
def world(start_anvil: Start, tmp_path: Path) -> World:
    return World(start_anvil(), tmp_path)


class Join:
    """The command in this process, as a script runs it with nobody to ask."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: object) -> tuple[int, Any, str]:
        """Status, JSON, notes."""
        with pytest.raises(SystemExit) as ended:
            main(["join", *map(str, arguments), "--json"])
        captured = self._capfd.readouterr()
        return int(ended.value.code or 0), json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture
def join(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Join:
    for name in set(os.environ) - set(_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Join(capfd)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCN_FAST_")}
    return {name: value for name, value in kept.items() if name not in ("SIGNER", "SPENDER")}


def states(document: Any) -> dict[str, str]:
    return {step["step"]: step["state"] for step in document["steps"]}


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def operator(
    world: World, *more: object, folder: str = "node", url: str = "http://127.0.0.1:1"
) -> list[object]:
    who = ["--url", url, "--country-code", "de", "--party-id", "hub", "--dev"]
    return ["operator", world.folder / folder, *who, *world.chain, *more]


@contextmanager
def joined(world: World, join: Join) -> Iterator[tuple[str, Path]]:
    """A node that joined and runs: its URL and its admin key's file."""
    url = free_url()
    status, made, said = join(*operator(world, "--spender-file", world.payer, "--yes", url=url))
    assert status == 0, said
    with running(Path(made["settings"]), f"http.port={url.rpartition(':')[2]}", "registry.poll_s=0.2"):
        yield url, Path(made["settings"]).parent / "admin.key"


def party(world: World, url: str, *more: object, name: str = "DE/CPO", folder: str = "cpo") -> list[object]:
    return ["party", name, world.folder / folder, "--node", url, "--role", "CPO", *world.chain, *more]


# -- Operators


def test_an_operator_joins_and_the_second_run_finds_everything_there(world: World, join: Join) -> None:
    status, made, said = join(*operator(world, "--spender-file", world.payer, "--yes"))
    assert status == 0, said
    assert states(made) == {"node": "done", "list": "done", "run": "next"}
    assert made["state"] == "listed"
    assert world.node(made["address"]) == "http://127.0.0.1:1"
    paid = world.count(keyfiles.address(world.payer))
    # Without any option: what was given is remembered.
    status, again, said = join("operator", world.folder / "node")
    assert (status, states(again)) == (0, {"node": "there", "list": "there", "run": "next"}), said
    assert again["address"] == made["address"]
    assert world.count(keyfiles.address(world.payer)) == paid
    for file in (world.folder / "node").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    key = (world.folder / "node" / "node.key").read_text().strip()
    assert key not in said + json.dumps(made)


def test_without_consent_nothing_is_sent_and_nothing_but_keys_is_made(world: World, join: Join) -> None:
    status, document, said = join(*operator(world, "--spender-file", world.payer))
    assert (status, document["state"]) == (CONTINUED, "waiting")
    assert "--yes" in said
    address = keyfiles.address(world.folder / "node" / "node.key")
    assert (world.node(address), world.count(address)) == ("", 0)
    assert join("operator", world.folder / "node", "--yes")[1]["state"] == "listed"


def test_whoever_cannot_pay_is_told_so_and_goes_on_later(world: World, join: Join) -> None:
    status, document, said = join(*operator(world, "--yes"))
    assert status == CONTINUED
    address = keyfiles.address(world.folder / "node" / "node.key")
    assert f"{address} cannot pay" in said
    assert states(document) == {"node": "done", "wait": "waiting"}
    world.pay(address, 1)
    status, document, said = join("operator", world.folder / "node", "--yes")
    assert (status, states(document)["list"]) == (0, "done"), said


def test_F23_a_transaction_that_was_sent_is_waited_for_and_not_sent_again(world: World, join: Join) -> None:
    """The run that sent it ended before it was in a block."""
    world.anvil.call("evm_setAutomine", False)
    payer = keyfiles.address(world.payer)
    before = world.count(payer)
    command = operator(world, "--spender-file", world.payer, "--yes", "--wait", 1)
    for _ in range(2):
        status, document, said = join(*command)
        assert (status, document["state"]) == (CONTINUED, "waiting"), said
        assert world.count(payer) == before + 1
    world.anvil.call("evm_setAutomine", True)
    world.anvil.call("evm_mine")
    status, document, said = join(*command)
    assert (status, states(document)["list"]) == (0, "there"), said
    assert world.count(payer) == before + 1


def test_REG58_somebody_else_pays_also_where_the_contract_knows_no_typed_data(
    start_anvil: Start, tmp_path: Path, join: Join, ocn_registry: Path
) -> None:
    """The contracts that are published: same functions, but a raw signature is all they read."""
    world = World(start_anvil(), tmp_path, published_bytecodes(ocn_registry)[0])
    status, made, said = join(*operator(world, "--spender-file", world.payer, "--yes"))
    assert (status, made["state"]) == (0, "listed"), said
    assert "raw signature" in said
    assert world.node(made["address"]) == "http://127.0.0.1:1"
    assert world.count(made["address"]) == 0


def test_a_wrong_chain_is_found_before_any_key_is_made(world: World, join: Join) -> None:
    more = ("--chain-id", world.anvil.chain_id + 1)
    status, _, said = join(*operator(world, *more))
    assert status == 1
    assert "wrong chain" in said
    assert not (world.folder / "node" / "node.key").exists()


def test_a_contract_that_is_none_is_found_before_any_key_is_made(world: World, join: Join) -> None:
    status, _, said = join(*operator(world, "--contract", "0x" + "11" * 20))
    assert status == 1
    assert "there is no registry contract" in said
    assert not (world.folder / "node" / "node.key").exists()


def test_at_a_terminal_it_asks_and_shows_what_it_will_do(world: World) -> None:
    words = operator(world, "--spender-file", world.payer)
    refused, said = on_terminal(*words, keys=b"n\n")
    address = keyfiles.address(world.folder / "node" / "node.key")
    assert (refused, world.node(address)) == (CONTINUED, "")
    for text in (f"chain {world.anvil.chain_id}", address, "http://127.0.0.1:1", "pays a fee", "Shall I?"):
        assert text in said
    assert "\x1b[32m" in said, "what is done is green"
    assert on_terminal(*words, keys=b"y\n")[0] == 0
    assert world.node(address) == "http://127.0.0.1:1"


def test_in_a_pipe_it_is_plain(world: World) -> None:
    words = operator(world, "--spender-file", world.payer, "--yes")
    command = [sys.executable, "-m", "ocn_fast", "join", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^\[1/3\] Make the node's settings and keys$", done.stdout, re.MULTILINE)


def test_a_node_moves_to_another_url_with_consent(world: World, join: Join) -> None:
    address = join(*operator(world, "--spender-file", world.payer, "--yes"))[1]["address"]
    settings = world.folder / "node" / "ocn-fast.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:1", "127.0.0.1:2"))
    status, _, said = join("operator", world.folder / "node")
    assert status == CONTINUED
    assert "moves here from http://127.0.0.1:1" in said
    assert world.node(address) == "http://127.0.0.1:1"
    assert join("operator", world.folder / "node", "--yes")[0] == 0
    assert world.node(address) == "http://127.0.0.1:2"


def test_a_node_of_another_registry_is_not_listed(world: World, join: Join) -> None:
    join(*operator(world, "--spender-file", world.payer, "--yes"))
    settings = world.folder / "node" / "ocn-fast.toml"
    settings.write_text(settings.read_text().replace(world.contract, "0x" + "22" * 20))
    status, _, said = join("operator", world.folder / "node", "--yes")
    assert status == 1
    assert f'contract = "{world.contract}"' in said


def test_a_folder_is_of_one_kind(world: World, join: Join) -> None:
    join(*operator(world, "--spender-file", world.payer))
    status, _, said = join(*party(world, "http://127.0.0.1:1", folder="node"))
    assert status == 1
    assert "take another one for a party" in said


# -- Parties


@pytest.mark.timeout(300)
def test_a_party_of_ours_joins_a_running_node_and_is_connected(world: World, join: Join) -> None:
    with joined(world, join) as (url, key):
        # The node runs now: its operator's last step is done.
        assert states(join("operator", world.folder / "node")[1])["run"] == "there"
        ready = world.folder / "ready.json"
        more = (
            "--spender-file",
            world.payer,
            "--admin-key-file",
            key,
            "--yes",
            "--start",
            "--ready-file",
            ready,
        )
        words = [sys.executable, "-m", "ocn_fast", "join", *map(str, party(world, url, *more)), "--json"]
        with (world.folder / "out").open("wb") as out:
            process = subprocess.Popen(words, stdout=out, env=_environment(), stdin=subprocess.DEVNULL)
        try:
            until(lambda: ready.exists() or process.poll() is not None, what="the party")
            assert process.poll() is None
            status, again, said = join("party", "DE/CPO", world.folder / "cpo")
            assert status == 0, said
            assert set(states(again).values()) == {"there"}
            assert again["state"] == "connected"
            platforms = platforms_of(url, key)
            assert [entry["party_id"] for entry in platforms[0]["parties"]] == ["CPO"]
        finally:
            process.terminate()
            process.wait(30)
        first = json.JSONDecoder().raw_decode((world.folder / "out").read_text())[0]
        # The node may have heard of the listing before it was asked.
        assert states(first).pop("known") in ("done", "there")
        assert states(first) | {"known": "done"} == {
            "key": "done",
            "node": "there",
            "list": "done",
            "known": "done",
            "token": "done",
            "connect": "next",
        }


@pytest.mark.timeout(300)
def test_a_party_with_software_of_its_own_is_told_what_to_do(world: World, join: Join) -> None:
    """It does not run the node: the operator gives it the token."""
    with joined(world, join) as (url, key):
        status, document, said = join(*party(world, url, "--spender-file", world.payer, "--yes"))
        assert status == CONTINUED
        assert "ocn-fast platform token DE/CPO" in said
        assert list(states(document)) == ["key", "node", "list", "known", "wait"]
        folder = world.folder / "cpo"
        command = ["platform", "token", "DE/CPO", "--json", "--url", url, "--admin-key-file", str(key)]
        made = subprocess.run(
            [sys.executable, "-m", "ocn_fast", *command], capture_output=True, check=True, env=_environment()
        )
        token = json.loads(made.stdout)["token"]
        keyfiles.create(folder / "token.txt", token + "\n")
        status, document, said = join("party", "DE/CPO", folder)
        assert (status, document["state"]) == (0, "ready"), said
        assert document["versions"] == f"{url}/ocpi/versions"
        assert states(document)["connect"] == "next"
        assert token not in said + json.dumps(document)


def test_a_party_that_somebody_else_lists_is_not_taken(world: World, join: Join) -> None:
    other = world.key("other", ether=1)
    with joined(world, join) as (url, _):
        operator_address = keyfiles.address(world.folder / "node" / "node.key")
        with transactions.connect(world.anvil.url, world.anvil.chain_id) as chain:
            call = transactions.direct(
                world.contract,
                "setParty",
                countryCode=b"DE",
                partyId=b"CPO",
                roles=[0],
                operator=operator_address,
            )
            chain.send(call, keyfiles.read_node_key(other))
        status, _, said = join(*party(world, url, "--yes"))
    assert status == 1
    assert f"listed by somebody else already, {keyfiles.address(other)}" in said


def test_no_node_no_party(world: World, join: Join) -> None:
    status, document, said = join(*party(world, "http://127.0.0.1:1", "--yes"))
    assert (status, document["state"]) == (CONTINUED, "waiting")
    assert "no node answers at http://127.0.0.1:1" in said


@pytest.mark.parametrize("arguments", [["DE/CPO!"], ["DE/CPO", "--role", "KING"]])
def test_what_is_asked_wrongly_is_refused_before_anything_is_made(
    join: Join, arguments: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "party"
    words = [arguments[0], folder, "--node", "http://127.0.0.1:1", *arguments[1:]]
    assert join("party", *words)[0] in (1, 2)
    assert not (folder / "party.key").exists()


def platforms_of(url: str, key: Path) -> list[dict[str, Any]]:
    command = ["platform", "list", "--json", "--url", url, "--admin-key-file", str(key)]
    done = subprocess.run(
        [sys.executable, "-m", "ocn_fast", *command], capture_output=True, check=True, env=_environment()
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def on_terminal(*arguments: object, keys: bytes) -> tuple[int, str]:
    """The command on a pseudo-terminal, with these keys pressed at its question."""
    here, there = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "ocn_fast", "join", *map(str, arguments)],
        stdin=there,
        stdout=there,
        stderr=there,
        env={**_environment(), "TERM": "xterm-256color", "COLUMNS": "200"},
    )
    os.close(there)
    late = threading.Timer(60, child.kill)
    late.start()
    data, pressed = b"", False
    while True:
        try:
            part = os.read(here, 65_536)
        except OSError:  # how Linux says that the other side was closed
            break
        if not part:
            break
        data += part
        if not pressed and b"Shall I?" in data:
            os.write(here, keys)
            pressed = True
    late.cancel()
    os.close(here)
    return child.wait(), data.decode()
