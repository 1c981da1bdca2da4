"""The interface of our contracts holds all of v1's, in every detail that a caller sees (REG-27, REG-28)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from web3 import Web3

from ocn_fast.registry import contracts, raw
from ocn_fast.registry.contracts import Artifact

OURS = {"Registry": contracts.registry(), "Permissions": contracts.permissions()}


def vectors(shared: Path, name: str) -> Any:
    return json.loads((shared / "vectors/registry" / name).read_text())


def seen_by_callers(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of an interface without what only the compiler says."""

    def plain(parameter: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in parameter.items() if key != "internalType"}

    lists = {key: [plain(one) for one in entry[key]] for key in ("inputs", "outputs") if key in entry}
    kept = {key: entry[key] for key in ("type", "name", "stateMutability", "anonymous") if key in entry}
    return kept | lists


@pytest.mark.parametrize("name", ["Registry", "Permissions"])
def test_REG27_names_types_order_and_mutability_are_those_of_v1(shared: Path, name: str) -> None:
    ours = [seen_by_callers(entry) for entry in OURS[name].abi]
    theirs = vectors(shared, f"v1-{name.lower()}.abi.json")
    for entry in theirs:
        assert seen_by_callers(entry) in ours, entry.get("name")


@pytest.mark.parametrize("name", ["Registry", "Permissions"])
def test_REG27_selectors_and_topics_are_those_of_v1(shared: Path, name: str) -> None:
    ours: dict[str, str] = {}
    for entry in OURS[name].abi:
        if entry["type"] == "function":
            ours["0x" + function_abi_to_4byte_selector(entry).hex()] = entry["name"]  # type: ignore[arg-type]
        elif entry["type"] == "event":
            ours["0x" + event_abi_to_log_topic(entry).hex()] = entry["name"]  # type: ignore[arg-type]
    listed = [entry for entry in vectors(shared, "selectors.json") if entry["contract"] == f"v1 {name}"]
    assert listed
    for entry in listed:
        identifier = entry.get("selector") or entry["topic0"]
        assert ours[identifier] == entry["signature"].partition("(")[0]


def test_REG28_calls_of_all_vectors_are_encoded_as_the_existing_tools_do(shared: Path) -> None:
    for vector in vectors(shared, "raw-signatures.json")["vectors"]:
        artifact: Artifact = OURS[vector["contract"]]
        params = {
            name: bytes.fromhex(value[2:]) if name in ("countryCode", "partyId") else value
            for name, value in vector["params"].items()
        }
        signature = raw.sign_raw(
            vector["function"], bytes.fromhex(vector["signer_private_key"][2:]), **params
        )
        arguments = raw.arguments(vector["function"], signature, **params)
        contract = Web3().eth.contract(abi=artifact.abi)
        assert contract.encode_abi(vector["function"], arguments) == vector["calldata"], vector["name"]


def test_every_raw_function_has_a_typed_one_with_the_signer_first() -> None:
    abi = {entry.get("name"): entry for artifact in OURS.values() for entry in artifact.abi}
    assert sorted(raw.RAW) == sorted(name for name in abi if name and name.endswith("Raw"))
    assert sorted(raw.TYPED) == sorted(name.replace("Raw", "Typed") for name in raw.RAW)
    for functions, tail in ((raw.RAW, ["v", "r", "s"]), (raw.TYPED, ["consent"])):
        for function, fields in functions.items():
            names = [one["name"] for one in abi[function]["inputs"]]
            assert names == [*(name for name, _ in fields), *tail]
