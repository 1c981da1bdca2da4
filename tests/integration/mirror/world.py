"""A chain with the two registry contracts, whoever wrote them, and random life in them.

Only address and interface of v1 are used: call data is made by hand here, apart from the package's own.
"""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode

from ocn_fast import _native
from tools_found import Anvil

GAS = 3_000_000
RICH = hex(10**24)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def call_data(function: str, *values: Any) -> str:
    """Call data of `setNode(string)` and its like."""
    types = function.partition("(")[2][:-1]
    encoded = encode(types.split(",") if types else [], values)
    return "0x" + (_native.keccak256(function.encode())[:4] + encoded).hex()


def account(number: int) -> str:
    """An address without a key, in EIP-55 spelling: Anvil lets us send in its name."""
    return _native.checksum_address(f"0x{0xACC0_0000 + number:040x}")


@dataclass
class World:
    """One chain and its contracts."""

    anvil: Anvil
    registry: str
    permissions: str
    sent: list[Any] = field(default_factory=list)

    @classmethod
    def create(cls, anvil: Anvil, registry: bytes, permissions: bytes) -> World:
        """Deploys contracts from their bytecode; blocks are mined only when told from then on."""
        anvil.call("anvil_setAutomine", False)
        anvil.call("anvil_autoImpersonateAccount", True)
        sender = anvil.call("eth_accounts")[0]

        def deploy(code: bytes) -> str:
            transaction = {"from": sender, "data": "0x" + code.hex(), "gas": hex(20_000_000)}
            identity = anvil.call("eth_sendTransaction", transaction)
            anvil.call("anvil_mine", "0x1")
            receipt = anvil.call("eth_getTransactionReceipt", identity)
            assert receipt["status"] == "0x1"
            return _native.checksum_address(receipt["contractAddress"])

        at = deploy(registry)
        return cls(anvil, at, deploy(permissions + encode(["address"], [at])))

    def do(self, sender: str, function: str, *values: Any) -> None:
        """Adds a call to the next block. One that the contract refuses changes nothing, as on any chain."""
        to = self.permissions if "ervice" in function or "greement" in function else self.registry
        self.sent.append((sender, to, call_data(function, *values)))

    def mine(self, *, require: bool = True) -> None:
        """One block with all that was done since the last one, in this order."""
        senders = sorted({sender for sender, _, _ in self.sent})
        asked: list[tuple[str, list[Any]]] = []
        for sender in senders:
            asked += [("anvil_setBalance", [sender, RICH]), ("eth_getTransactionCount", [sender, "latest"])]
        found = self.batch(asked) if asked else []
        nonces = {sender: int(nonce, 16) for sender, nonce in zip(senders, found[1::2], strict=True)}
        calls: list[tuple[str, list[Any]]] = []
        for sender, to, data in self.sent:
            transaction = {"from": sender, "to": to, "data": data, "gas": hex(GAS), "gasPrice": hex(10**11)}
            calls.append(("eth_sendTransaction", [transaction | {"nonce": hex(nonces[sender])}]))
            nonces[sender] += 1
        sent = len(self.sent)
        self.sent.clear()
        identities = self.batch(calls) if calls else []
        self.anvil.call("anvil_mine", "0x1")
        head = self.anvil.call("eth_getBlockByNumber", "latest", False)
        assert len(head["transactions"]) == sent
        if require and identities:
            receipts = self.batch([("eth_getTransactionReceipt", [identity]) for identity in identities])
            assert all(receipt["status"] == "0x1" for receipt in receipts)

    def blocks(self, number: int) -> None:
        """So many empty blocks."""
        if number:
            self.anvil.call("anvil_mine", hex(number))

    def head(self) -> int:
        """The number of the newest block."""
        return int(self.anvil.call("eth_blockNumber"), 16)

    def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Many calls in one request."""
        body = json.dumps(
            [{"jsonrpc": "2.0", "id": i, "method": m, "params": p} for i, (m, p) in enumerate(calls)]
        ).encode()
        request = urllib.request.Request(self.anvil.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        faults = [one["error"] for one in found if "error" in one]
        assert not faults, faults[:3]
        return [one["result"] for one in found]

    # -- what people do

    def list_node(self, operator: str, domain: str | bytes) -> None:
        self.do(operator, "setNode(string)", domain)

    def list_party(
        self,
        party: str,
        country_code: str | bytes,
        party_id: str | bytes,
        operator: str,
        roles: Sequence[int] = (0,),
    ) -> None:
        codes = [code.encode() if isinstance(code, str) else code for code in (country_code, party_id)]
        self.do(party, "setParty(bytes2,bytes3,uint8[],address)", *codes, list(roles), operator)

    def delete_party(self, party: str) -> None:
        self.do(party, "deleteParty()")


class Life:
    """Random transactions of all kinds by a few dozen people; the contracts refuse what makes no sense."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._operators = [account(number) for number in range(8)]
        self._parties = [account(100 + number) for number in range(40)]
        self._count = 0

    def live(self, transactions: int) -> None:
        """Adds so many transactions to the next block."""
        for _ in range(transactions):
            self._one()

    def _one(self) -> None:
        chance, world = self._random, self._world
        self._count += 1
        operator, party = chance.choice(self._operators), chance.choice(self._parties)
        provider = chance.choice(self._parties[:8])
        actions = (
            (8, lambda: world.list_node(operator, f"https://n{self._count}.example")),
            (4, lambda: world.do(operator, "deleteNode()")),
            (30, lambda: world.list_party(party, *self._id(), operator, self._some(7, 1))),
            (12, lambda: world.do(party, "setPartyModules(uint8[],uint8[])", self._some(7), self._some(7))),
            (8, lambda: world.delete_party(party)),
            (10, lambda: self._service(provider)),
            (4, lambda: world.do(provider, "deleteService()")),
            (14, lambda: world.do(party, "createAgreement(address)", provider)),
            (8, lambda: world.do(party, "revokeAgreement(address)", provider)),
        )
        chance.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()

    def _id(self) -> tuple[str, str]:
        """One of few ids, so that they collide, in any case."""
        country_code = self._random.choice(("DE", "NL", "de"))
        party_id = "".join(self._random.choice("AB" if place else "XYx") for place in range(3))
        return country_code, party_id

    def _some(self, bound: int, least: int = 0) -> list[int]:
        return [self._random.randrange(bound) for _ in range(self._random.randint(least, 3))]

    def _service(self, provider: str) -> None:
        name = self._random.choice(("", f"service {self._count}"))
        permissions = self._random.choice(([0], [3, 5], [1, 2, 99]))
        self._world.do(provider, "setService(string,string,uint256[])", name, "", permissions)
