"""`ocn-fast registry apply`: many entries in one go; again without effect; nothing of a wrong file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry_tool import Deployed, Key, Tool, deploy, our_bytecodes
from tools_found import run_anvil

NODE = "https://node.example.org"


@pytest.fixture
def deployed(anvil_program: str, tmp_path: Path) -> Iterator[Deployed]:
    (tmp_path / "keys").mkdir()
    with run_anvil(anvil_program) as anvil:
        yield deploy(anvil, tmp_path / "keys", our_bytecodes())


@pytest.fixture
def registry(
    deployed: Deployed, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tool:
    for name in [*os.environ]:
        if name.startswith("OCN_FAST_") or name in ("SIGNER", "SPENDER"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Tool(deployed, capfd)


def plan(node: Key, owner: Key, **changes: Any) -> dict[str, Any]:
    """A node with one party."""
    entry = {"party": "DE/CPO", "roles": ["CPO", "EMSP"], "operator": node.address} | changes
    return {
        "nodes": [{"url": NODE, "key_file": str(node.file)}],
        "parties": [entry | {"key_file": str(owner.file)}],
    }


def test_what_is_listed_so_already_is_left_alone(registry: Tool, deployed: Deployed, tmp_path: Path) -> None:
    operator, party, payer = deployed.key(ether=0), deployed.key(ether=0), deployed.key()
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan(operator, party)))
    done = registry.good("apply", file, pays=payer)["entries"]
    assert [(entry["name"], entry["signer"], entry["sender"]) for entry in done] == [
        (NODE, operator.address, payer.address),
        ("DE/CPO", party.address, payer.address),
    ]
    assert [sent["function"] for entry in done for sent in entry["transactions"]] == [
        "setNodeTyped",
        "setPartyTyped",
    ]
    listed = registry.good("list-parties")
    again = registry.good("apply", file, pays=payer)["entries"]
    assert [entry["transactions"] for entry in again] == [[], []]
    file.write_text(json.dumps(plan(operator, party, roles=["CPO"])))
    changed = registry.good("apply", file, pays=payer)["entries"]
    assert [len(entry["transactions"]) for entry in changed] == [0, 1]
    assert registry.good("list-parties") != listed


@pytest.mark.parametrize(
    "changes", [{"roles": ["KING"]}, {"party": "DECPO"}, {"operator": "0x12"}, {"surprise": True}]
)
def test_a_file_that_is_wrong_anywhere_changes_nothing(
    registry: Tool, deployed: Deployed, tmp_path: Path, changes: dict[str, Any]
) -> None:
    operator, party, payer = deployed.key(), deployed.key(), deployed.key()
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan(operator, party, **changes)))
    outcome = registry("apply", file, pays=payer)
    assert outcome.status == 1
    assert outcome.err.startswith("ocn-fast: ")
    assert deployed.nothing_sent(operator, party, payer)


def test_a_node_that_would_have_to_be_deleted_first_is_refused(
    registry: Tool, deployed: Deployed, tmp_path: Path
) -> None:
    operator = registry.node("https://old.example.org")
    party, payer = deployed.key(), deployed.key()
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan(operator, party)))
    outcome = registry("apply", file, pays=payer)
    assert outcome.status == 1
    assert "--replace" in outcome.err
    assert deployed.nothing_sent(party, payer)
