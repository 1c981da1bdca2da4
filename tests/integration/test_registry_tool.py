"""`ocn-fast registry` on a chain, against our contracts and against those that are published (REG-56..62)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocn_fast import keeper, keyfiles, store
from ocn_fast.cli import init
from ocn_fast.config import Settings
from ocn_fast.errors import RpcError, TransactionError
from ocn_fast.registry import networks, raw, transactions
from registry_tool import COMMANDS, Deployed, Key, Tool, deploy, our_bytecodes, published_bytecodes
from tools_found import run_anvil

NODE = "https://node.example.org"
NOBODY = "0x" + "11" * 20

OURS = pytest.mark.parametrize("registries", ["ours"], indirect=True)
"""For what does not depend on who wrote the contracts."""


@pytest.fixture(scope="module", params=["ours", "published"])
def registries(
    request: pytest.FixtureRequest, anvil_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    """A chain with the contracts of ours, then one with those of the published package."""
    if request.param == "ours":
        codes = our_bytecodes()
    else:
        codes = published_bytecodes(request.getfixturevalue("ocn_registry"))
    with run_anvil(anvil_program) as anvil:
        yield deploy(anvil, tmp_path_factory.mktemp("keys"), codes)


@pytest.fixture
def deployed(registries: Deployed) -> Iterator[Deployed]:
    """The contracts as they were deployed: what a test changes is undone."""
    before = registries.anvil.call("evm_snapshot")
    yield registries
    registries.anvil.call("evm_revert", before)


@pytest.fixture
def registry(
    deployed: Deployed, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tool:
    """The command, in a folder without settings."""
    for name in [*os.environ]:
        if name.startswith("OCN_FAST_") or name in ("SIGNER", "SPENDER"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Tool(deployed, capfd)


def reads_typed_data(deployed: Deployed) -> bool:
    """Whether the contracts know typed data, which only ours do."""
    code: str = deployed.anvil.call("eth_getCode", deployed.registry, "latest")
    return transactions._selector("nonces", "address").hex() in code


# -- Nodes


def test_REG56_a_node_is_listed_shown_and_removed(registry: Tool, deployed: Deployed) -> None:
    operator = deployed.key()
    sent = registry.good("set-node", NODE, by=operator)
    assert sent["signer"] == sent["sender"] == operator.address
    (transaction,) = sent["transactions"]
    receipt = deployed.anvil.call("eth_getTransactionReceipt", transaction["transaction"])
    assert int(receipt["blockNumber"], 16) == transaction["block"]
    assert registry("get-node", operator.address).out == f"{NODE}\n"
    assert registry.good("list-nodes") == [{"operator": operator.address, "url": NODE}]
    registry.good("delete-node", by=operator)
    gone = registry("get-node", operator.address)
    assert (gone.status, gone.out.count("\n")) == (0, 1)
    assert registry.good("get-node", operator.address) is None
    assert registry.good("list-nodes") == []


def test_REG56_a_listed_node_moves_only_with_replace(registry: Tool, deployed: Deployed) -> None:
    operator = registry.node()
    again = registry("set-node", "https://other.example.org", by=operator)
    assert again.status == 1
    assert "--replace" in again.err
    assert registry("get-node", operator.address).out == f"{NODE}\n"
    same = registry(
        "set-node",
        NODE,
        by=operator,
    )
    assert same.status == 0
    assert "nothing was sent" in same.err
    moved = registry.good("set-node", "https://other.example.org", "--replace", by=operator)
    assert [item["function"] for item in moved["transactions"]] == ["deleteNode", "setNode"]
    assert registry("get-node", operator.address).out == "https://other.example.org\n"
    back = registry.good("set-node", NODE, "--replace", by=operator)
    assert len(back["transactions"]) == 2


def test_replacing_a_node_deletes_nothing_if_the_new_url_is_another_operators(registry: Tool) -> None:
    operator = registry.node()
    registry.node("https://taken.example.org")
    refused = registry("set-node", "https://taken.example.org", "--replace", by=operator)
    assert refused.status == 1
    assert "Domain name already registered." in refused.err
    assert registry("get-node", operator.address).out == f"{NODE}\n"


@OURS
def test_a_node_that_is_unlisted_half_way_is_told_so(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = registry.node()
    real = transactions.Chain.send

    def send(chain: transactions.Chain, call: transactions.Call, *given: Any, **named: Any) -> Any:
        if call.function == "setNode":
            raise RpcError("transport", "the endpoint cannot be asked")
        return real(chain, call, *given, **named)

    monkeypatch.setattr(transactions.Chain, "send", send)
    broken = registry("set-node", "https://other.example.org", "--replace", by=operator)
    assert (broken.status, "the node is unlisted now" in broken.err) == (1, True)
    monkeypatch.undo()
    assert registry.good("set-node", "https://other.example.org", by=operator)["transactions"] != []


def test_REG58_raw_signs_the_url_that_it_sends(registry: Tool, deployed: Deployed) -> None:
    signer, spender = deployed.key(ether=0), deployed.key()
    sent = registry("set-node-raw", "https://Node.Example.org:443/x?y", "--json", by=signer, pays=spender)
    assert sent.status == 0, sent.err
    assert NODE in sent.err, "a person should see that the URL was changed"
    assert sent.json["signer"] == signer.address
    assert sent.json["sender"] == spender.address
    assert registry("get-node", signer.address).out == f"{NODE}\n"


@OURS
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://Node.Example.org:443/x?y", NODE),
        ("http://node.example.org:80", "http://node.example.org"),
        ("http://node.example.org:8080/", "http://node.example.org:8080"),
        ("https://KNÖTEN.example/", "https://xn--knten-kua.example"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
    ],
)
def test_REG58_spelling_of_urls(registry: Tool, given: str, stored: str) -> None:
    assert registry.good("set-node", given, by=registry.deployed.key())["domain"] == stored


@OURS
def test_a_path_is_kept_if_asked_for(registry: Tool) -> None:
    sent = registry.good("set-node", "https://Example.org/ocn/", "--keep-path", by=registry.deployed.key())
    assert sent["domain"] == "https://example.org/ocn"


# -- Parties


def test_REG57_parties_as_json(registry: Tool) -> None:
    operator = registry.node()
    party = registry.party("DE", "CPO", "CPO", "HUB", operator=operator)
    registry.good("set-party-modules", "--si", "cdrs", "tokens", "--ri", "commands", by=party)
    entry = {
        "countryCode": "DE",
        "partyId": "CPO",
        "address": party.address,
        "roles": ["CPO", "HUB"],
        "modules": {"sender": ["cdrs", "tokens"], "receiver": ["commands"]},
        "node": {"operator": operator.address, "url": NODE},
    }
    assert registry("get-party", "-c", "DE", "CPO").json == entry
    assert registry("get-party", "-a", party.address.lower()).json == entry
    assert registry("list-parties").json == [entry]
    overview = registry.good("list")
    assert overview["parties"] == [entry]
    assert registry("list").out.startswith("DE/CPO\tCPO HUB\t")
    shown = registry.good("show", "DE/CPO")
    assert (shown["address"], shown["party"], shown["node"]) == (party.address, entry, None)
    assert registry.good("show")["parties"] == 1
    assert registry("show", "DE/XXX").out == "DE/XXX is not listed.\n"
    registry.good("delete-party", by=party)
    gone = registry("get-party", "-c", "DE", "CPO")
    assert (gone.status, gone.out.count("\n")) == (0, 1)
    assert registry("list-parties").json == []


@pytest.mark.parametrize("party_id", ["123", "1E3", "0X1"])
def test_REG59_ids_are_text_in_capitals(registry: Tool, party_id: str) -> None:
    operator = registry.node()
    party = registry.party("de", party_id.lower(), operator=operator)
    entry = registry("get-party", "-a", party.address).json
    assert (entry["countryCode"], entry["partyId"]) == ("DE", party_id)
    assert registry("get-party", "-c", "De", party_id).json == entry


def test_REG59_roles_are_taken_once_and_in_order(registry: Tool) -> None:
    operator = registry.node()
    party = registry.party("DE", "CPO", "HUB", "CPO", "HUB", "EMSP", operator=operator)
    assert registry("get-party", "-a", party.address).json["roles"] == ["HUB", "CPO", "EMSP"]


def test_a_changed_party_is_told_that_its_modules_are_gone(registry: Tool) -> None:
    operator = registry.node()
    party = registry.party("DE", "CPO", operator=operator)
    registry.good("set-modules", "--sender-interface", "cdrs", by=party)
    again = registry("set-party", "-c", "DE", "CPO", "-r", "CPO", "-o", operator.address, by=party)
    assert "modules were cleared" in again.err
    assert registry("get-party", "-a", party.address).json["modules"] == {"sender": [], "receiver": []}


def test_a_stale_id_leads_to_nobody(registry: Tool) -> None:
    operator = registry.node()
    party = registry.party("DE", "OLD", operator=operator)
    registry.good("set-party", "-c", "DE", "NEW", "-r", "CPO", "-o", operator.address, by=party)
    assert registry("get-party", "-c", "DE", "NEW").json["address"] == party.address
    assert registry.good("get-party", "-c", "DE", "OLD") is None


@pytest.mark.parametrize("way", ["raw", "typed"])
def test_signer_and_spender_apart(registry: Tool, deployed: Deployed, way: str) -> None:
    spender = deployed.key()

    def good(name: str, *arguments: object, by: Key) -> Any:
        if way == "raw":
            return registry.good(f"{name}-raw", *arguments, by=by, pays=spender)
        return registry.good(name, "--typed", *arguments, by=by, pays=spender)

    if way == "typed" and not reads_typed_data(deployed):
        signer = deployed.key()
        refused = registry("set-node", NODE, "--typed", by=signer, pays=spender)
        assert (refused.status, "reads no typed data" in refused.err) == (1, True)
        assert deployed.nothing_sent(signer, spender)
        return
    operator, party, other = (deployed.key(ether=0) for _ in range(3))
    good("set-node", NODE, by=operator)
    for key, name in ((party, "CPO"), (other, "MSP")):
        good("set-party", "-c", "DE", name, "-r", "CPO", "-o", operator.address, by=key)
    good("set-party-modules", "--si", "cdrs", "--ri", "tokens", "tariffs", by=party)
    assert registry("get-party", "-c", "DE", "CPO").json["modules"] == {
        "sender": ["cdrs"],
        "receiver": ["tokens", "tariffs"],
    }
    good("set-service", "-p", "FORWARD_ALL", "--name", "2020", "-u", "https://x.example", by=other)
    assert registry("get-service", other.address).json["name"] == "2020"
    accepted = ["--accept-replay"] if way == "raw" else []
    good("set-agreement", other.address, *accepted, by=party)
    assert [entry["provider"]["partyId"] for entry in registry("get-agreements", "-c", "DE", "CPO").json] == [
        "MSP"
    ]
    good("revoke-agreement", other.address, *accepted, by=party)
    assert registry("get-agreements", "-a", party.address).json == []
    good("delete-service", by=other)
    assert registry.good("get-service", other.address) is None
    good("delete-party", by=party)
    good("delete-node", by=operator)
    assert registry.good("get-party", "-c", "DE", "CPO") is None
    assert registry("list-nodes").json == []


# -- Services and agreements


def test_REG57_services_as_json(registry: Tool) -> None:
    operator = registry.node()
    provider = registry.party("DE", "SVC", operator=operator)
    user = registry.party("DE", "CPO", operator=operator)
    registry.good("set-service", "-p", "FORWARD_MODULE_CDRS_SENDER", "FORWARD_ALL", by=provider)
    entry = {
        "name": "",
        "url": "",
        "permissions": ["FORWARD_MODULE_CDRS_SENDER", "FORWARD_ALL"],
        "provider": {"address": provider.address, "countryCode": "DE", "partyId": "SVC"},
    }
    assert registry("get-service", provider.address).json == entry
    registry.good("delete-service", by=provider)
    registry.good("set-service", "-p", "FORWARD_MODULE_CDRS_SENDER", "FORWARD_ALL", by=provider)
    assert registry("list-services").json == [entry], "listed twice by the contract, shown once"
    for _ in range(2):
        registry.good("set-agreement", provider.address, by=user)
        assert registry("get-agreements", "-c", "DE", "CPO").json == [entry]
        registry.good("revoke-agreement", provider.address, by=user)
        assert registry("get-agreements", "-c", "DE", "CPO").json == []


def test_REG62_revoke_agreement_raw_works(registry: Tool, deployed: Deployed) -> None:
    operator, spender = registry.node(), deployed.key()
    provider = registry.party("DE", "SVC", operator=operator)
    user = registry.party("DE", "CPO", operator=operator)
    registry.good("set-service", "-p", "FORWARD_ALL", by=provider)
    registry.good("set-agreement", provider.address, by=user)
    registry.good("revoke-agreement-raw", provider.address, "--accept-replay", by=user, pays=spender)
    assert registry("get-agreements", "-a", user.address).json == []


# -- What is not sent


@pytest.mark.parametrize("name", ["set-agreement-raw", "revoke-agreement-raw", "set-party-modules-raw"])
def test_A113_signatures_that_anybody_can_turn_into_deletions_need_consent(
    registry: Tool, deployed: Deployed, name: str
) -> None:
    signer, spender = deployed.key(), deployed.key()
    arguments = [] if name == "set-party-modules-raw" else [NOBODY]
    refused = registry(name, *arguments, by=signer, pays=spender)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "--accept-replay" in refused.err
    assert deployed.nothing_sent(signer, spender)


def test_A113_a_raw_signature_is_warned_of_once(registry: Tool, deployed: Deployed) -> None:
    signer, spender = deployed.key(), deployed.key()
    listed = registry("set-node-raw", NODE, by=signer, pays=spender)
    assert listed.err.count("anybody can send it again") + listed.err.count("can send it again") == 1
    moved = registry("set-node-raw", "https://b.example.org", "--replace", by=signer, pays=spender)
    assert moved.status == 0
    assert moved.err.count("can send it again") == 1
    assert "can send it again" not in registry("delete-node", by=signer).err


def test_REG32_v_is_27_or_28() -> None:
    seen = {
        raw.sign_raw("setNodeRaw", key, operator=keyfiles.address_of(key), domain=NODE).v
        for key in (bytes([number]) * 32 for number in range(1, 40))
    }
    assert seen == {27, 28}


@OURS
def test_REG32_a_signature_that_counts_as_somebody_elses_is_not_sent(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, spender, other = deployed.key(), deployed.key(), deployed.key()
    real = raw.sign_raw

    def sign(function: str, _: bytes, **params: Any) -> raw.RawSignature:
        return real(function, other.secret, **{**params, "operator": other.address})

    monkeypatch.setattr(raw, "sign_raw", sign)
    refused = registry("set-node-raw", NODE, by=signer, pays=spender)
    assert (refused.status, "not sent" in refused.err) == (1, True)
    assert deployed.nothing_sent(signer, spender, other)
    assert registry("list-nodes").json == []


@OURS
def test_REG32_a_v_of_another_convention_is_not_sent(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, spender = deployed.key(), deployed.key()
    real = raw.sign_raw
    monkeypatch.setattr(
        raw, "sign_raw", lambda *given, **named: (found := real(*given, **named))._replace(v=found.v - 27)
    )
    refused = registry("set-node-raw", NODE, by=signer, pays=spender)
    assert (refused.status, "27 or 28" in refused.err) == (1, True)
    assert deployed.nothing_sent(signer, spender)


def test_A113_no_key_is_read_on_a_wrong_chain(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, spender = deployed.key(), deployed.key()

    def read(path: object) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(keyfiles, "read", read)
    keys = ("-s", signer.file, "-x", spender.file)
    where = ("--rpc", deployed.anvil.url, "--contract", deployed.registry)
    for name in ("set-node", "set-node-raw"):
        refused = registry.run(name, *where, "--chain-id", 246, *keys, NODE)
        assert (refused.status, refused.err.count("\n")) == (1, 1)
        assert "serves chain 9, expected is chain 246" in refused.err
        unsaid = registry.run(name, *where, *keys, NODE)
        assert "--chain-id" in unsaid.err
    refused = registry.run("deploy", "--rpc", deployed.anvil.url, "--chain-id", 246, "-s", signer.file)
    assert "expected is chain 246" in refused.err
    nowhere = registry.run("set-node", *where[:2], "--contract", NOBODY, "--chain-id", 9, *keys, NODE)
    assert "there is no registry contract" in nowhere.err


BAD: dict[str, tuple[list[object], str]] = {
    "length of country": (["set-party", "-c", "DEU", "CPO", "-r", "CPO", "-o", NOBODY], "'DEU'"),
    "length of party": (["set-party", "-c", "DE", "CPOX", "-r", "CPO", "-o", NOBODY], "'CPOX'"),
    "role": (["set-party", "-c", "DE", "CPO", "-r", "CPU", "-o", NOBODY], "CPU"),
    "module": (["set-party-modules", "--si", "cdr"], "cdr"),
    "permission": (["set-service", "-p", "ALL"], "ALL"),
    "address": (["set-party", "-c", "DE", "CPO", "-r", "CPO", "-o", "0x12"], "'0x12'"),
    "zero address": (["set-party", "-c", "DE", "CPO", "-r", "CPO", "-o", "0x" + "0" * 40], "zero"),
    "checksum": (["set-agreement", "0x9bC1169Ca09555bf2721A5C9eC6D69c8073bfeb4"], "checksum"),
    "url": (["set-node", "node.example.org"], "DOMAIN"),
    "scheme": (["set-node", "ftp://node.example.org"], "DOMAIN"),
    "user": (["set-node", "https://me:secret@node.example.org"], "user"),
    "network": (["set-node", "--network", "testnet", NODE], "testnet"),
    "contract": (["set-node", "--contract", "0x12", NODE], "'0x12'"),
    "both or neither": (["get-party"], "--credentials"),
}


@OURS
@pytest.mark.parametrize("case", BAD)
def test_REG60_bad_input_is_one_line_and_nothing_is_sent(
    registry: Tool, deployed: Deployed, case: str
) -> None:
    (name, *arguments), word = BAD[case]
    signer = deployed.key()
    refused = registry(str(name), *arguments, by=None if str(name).startswith("get") else signer)
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1), refused.err
    assert word in refused.err
    assert deployed.nothing_sent(signer)


@OURS
def test_REG60_a_missing_key_is_one_line(registry: Tool, deployed: Deployed) -> None:
    refused = registry("set-party-modules", "--si", "cdrs")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "SIGNER" in refused.err
    signer = deployed.key()
    refused = registry("set-node-raw", NODE, by=signer)
    assert "SPENDER" in refused.err
    refused = registry("set-party-modules", "--si", "cdrs", "-s", deployed.folder / "none.key")
    assert (refused.status, refused.err.count("\n")) == (1, 1)


@OURS
@pytest.mark.parametrize("text", ["zz" * 32, "12", "", "0x" + "00" * 32])
def test_REG60_what_is_no_key_is_not_repeated(
    registry: Tool, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SIGNER", text)
    refused = registry("delete-party")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert not text or text not in refused.err


def test_REG60_refusals_of_the_contract_come_before_anything_is_sent(
    registry: Tool, deployed: Deployed
) -> None:
    party = deployed.key()
    refused = registry("set-party", "-c", "DE", "CPO", "-r", "CPO", "-o", NOBODY, by=party)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "Provided operator not registered." in refused.err
    assert deployed.nothing_sent(party)


@OURS
def test_who_cannot_pay_is_told_so(registry: Tool, deployed: Deployed) -> None:
    poor = deployed.key(ether=0)
    refused = registry("set-node", NODE, by=poor)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "cannot pay" in refused.err or "funds" in refused.err.lower()


def test_a_number_that_the_contract_does_not_know_is_refused_in_words(
    registry: Tool, deployed: Deployed
) -> None:
    operator, party = registry.node(), deployed.key()
    with transactions.connect(deployed.anvil.url, deployed.anvil.chain_id) as chain:
        call = transactions.direct(
            deployed.registry, "setParty",
            countryCode=b"DE", partyId=b"CPO", roles=[7], operator=operator.address,
        )  # fmt: skip
        with pytest.raises(TransactionError, match=r"none of those that it knows|no reason") as refused:
            chain.send(call, party.secret)
    assert refused.value.sent == "no"
    assert deployed.nothing_sent(party)


# -- Keys


@OURS
def test_REG61_a_file_counts_more_than_the_environment(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, said, payer = deployed.key(), deployed.key(), deployed.key()
    monkeypatch.setenv("SIGNER", said.secret.hex())
    monkeypatch.setenv("SPENDER", "0x" + payer.secret.hex())
    assert registry.good("set-node", NODE)["signer"] == said.address
    listed = registry("set-node-raw", "https://b.example.org", "--json", by=named)
    assert (listed.json["signer"], listed.json["sender"]) == (named.address, payer.address)
    assert "SIGNER is set too" in listed.err


@OURS
def test_REG61_a_key_on_the_command_line_is_refused_and_not_repeated(
    registry: Tool, deployed: Deployed
) -> None:
    key = deployed.key()
    for text in (key.secret.hex(), "0x" + key.secret.hex()):
        refused = registry("set-node", "-s", text, NODE)
        assert (refused.status, refused.err.count("\n")) == (1, 1)
        assert "name of a file" in refused.err
    assert deployed.nothing_sent(key)


@OURS
def test_I05_a_secret_in_the_url_of_an_endpoint_is_not_shown(
    registry: Tool, deployed: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "rpc"
    file.write_text(deployed.anvil.url + "/?key=marker-secret-0123456789\n")
    file.chmod(0o600)
    where = ("--rpc-file", file, "--contract", deployed.registry)
    shown = registry.run("show", *where, "--json")
    refused = registry.run("show", *where, "--chain-id", 246)
    dead = tmp_path / "dead"
    dead.write_text("http://127.0.0.1:1/?key=marker-secret-0123456789\n")
    dead.chmod(0o600)
    unreachable = registry.run("show", "--rpc-file", dead, "--contract", deployed.registry)
    assert (shown.status, refused.status, unreachable.status) == (0, 1, 1)
    for outcome in (shown, refused, unreachable):
        assert "marker-secret" not in outcome.out + outcome.err


@OURS
def test_published_keys_sign_nothing_outside_of_development(
    registry: Tool, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "DEVELOPMENT_CHAINS", frozenset())
    monkeypatch.setenv("SIGNER", "c87509a1c067bbde78beb793e6fa76530b6382a4c0241e5e4a9ec0a0f44dc0d3")
    refused = registry("set-node", NODE)
    assert (refused.status, "published key" in refused.err) == (1, True)
    assert registry("list-nodes").json == []


# -- The settings of a node


@pytest.fixture
def node_settings(registry: Tool, deployed: Deployed, tmp_path: Path) -> Path:
    """A node that follows this registry: its settings file, and a key that can pay."""
    made = init.write_node(tmp_path / "node", url=f"{NODE}/ocn", country_code="DE", party_id="HUB")
    with made.settings.open("a") as stream:
        stream.write(
            f'[registry]\nrpc = ["http://127.0.0.1:1", "{deployed.anvil.url}"]\n'
            f'chain_id = {deployed.anvil.chain_id}\ncontract = "{deployed.registry}"\n'
            f'permissions = "{deployed.permissions}"\n'
        )
    deployed.anvil.call("anvil_setBalance", made.address, hex(10**18))
    return made.settings


@OURS
def test_a_node_lists_itself_by_its_settings(registry: Tool, node_settings: Path) -> None:
    operator = keyfiles.address(node_settings.with_name("node.key"))
    listed = registry.run("set-node", "-c", node_settings, "--json")
    assert listed.status == 0, listed.err
    assert (listed.json["signer"], listed.json["domain"]) == (operator, f"{NODE}/ocn")
    assert registry.run("get-node", "-c", node_settings, operator).out == f"{NODE}/ocn\n"
    assert registry.run("list-services", "-c", node_settings).json == []
    party = registry.deployed.key()
    refused = registry.run("delete-party", "-c", node_settings)
    assert "no key to sign with" in refused.err, "the node's key is for the node's entry only"
    where = ("--config", node_settings, "-s", party.file)
    registry.run("set-party", *where, "-c", "DE", "CPO", "-r", "CPO", "-o", operator)
    exported = registry.run(
        "export", "-c", node_settings, "-o", node_settings.with_name("exported"), "--json"
    )
    assert (exported.json["signatory"], exported.json["parties"]) == (operator, 1)


@OURS
def test_options_are_stronger_than_settings(registry: Tool, node_settings: Path) -> None:
    wrong = registry.run("set-node", "-c", node_settings, "--chain-id", 246)
    assert "expected is chain 246" in wrong.err
    other = registry.run("show", "-c", node_settings, "--contract", NOBODY)
    assert (other.status, NOBODY in other.err) == (1, True)


@OURS
def test_resync_needs_a_node_that_has_read_a_chain(registry: Tool, node_settings: Path) -> None:
    store.migrate(Settings.load(node_settings).store.url)
    refused = registry.run("resync", "-c", node_settings)
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert "has read no chain yet" in refused.err


@OURS
def test_resync_has_everything_read_anew(registry: Tool, node_settings: Path) -> None:
    settings = Settings.load(node_settings)

    def asked() -> int:
        with contextlib.closing(sqlite3.connect(settings.store.url.partition(":///")[2])) as database:
            found: int = database.execute("SELECT resync FROM registry_mirror").fetchone()[0]
            return found

    asyncio.run(keeper.prepare(settings))
    assert asked() == 0
    assert registry.run("resync", "-c", node_settings, "--json").json == {"asked": True}
    assert asked() == 1

    async def follow_until_done() -> None:
        stop = asyncio.Event()
        following = asyncio.create_task(keeper.run(settings, stop))
        async with asyncio.timeout(60):
            while asked():  # noqa: ASYNC110 - it is the database that changes
                await asyncio.sleep(0.02)
        stop.set()
        await following

    asyncio.run(follow_until_done())


# -- Export, and a registry of one's own


def test_export_writes_what_verify_takes(registry: Tool, deployed: Deployed, tmp_path: Path) -> None:
    operator, signer = registry.node(), deployed.key()
    party = registry.party("DE", "CPO", operator=operator)
    registry.good("set-party-modules", "--ri", "tokens", by=party)
    file = tmp_path / "registry.snapshot"
    made = registry.good("export", "-o", file, "--key-file", signer.file)
    assert (made["parties"], made["operators"], made["signatory"]) == (1, 1, signer.address)
    assert made["block"] == int(deployed.anvil.call("eth_blockNumber"), 16)
    assert made["contract"] == deployed.registry
    assert registry.run("verify", file, "--signer", signer.address).status == 0
    assert registry.run("verify", file, "--signer", operator.address).status == 1
    shown = registry.run("snapshot", "show", file, "--parties", "--json").json
    (entry,) = shown["parties"]
    assert (entry["party_id"], entry["operator"], entry["modules"]) == (
        "CPO",
        operator.address,
        ["receiver/tokens"],
    )


@OURS
def test_deploy_makes_a_registry_of_ones_own(registry: Tool, deployed: Deployed) -> None:
    payer = deployed.key(ether=10)
    chain = ("--rpc", deployed.anvil.url, "--chain-id", deployed.anvil.chain_id)
    made = registry.run("deploy", *chain, "-s", payer.file, "--json").json
    where = (*chain, "--contract", made["contract"], "--permissions-contract", made["permissions"])
    listed = registry.run("set-node", *where, "-s", payer.file, NODE, "--json")
    assert listed.json["contract"] == made["contract"] != deployed.registry
    assert registry.run("list-services", *where).json == []


# -- The command line of older tools

OLD = {
    "get-node": set(),
    "list-nodes": set(),
    "set-node": set(),
    "delete-node": set(),
    "get-party": {"-a", "--address", "-c", "--credentials"},
    "list-parties": set(),
    "set-party": {"-c", "--credentials", "-r", "--roles", "-o", "--operator"},
    "set-party-modules": {"--sender-interface", "--si", "--receiver-interface", "--ri"},
    "set-modules": {"--sender-interface", "--si", "--receiver-interface", "--ri"},
    "delete-party": set(),
    "get-service": set(),
    "list-services": set(),
    "set-service": {"--name", "-u", "--url", "-p", "--permissions"},
    "delete-service": set(),
    "get-agreements": {"-a", "--address", "-c", "--credentials"},
    "set-agreement": set(),
    "revoke-agreement": set(),
}
EVERYWHERE = {"--network", "--net", "-n", "--network-file", "--net-file", "--nf"}


def test_REG56_every_command_and_option_of_the_older_tool_is_there() -> None:
    commands: Any = COMMANDS.commands["registry"].commands  # type: ignore[attr-defined]
    for name, options in OLD.items():
        writes = name.startswith(("set", "delete", "revoke"))
        for variant in (name, f"{name}-raw") if writes else (name,):
            known = {option for param in commands[variant].params for option in param.opts}
            wanted = options | EVERYWHERE | ({"-s", "-x"} if writes else set())
            assert wanted <= known, variant


def test_REG56_a_network_file_of_older_tools_leads_to_the_same_registry(
    registry: Tool, deployed: Deployed, tmp_path: Path
) -> None:
    operator = registry.node()
    host, _, port = deployed.anvil.url.removeprefix("http://").partition(":")
    file = tmp_path / "network.json"
    provider = {"protocol": "http", "host": host, "port": int(port), "network_id": "9", "gas": 1}
    address = {"Registry": {"address": deployed.registry, "abi": []}}
    file.write_text(json.dumps({"provider": provider, "contracts": address}))
    assert registry.run("get-node", "--nf", file, operator.address).out == f"{NODE}\n"
    file.write_text(json.dumps({"provider": {**provider, "network_id": "x"}}))
    refused = registry.run("get-node", "--nf", file, operator.address)
    assert (refused.status, refused.err.count("\n")) == (1, 1)


# -- On a terminal


@OURS
def test_progress_is_shown_on_a_terminal_and_results_stay_clean(registry: Tool, deployed: Deployed) -> None:
    signer = deployed.key()
    here, there = pty.openpty()
    command = [sys.executable, "-m", "ocn_fast", "registry", "set-node", *deployed.options]
    with subprocess.Popen(
        [*command, "-s", str(signer.file), NODE, "--json"],
        stdout=subprocess.PIPE,
        stderr=there,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"},
    ) as child:
        os.close(there)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side was closed
            while part := os.read(here, 65_536):
                shown += part
        assert child.stdout is not None
        out = child.stdout.read()
    assert child.wait() == 0, shown.decode()
    sent = json.loads(out)
    os.close(here)
    (transaction,) = sent["transactions"]
    assert f"counts: {transaction['transaction']} in block {transaction['block']}" in shown.decode()
    assert signer.secret.hex() not in shown.decode()


# -- Networks


def test_networks_are_those_that_are_published(shared: Path) -> None:
    listed = json.loads((shared / "vectors/registry/networks.json").read_text())["networks"]
    known = {entry["name"]: entry for entry in listed if entry["generation"] == "v1"}
    assert set(networks.NETWORKS) == set(known)
    for network in networks.NETWORKS.values():
        entry = known[network.name]
        assert (network.chain_id, list(network.rpc)) == (entry["chain_id"], entry["rpc"])
        assert (network.registry, network.permissions) == (entry["registry"], entry["permissions"])
