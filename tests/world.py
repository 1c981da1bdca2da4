"""Our contracts on some chain, with the accounts of its mnemonic, and how tests call them."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from ocn_fast.registry import contracts, raw
from ocn_fast.registry.contracts import Artifact
from tools_found import MNEMONIC

GAS = 3_000_000
LATER = 2**63
"""A deadline that no test sees pass."""

ZERO = "0x" + "00" * 20
ORDER = 2 * raw.HALF_ORDER + 1


class Actor:
    """An account: its address, and its key."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.address: str = Account.from_key(key).address


def _accounts() -> list[Actor]:
    Account.enable_unaudited_hdwallet_features()
    paths = [f"m/44'/60'/0'/0/{index}" for index in range(8)]
    return [Actor(bytes(Account.from_mnemonic(MNEMONIC, account_path=path).key)) for path in paths]


class World:
    """A Registry and Permissions on one chain. `owner` has deployed them; `anybody` has ether and no part."""

    def __init__(self, web3: Web3) -> None:
        self.web3 = web3
        self.chain_id: int = web3.eth.chain_id
        self.owner, self.anybody, self.a, self.b, self.c, self.p, self.q, self.r = _accounts()
        self.registry = self.deploy(contracts.registry())
        self.permissions = self.deploy(contracts.permissions(), self.registry.address)
        self.own: dict[str, Any] = {"Registry": self.registry, "Permissions": self.permissions}

    def deploy(self, artifact: Artifact, *arguments: Any) -> Any:
        """A new contract."""
        factory = self.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        sent = factory.constructor(*arguments).transact({"from": self.owner.address, "gas": 2 * GAS})
        return factory(self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["contractAddress"])

    def contract(self, function: str) -> Any:
        """The contract that has a raw or a typed function."""
        in_permissions = "Service" in function or "Agreement" in function
        return self.permissions if in_permissions else self.registry

    def function(self, name: str, *arguments: Any) -> Any:
        """A call of either contract, by the function's name."""
        return self.contract(name).functions[name](*arguments)

    def sent(self, call: Any, sender: Actor) -> Any:
        """Sends, whatever becomes of it; returns the receipt."""
        sent = call.transact({"from": sender.address, "gas": GAS})
        return self.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)

    def done(self, call: Any, sender: Actor) -> Any:
        """Sends what must succeed; returns the receipt."""
        receipt = self.sent(call, sender)
        assert receipt["status"] == 1, call.fn_name
        return receipt

    def refused(self, call: Any, sender: Actor, text: str | None) -> None:
        """The call must fail with exactly this text (None: without any), also when it is sent anyway."""
        self.would_fail(call, sender, text)
        assert self.sent(call, sender)["status"] == 0

    def would_fail(self, call: Any, sender: Actor, text: str | None) -> None:
        """As `refused`, but nothing is sent."""
        with pytest.raises((ContractLogicError, Web3RPCError)) as failed:
            call.call({"from": sender.address, "gas": GAS})
        if text is None:
            assert "08c379a0" not in str(failed.value)
        else:
            assert isinstance(failed.value, ContractLogicError)
            assert failed.value.message == f"execution reverted: {text}"

    def raw_call(self, function: str, signer: Actor, **params: Any) -> Any:
        """A call of a raw function with the signature of `signer`."""
        signature = raw.sign_raw(function, signer.key, **params)
        return self.function(function, *raw.arguments(function, signature, **params))

    def typed_call(self, function: str, signer: Actor, **params: Any) -> Any:
        """A call of a typed function with the signature of `signer`, as it should be."""
        contract = self.contract(function)
        nonce: int = contract.functions.nonces(signer.address).call()
        limits = (self.chain_id, contract.address, nonce, LATER)
        signature = raw.sign_typed(function, signer.key, *limits, **params)
        return self.function(function, *raw.typed_arguments(function, signature, nonce, LATER, **params))

    def events(self, contract: Any, receipt: Any) -> list[tuple[str, dict[str, Any]]]:
        """Names and fields of all events that a transaction has emitted."""
        names = [one["name"] for one in contract.abi if one["type"] == "event"]
        by_topic = {contract.events[name]().topic: name for name in names}
        found = []
        for entry in receipt["logs"]:
            assert entry["address"] == contract.address
            name = by_topic[entry["topics"][0].to_0x_hex()]
            found.append((name, dict(contract.events[name]().process_log(entry)["args"])))
        return found

    # --- what many tests start from ---

    def node(self, operator: Actor, domain: str | None = None) -> str:
        """Lists a node; returns its domain."""
        domain = domain or f"https://{secrets.token_hex(4)}.example"
        self.done(self.registry.functions.setNode(domain), operator)
        return domain

    def party(self, party: Actor, party_id: str, operator: Actor, roles: tuple[int, ...] = (0,)) -> None:
        """Lists a party with country code DE."""
        call = self.registry.functions.setParty(b"DE", party_id.encode(), list(roles), operator.address)
        self.done(call, party)

    def offer(self, provider: Actor, *permissions: int) -> None:
        """Lists a service."""
        call = self.permissions.functions.setService("name", "https://service.example", list(permissions))
        self.done(call, provider)

    def network(self) -> None:
        """A node of `a`, the parties `p` (DE/PPP) and `q` (DE/QQQ) on it, and a service of `p`."""
        self.node(self.a, "https://a.example")
        self.party(self.p, "PPP", self.a)
        self.party(self.q, "QQQ", self.a)
        self.offer(self.p, 1)


GONE = [b"\0\0", b"\0\0\0", [], [], [], ZERO, ""]
"""Details by address of a party that is not listed."""

GONE_BY_ID = [ZERO, [], [], [], ZERO, ""]
"""The same by id."""
