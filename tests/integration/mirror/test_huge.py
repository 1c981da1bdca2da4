"""A registry with more entries than a view can return and than a node wants to hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from ocn_fast import _native
from ocn_fast.registry import mirror, views

from .place import Place, run
from .proxy import Calls, Raw, run_proxy
from .world import account

REGISTRY = account(1)
OPERATOR = account(2)
FIRST = 0x1_0000_0000
LISTED = 1_200_000
ELEMENTS = {slot: int.from_bytes(_native.keccak256(slot.to_bytes(32, "big")), "big") for slot in (4, 9)}
DETAILS = ["bytes2", "bytes3", "uint8[]", "uint8[]", "uint8[]", "address", "string"]


def address(number: int) -> str:
    return _native.checksum_address(f"0x{FIRST + number:040x}")


class Chain:
    """A chain of our own making, with any number of parties. Its lists need more gas than a call has."""

    def __init__(self) -> None:
        self.block = 100
        self.operators = [OPERATOR]
        self.listed = LISTED
        self.own: dict[str, str] = {}
        """Parties at another operator than all the others."""
        self.logs: list[dict[str, Any]] = []

    def list_party(self, operator: str) -> str:
        """One more, in a block of its own."""
        party = address(self.listed)
        self.listed += 1
        self.block += 1
        self.own[party] = operator
        topics = [views.PARTY_UPDATE, *("0x" + who[2:].lower().rjust(64, "0") for who in (party, operator))]
        place = {"blockNumber": hex(self.block), "blockHash": self._hash(self.block), "logIndex": "0x0"}
        self.logs.append({"address": REGISTRY, "topics": topics, "data": "0x", **place})
        return party

    def answer(self, calls: Calls, _: Any) -> Any:
        found = []
        for call in calls:
            result = self._result(call["method"], call["params"])
            key = "result" if not isinstance(result, dict) or "code" not in result else "error"
            found.append({"jsonrpc": "2.0", "id": call["id"], key: result})
        return found

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return "0x9"
            case "eth_getBlockByNumber":
                return self._head(self.block if params[0] == "latest" else int(params[0], 16))
            case "eth_getBlockByHash":
                return self._head(int(params[0], 16) - 1)
            case "eth_getCode":
                return "0x60" if params[0] == REGISTRY else "0x"
            case "eth_getStorageAt":
                return self._storage(int(params[1], 16))
            case "eth_getLogs":
                wanted = params[0]
                at = int(wanted["blockHash"], 16) - 1 if "blockHash" in wanted else None
                return [log for log in self.logs if at in (None, int(log["blockNumber"], 16))]
        return self._view(params[0]["data"])

    def _head(self, number: int) -> dict[str, Any]:
        parent = self._hash(number - 1)
        return {"number": hex(number), "hash": self._hash(number), "parentHash": parent, "timestamp": "0x5"}

    def _hash(self, number: int) -> str:
        return f"0x{number + 1:064x}"

    def _storage(self, slot: int) -> str:
        if slot in ELEMENTS:
            return f"0x{self.listed if slot == 9 else len(self.operators):064x}"
        if slot >= ELEMENTS[4] and slot - ELEMENTS[4] < len(self.operators):
            return "0x" + self.operators[slot - ELEMENTS[4]][2:].lower().rjust(64, "0")
        return f"0x{FIRST + slot - ELEMENTS[9]:064x}"

    def _view(self, data: str) -> Any:
        selector = data[:10]
        if selector in (views.GET_NODE_OPERATORS, views.GET_PARTIES):
            return {"code": -32000, "message": "out of gas"}
        who = _native.checksum_address("0x" + data[-40:])
        if selector == views.GET_NODE:
            return "0x" + encode(["string"], [f"https://{who}.example"]).hex()
        number = int(who, 16) - FIRST
        if not 0 <= number < self.listed:
            return "0x" + encode(DETAILS, [b"", b"", [], [], [], "0x" + "0" * 40, ""]).hex()
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        party_id = digits[number // 1_296 % 36] + digits[number // 36 % 36] + digits[number % 36]
        codes = b"DE" if number < 40_000 else b"NL", party_id.encode()
        return "0x" + encode(DETAILS, [*codes, [], [], [0], self.own.get(who, OPERATOR), ""]).hex()


class Anvil:
    """What a `Place` needs to know of a chain."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.chain_id = 9


class World:
    """As above, with the contract."""

    def __init__(self, url: str) -> None:
        self.anvil = Anvil(url)
        self.registry = REGISTRY
        self.permissions = None


def test_A108_of_too_many_parties_the_oldest_and_our_own_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain()

    async def story(url: str) -> None:
        async with Place(folder, World(url), registry__parties=300) as place:  # type: ignore[arg-type]
            await place.look()
            assert place.mirror.state.error == ""
            oldest = {address(number) for number in range(300)}
            assert {row[2] for row in place.held()["parties"]} == oldest
            beyond = "newest parties left out (registry.parties)"
            assert place.mirror.state.left_out[beyond] == LISTED - 300
            # A chain of that size costs as little as another one.
            assert place.mirror.state.requests < 20
            strange, ours = chain.list_party(OPERATOR), chain.list_party(place.operator)
            await place.look()
            held = {row[2] for row in place.held()["parties"]}
            assert ours in held
            assert strange not in held
            # It also stays when everything is read anew.
            monkeypatch.setattr(mirror, "COMPARE_S", 0)
            await place.look()
            assert {row[2] for row in place.held()["parties"]} == oldest | {ours}
            assert place.mirror.state.differences == 0
            assert place.mirror.state.brake == 0

    with run_proxy("") as proxy:
        proxy.fault = chain.answer
        run(story(proxy.url))


def test_A105_a_list_that_is_too_long_to_be_sent_is_read_from_storage(folder: Path) -> None:
    chain = Chain()
    chain.listed = 50

    def answer(calls: Calls, forward: Any) -> Any:
        if any(
            call["method"] == "eth_call" and call["params"][0]["data"] == views.GET_PARTIES for call in calls
        ):
            return Raw(200, b"[" + b" " * 100_000)
        return chain.answer(calls, forward)

    async def story(url: str) -> None:
        async with Place(folder, World(url), registry__rpc_bytes=65_536) as place:  # type: ignore[arg-type]
            await place.look()
            assert place.mirror.state.error == ""
            assert len(place.held()["parties"]) == 50

    with run_proxy("") as proxy:
        proxy.fault = answer
        run(story(proxy.url))


def test_REG74_a_record_that_cannot_be_read_is_counted_and_stays_as_it_was(folder: Path) -> None:
    chain = Chain()
    chain.listed = 50
    broken: set[str] = set()

    def answer(calls: Calls, forward: Any) -> Any:
        found = chain.answer(calls, forward)
        for call, one in zip(calls, found, strict=True):
            if call["method"] == "eth_call" and call["params"][0]["data"][:10] == views.GET_PARTY:
                who = _native.checksum_address("0x" + call["params"][0]["data"][-40:])
                if who in broken:
                    one["result"] = "0x" + "ff" * 300
        return found

    async def story(url: str) -> None:
        async with Place(folder, World(url)) as place:  # type: ignore[arg-type]
            broken.update([address(7), address(8)])
            await place.look()
            assert len(place.held()["parties"]) == 48
            assert place.mirror.state.left_out == {"record that cannot be read left out": 2}
            broken.clear()
            broken.add(address(9))
            newest = chain.list_party(OPERATOR)
            await place.look()
            assert place.mirror.state.error == ""
            assert {address(9), newest} <= {row[2] for row in place.held()["parties"]}
            broken.add(newest)
            chain.own[newest] = OPERATOR
            chain.block += 1
            chain.logs.append(
                chain.logs[-1] | {"blockNumber": hex(chain.block), "blockHash": f"0x{chain.block + 1:064x}"}
            )
            await place.look()
            assert newest in {row[2] for row in place.held()["parties"]}

    with run_proxy("") as proxy:
        proxy.fault = answer
        run(story(proxy.url))
