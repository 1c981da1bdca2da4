"""Raw vectors of the existing tools (REG-29, REG-30), and typed data: what A113 asks of the contracts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from in_process import InProcess
from ocn_fast.chain.machine import Machine
from ocn_fast.chain.methods import Methods
from ocn_fast.registry import raw
from ocn_fast.registry.raw import TYPED
from world import GONE, LATER, Actor, World

on_each_chain = pytest.mark.parametrize("chain_name", ["embedded", "anvil"], indirect=True)


def octets(text: str) -> bytes:
    return bytes.fromhex(text[2:])


@pytest.fixture(scope="session")
def document(shared: Path) -> Any:
    return json.loads((shared / "vectors/registry/raw-signatures.json").read_text())


class Cast:
    """The signers of the vectors, who have no ether: whatever they do, `anybody` sends for them."""

    def __init__(self, world: World, document: Any) -> None:
        self.world = world
        vectors = [*document["vectors"], *document["not_accepted"]]
        self.actors = {
            vector["signer_address"].lower(): Actor(octets(vector["signer_private_key"]))
            for vector in vectors
        }

    def node(self, address: str) -> None:
        operator = self.actors[address.lower()]
        params = {"operator": operator.address, "domain": f"https://{operator.address}.example"}
        self.world.done(self.world.raw_call("setNodeRaw", operator, **params), self.world.anybody)

    def party(self, address: str, party_id: bytes) -> None:
        party, operator = self.actors[address.lower()], self.world.a.address
        if not self.world.registry.functions.getNode(operator).call():
            self.world.node(self.world.a)
        ids = {"countryCode": b"XX", "partyId": party_id}
        params = {"party": party.address, **ids, "roles": [0], "operator": operator}
        self.world.done(self.world.raw_call("setPartyRaw", party, **params), self.world.anybody)

    def modules(self, address: str) -> None:
        """Others than any vector sets, so that a change is seen."""
        party = self.actors[address.lower()]
        params = {"party": party.address, "sender": [6], "receiver": [6]}
        self.world.done(self.world.raw_call("setPartyModulesRaw", party, **params), self.world.anybody)

    def service(self, address: str) -> None:
        provider = self.actors[address.lower()]
        params = {"name": "n", "url": "u", "permissions": [7]}
        self.world.done(self.world.raw_call("setServiceRaw", provider, **params), self.world.anybody)

    def agreement(self, user: str, provider: str) -> None:
        params = {"provider": provider}
        call = self.world.raw_call("createAgreementRaw", self.actors[user.lower()], **params)
        self.world.done(call, self.world.anybody)


def prepare(cast: Cast, function: str, signer: str, params: dict[str, Any]) -> None:
    """What must be listed for a vector to be accepted."""
    if function == "deleteNodeRaw":
        cast.node(signer)
    elif function == "setPartyRaw":
        cast.node(params["operator"])
    elif function != "setNodeRaw":
        cast.party(signer, b"USR")
    if function == "setPartyModulesRaw":
        cast.modules(signer)
    elif function == "deleteServiceRaw":
        cast.service(signer)
    elif function.endswith("AgreementRaw"):
        cast.party(params["provider"], b"PRO")
        cast.service(params["provider"])
    if function == "revokeAgreementRaw":
        cast.agreement(signer, params["provider"])


def state(world: World, function: str, signer: str, params: dict[str, Any]) -> Any:
    """What a vector changes, as the views show it."""
    registry, permissions = world.registry.functions, world.permissions.functions
    if "Node" in function:
        return registry.getNode(signer).call()
    if "Party" in function:
        return registry.getPartyDetailsByAddress(signer).call()
    if "Service" in function:
        return permissions.getService(signer).call()[2:]
    provider = world.web3.to_checksum_address(params["provider"])
    return permissions.hasUserAgreementByAddress(signer, provider).call()


def expected(world: World, function: str, params: dict[str, Any]) -> Any:
    match function:
        case "setNodeRaw":
            return params["domain"]
        case "deleteNodeRaw":
            return ""
        case "setPartyRaw":
            operator = params["operator"]
            domain = f"https://{operator}.example"
            ids = [octets(params["countryCode"]), octets(params["partyId"])]
            return [*ids, [], [], params["roles"], operator, domain]
        case "setPartyModulesRaw":
            operator = world.a.address
            domain = world.registry.functions.getNode(operator).call()
            return [b"XX", b"USR", params["sender"], params["receiver"], [0], operator, domain]
        case "deletePartyRaw":
            return GONE
        case "setServiceRaw":
            return [params["name"], params["url"], params["permissions"]]
        case "deleteServiceRaw":
            return ["", "", []]
        case "createAgreementRaw":
            return True
    return False


def test_REG29_every_vector_is_accepted_on_a_fresh_state(world: World, document: Any) -> None:
    """All of them: no argument names another than the signer, so none needs a hole that ours closes."""
    provider = world.web3.provider
    for vector in document["vectors"]:
        snapshot = provider.make_request("evm_snapshot", [])["result"]  # type: ignore[arg-type]
        function, signer, params = vector["function"], vector["signer_address"], vector["params"]
        prepare(Cast(world, document), function, signer, params)
        before = state(world, function, signer, params)
        sent = world.web3.eth.send_transaction({
            "from": world.anybody.address,  # type: ignore[typeddict-item]
            "to": world.own[vector["contract"]].address,
            "data": vector["calldata"],
            "gas": 3_000_000,
        })  # fmt: skip
        receipt = world.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)
        assert receipt["status"] == 1, vector["name"]
        after = state(world, function, signer, params)
        assert after == expected(world, function, params), vector["name"]
        assert after != before, vector["name"]
        assert provider.make_request("evm_revert", [snapshot])["result"] is True  # type: ignore[arg-type]


def test_REG30_what_the_old_library_signs_wrongly_is_refused_and_right_it_is_accepted(
    world: World, document: Any
) -> None:
    (vector,) = document["not_accepted"]
    signer, params = vector["signer_address"], vector["params"]
    Cast(world, document).party(signer, b"PRO")
    wrong = raw.RawSignature(vector["v"], octets(vector["r"]), octets(vector["s"]), b"")
    call = world.permissions.functions.setServiceRaw(*raw.arguments("setServiceRaw", wrong, **params))
    assert call._encode_transaction_data() == vector["calldata"]
    text = "Trying to register a service without party listing in Registry."
    world.refused(call, world.anybody, text)
    right = world.raw_call("setServiceRaw", Actor(octets(vector["signer_private_key"])), **params)
    world.done(right, world.anybody)
    assert world.permissions.functions.getService(signer).call()[2] == params["name"]


# --- typed data ---

RAW_REFUSED = "Raw signatures of this signer are refused since it has signed typed data."
NONCE = "Signature does not carry the next nonce of its signer."
EXPIRED = "Signature has expired."


def case(world: World, function: str) -> tuple[Actor, dict[str, Any]]:
    """A signer and parameters for a typed function, with everything listed that it needs."""
    world.network()
    p, q = world.p.address, world.q.address
    if function == "revokeAgreementTyped":
        world.done(world.permissions.functions.createAgreement(p), world.q)
    cases: dict[str, Callable[[], tuple[Actor, dict[str, Any]]]] = {
        "setNodeTyped": lambda: (world.b, {"operator": world.b.address, "domain": "https://b.example"}),
        "deleteNodeTyped": lambda: (world.a, {"operator": world.a.address}),
        "setPartyTyped": lambda: (
            world.r,
            {
                "party": world.r.address, "countryCode": b"NL", "partyId": b"RRR", "roles": [1, 6],
                "operator": world.a.address,
            },
        ),
        "setPartyModulesTyped": lambda: (world.p, {"party": p, "sender": [0, 3], "receiver": [6]}),
        "deletePartyTyped": lambda: (world.p, {"party": p}),
        "setServiceTyped": lambda: (
            world.q, {"provider": q, "name": "ab", "url": "c", "permissions": [0, 2**255]},
        ),
        "deleteServiceTyped": lambda: (world.p, {"provider": p}),
        "createAgreementTyped": lambda: (world.q, {"user": q, "provider": p}),
        "revokeAgreementTyped": lambda: (world.q, {"user": q, "provider": p}),
    }  # fmt: skip
    return cases[function]()


def seen(world: World, function: str, params: dict[str, Any]) -> Any:
    """What the views show of a typed call."""
    registry, permissions = world.registry.functions, world.permissions.functions
    match function:
        case "setNodeTyped" | "deleteNodeTyped":
            return registry.getNode(params["operator"]).call()
        case "setPartyTyped" | "setPartyModulesTyped" | "deletePartyTyped":
            return registry.getPartyDetailsByAddress(params["party"]).call()
        case "setServiceTyped" | "deleteServiceTyped":
            return permissions.getService(params["provider"]).call()
    return permissions.hasUserAgreementByAddress(params["user"], params["provider"]).call()


RESULTS: dict[str, Callable[[World], Any]] = {
    "setNodeTyped": lambda world: "https://b.example",
    "deleteNodeTyped": lambda world: "",
    "setPartyTyped": lambda world: [
        b"NL", b"RRR", [], [], [1, 6], world.a.address, "https://a.example",
    ],
    "setPartyModulesTyped": lambda world: [
        b"DE", b"PPP", [0, 3], [6], [0], world.a.address, "https://a.example",
    ],
    "deletePartyTyped": lambda world: GONE,
    "setServiceTyped": lambda world: [b"DE", b"QQQ", "ab", "c", [0, 2**255]],
    "deleteServiceTyped": lambda world: [b"DE", b"PPP", "", "", []],
    "createAgreementTyped": lambda world: True,
    "revokeAgreementTyped": lambda world: False,
}  # fmt: skip


def other_signer(function: str) -> str:
    role = TYPED[function][0][0]
    return f"Signer and provided {role} address different."


@on_each_chain
@pytest.mark.parametrize("function", sorted(TYPED))
def test_A113_typed_data_is_accepted_once_and_ends_raw_signatures(world: World, function: str) -> None:
    signer, params = case(world, function)
    contract = world.contract(function)
    call = world.typed_call(function, signer, **params)
    world.done(call, world.anybody)
    assert seen(world, function, params) == RESULTS[function](world)
    assert contract.functions.nonces(signer.address).call() == 1
    world.refused(call, world.anybody, NONCE)

    # Every raw function of this contract refuses the signer now, others go on.
    for name in raw.RAW:
        if world.contract(name) is contract:
            world.would_fail(raw_of(world, name, signer), world.anybody, RAW_REFUSED)
    text = "Cannot delete node that does not exist."
    world.would_fail(raw_of(world, "deleteNodeRaw", world.c), world.anybody, text)


def raw_of(world: World, function: str, signer: Actor) -> Any:
    """Any raw call with the signature of `signer`."""
    values: dict[str, Any] = {
        "address": signer.address,
        "string": "x",
        "bytes2": b"DE",
        "bytes3": b"XYZ",
        "uint8[]": [0],
        "uint256[]": [1],
    }
    return world.raw_call(function, signer, **{name: values[kind] for name, kind in raw.RAW[function]})


@pytest.mark.parametrize("function", sorted(TYPED))
def test_A113_typed_data_is_for_one_chain_one_contract_one_number_and_a_time(
    world: World, function: str
) -> None:
    signer, params = case(world, function)
    contract = world.contract(function)
    other = world.permissions if contract is world.registry else world.registry
    now = world.web3.eth.get_block("latest")["timestamp"]

    def refused(text: str, *, signed: tuple[Any, ...], sent: tuple[int, int] = (0, LATER)) -> None:
        signature = raw.sign_typed(function, signer.key, *signed, **params)
        arguments = raw.typed_arguments(function, signature, *sent, **params)
        world.would_fail(world.function(function, *arguments), world.anybody, text)

    here = (world.chain_id, contract.address)
    refused(other_signer(function), signed=(world.chain_id + 1, contract.address, 0, LATER))
    refused(other_signer(function), signed=(world.chain_id, other.address, 0, LATER))
    refused(other_signer(function), signed=(*here, 0, LATER - 1))
    refused(other_signer(function), signed=(*here, 1, LATER))
    refused(NONCE, signed=(*here, 1, LATER), sent=(1, LATER))
    refused(EXPIRED, signed=(*here, 0, now - 1), sent=(0, now - 1))
    assert contract.functions.nonces(signer.address).call() == 0
    world.done(world.typed_call(function, signer, **params), world.anybody)


@pytest.mark.parametrize("chain_name", ["anvil"], indirect=True)
@pytest.mark.parametrize(("late", "status"), [(0, 1), (1, 0)])
def test_A113_a_deadline_is_the_last_second(world: World, late: int, status: int) -> None:
    params = {"operator": world.a.address, "domain": "https://a.example"}
    deadline = world.web3.eth.get_block("latest")["timestamp"] + 1_000
    limits = (world.chain_id, world.registry.address, 0, deadline)
    signature = raw.sign_typed("setNodeTyped", world.a.key, *limits, **params)
    arguments = raw.typed_arguments("setNodeTyped", signature, 0, deadline, **params)
    world.web3.provider.make_request("evm_setNextBlockTimestamp", [deadline + late])  # type: ignore[arg-type]
    receipt = world.sent(world.registry.functions.setNodeTyped(*arguments), world.anybody)
    assert world.web3.eth.get_block(receipt["blockNumber"])["timestamp"] == deadline + late
    assert receipt["status"] == status


def test_A113_typed_data_of_another_signer_or_with_other_parameters_is_refused(world: World) -> None:
    params = {"operator": world.a.address, "domain": "https://a.example"}
    limits = (world.chain_id, world.registry.address, 0, LATER)
    one = raw.sign_typed("setNodeTyped", world.a.key, *limits, **params)
    high = one._replace(v=55 - one.v, s=(2 * raw.HALF_ORDER + 1 - int.from_bytes(one.s)).to_bytes(32))
    for signature, sent in [
        (one, {**params, "domain": "https://b.example"}),
        (one, {**params, "operator": world.b.address}),
        (one._replace(v=one.v - 27), params),
        (high, params),
    ]:
        arguments = raw.typed_arguments("setNodeTyped", signature, 0, LATER, **sent)
        call = world.registry.functions.setNodeTyped(*arguments)
        world.refused(call, world.anybody, other_signer("setNodeTyped"))
    assert world.registry.functions.getNodeOperators().call() == []


def test_A113_one_typed_function_is_no_other(world: World) -> None:
    """Deleting and agreeing sign the same in raw; here each has its own type."""
    world.network()
    limits = (world.chain_id, world.registry.address, 0, LATER)
    signature = raw.sign_typed("deletePartyTyped", world.p.key, *limits, party=world.p.address)
    arguments = raw.typed_arguments("deleteNodeTyped", signature, 0, LATER, operator=world.p.address)
    call = world.registry.functions.deleteNodeTyped(*arguments)
    world.would_fail(call, world.anybody, other_signer("deleteNodeTyped"))


def test_A113_each_contract_counts_by_itself(world: World) -> None:
    world.network()
    world.done(
        world.typed_call("setPartyModulesTyped", world.p, party=world.p.address, sender=[], receiver=[]),
        world.anybody,
    )
    assert world.registry.functions.nonces(world.p.address).call() == 1
    assert world.permissions.functions.nonces(world.p.address).call() == 0
    world.done(raw_of(world, "setServiceRaw", world.p), world.anybody)
    params = {"provider": world.p.address, "name": "n", "url": "u", "permissions": [1]}
    world.done(world.typed_call("setServiceTyped", world.p, **params), world.anybody)
    world.refused(raw_of(world, "setServiceRaw", world.p), world.anybody, RAW_REFUSED)


@on_each_chain
def test_the_domain_separator_is_the_one_that_signers_use(world: World) -> None:
    for function, contract in (("setNodeTyped", world.registry), ("setServiceTyped", world.permissions)):
        own = raw.domain_separator(function, world.chain_id, contract.address)
        assert contract.functions.DOMAIN_SEPARATOR().call() == own


def test_A113_the_same_contract_on_another_chain_takes_only_what_is_for_that_chain() -> None:
    """At the same address, as whoever deploys first on each chain has it."""
    here, there = (World(Web3(InProcess(Methods(Machine(number, 8))))) for number in (9, 10))
    assert here.registry.address == there.registry.address
    params = {"operator": here.a.address, "domain": "https://a.example"}
    limits = (here.chain_id, here.registry.address, 0, LATER)
    signature = raw.sign_typed("setNodeTyped", here.a.key, *limits, **params)
    arguments = raw.typed_arguments("setNodeTyped", signature, 0, LATER, **params)
    replayed = there.registry.functions.setNodeTyped(*arguments)
    there.refused(replayed, there.anybody, other_signer("setNodeTyped"))
    there.done(there.typed_call("setNodeTyped", there.a, **params), there.anybody)
    here.done(here.registry.functions.setNodeTyped(*arguments), here.anybody)
