"""Registry: nodes and parties (REG-01 to REG-26), and where ours differs from v1."""

from __future__ import annotations

import pytest
from web3 import Web3

from ocn_fast.registry import raw
from world import GONE, GONE_BY_ID, ORDER, ZERO, World

on_each_chain = pytest.mark.parametrize("chain_name", ["embedded", "anvil"], indirect=True)

TAKEN = "Domain name already registered."
NO_NODE = "Cannot delete node that does not exist."
NO_PARTY = "Cannot delete party that does not exist. No operator found for given party."
NOT_OWNER = "Ownable: caller is not the owner"
OTHER_OPERATOR = "Signer and provided operator address different."
OTHER_PARTY = "Signer and provided party address different."


@on_each_chain
def test_REG01_a_node_is_listed(world: World) -> None:
    call = world.registry.functions
    receipt = world.done(call.setNode("https://one.example"), world.a)
    assert call.getNode(world.a.address).call() == "https://one.example"
    assert call.getNodeOperators().call() == [world.a.address]
    expected = {"operator": world.a.address, "domain": "https://one.example"}
    assert world.events(world.registry, receipt) == [("OperatorUpdate", expected)]


@on_each_chain
def test_REG02_a_raw_signature_lists_its_signer_whoever_sends_it(world: World) -> None:
    call = world.registry.functions
    params = {"operator": world.a.address, "domain": "https://one.example"}
    world.done(world.raw_call("setNodeRaw", world.a, **params), world.anybody)
    assert call.getNode(world.a.address).call() == "https://one.example"
    assert call.getNodeOperators().call() == [world.a.address]


def test_REG03_a_new_domain_replaces_the_old_one(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    new = world.node(world.a)
    assert call.getNode(world.a.address).call() == new
    assert call.getNodeOperators().call() == [world.a.address]


@on_each_chain
def test_REG04_a_domain_belongs_to_one_operator(world: World) -> None:
    call = world.registry.functions
    domain = world.node(world.a)
    world.refused(call.setNode(domain), world.b, TAKEN)
    assert call.getNode(world.a.address).call() == domain
    assert call.getNode(world.b.address).call() == ""
    assert call.getNodeOperators().call() == [world.a.address]
    # Byte for byte: a variant is another domain (Q8).
    world.node(world.b, domain + "/")


def test_REG05_the_own_current_domain_is_refused_too(world: World) -> None:
    domain = world.node(world.a)
    world.refused(world.registry.functions.setNode(domain), world.a, TAKEN)


def test_REG06_an_empty_domain_is_refused(world: World) -> None:
    text = "Cannot set empty domain name. Use deleteNode method instead."
    world.refused(world.registry.functions.setNode(""), world.a, text)


@on_each_chain
def test_REG07_a_node_is_deleted_once(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    receipt = world.done(call.deleteNode(), world.a)
    assert call.getNode(world.a.address).call() == ""
    expected = {"operator": world.a.address, "domain": ""}
    assert world.events(world.registry, receipt) == [("OperatorUpdate", expected)]
    world.refused(call.deleteNode(), world.a, NO_NODE)


def test_REG08_a_raw_signature_deletes_its_signers_node(world: World) -> None:
    world.node(world.a)
    world.done(world.raw_call("deleteNodeRaw", world.a, operator=world.a.address), world.anybody)
    assert world.registry.functions.getNode(world.a.address).call() == ""


def test_REG09_a_deleted_domain_is_free_for_others(world: World) -> None:
    domain = world.node(world.a)
    world.done(world.registry.functions.deleteNode(), world.a)
    world.node(world.b, domain)


def test_REG09_Q2_also_a_domain_that_was_changed_is_free(world: World) -> None:
    """In v1 nobody can ever have it again, not even the operator itself."""
    call = world.registry.functions
    old = world.node(world.a, "https://old.example")
    new = world.node(world.a, "https://new.example")
    world.node(world.a, old)
    world.node(world.b, new)
    assert [call.getNode(one.address).call() for one in (world.a, world.b)] == [old, new]
    # And taken all the same while somebody has it.
    world.refused(call.setNode(new), world.c, TAKEN)
    world.refused(call.setNode(old), world.c, TAKEN)


def test_REG10_only_the_owner_removes_the_nodes_of_others(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.refused(call.adminDeleteOperator(world.a.address), world.a, NOT_OWNER)
    world.done(call.adminDeleteOperator(world.a.address), world.owner)
    assert call.getNode(world.a.address).call() == ""
    world.refused(call.adminDeleteOperator(world.a.address), world.owner, NO_NODE)


def test_REG10_the_owner_hands_the_contract_over_or_gives_it_up(world: World) -> None:
    call = world.registry.functions
    assert call.owner().call() == world.owner.address
    assert call.isOwner().call({"from": world.owner.address}) is True
    assert call.isOwner().call({"from": world.a.address}) is False
    world.refused(call.transferOwnership(world.a.address), world.a, NOT_OWNER)
    world.refused(call.renounceOwnership(), world.a, NOT_OWNER)
    zero = "Ownable: new owner is the zero address"
    world.refused(call.transferOwnership(ZERO), world.owner, zero)
    receipt = world.done(call.transferOwnership(world.a.address), world.owner)
    expected = {"previousOwner": world.owner.address, "newOwner": world.a.address}
    assert world.events(world.registry, receipt) == [("OwnershipTransferred", expected)]
    world.refused(call.renounceOwnership(), world.owner, NOT_OWNER)
    world.done(call.renounceOwnership(), world.a)
    assert call.owner().call() == ZERO
    world.refused(call.adminDeleteOperator(world.a.address), world.a, NOT_OWNER)


def test_REG11_operators_come_in_the_order_of_listing(world: World) -> None:
    call = world.registry.functions
    operators = [world.c, world.a, world.b]
    domains = [world.node(one) for one in operators]
    assert call.getNodeOperators().call() == [one.address for one in operators]
    assert [call.getNode(one.address).call() for one in operators] == domains


def test_REG12_who_lists_again_keeps_its_old_place(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.node(world.b)
    world.done(call.deleteNode(), world.a)
    world.node(world.a)
    assert call.getNodeOperators().call() == [world.a.address, world.b.address]


@on_each_chain
def test_REG13_a_party_is_listed(world: World) -> None:
    call = world.registry.functions
    domain = world.node(world.a)
    receipt = world.done(call.setParty(b"DE", b"CPO", [0, 2], world.a.address), world.p)
    by_address = [b"DE", b"CPO", [], [], [0, 2], world.a.address, domain]
    by_id = [world.p.address, [0, 2], [], [], world.a.address, domain]
    assert call.getPartyDetailsByAddress(world.p.address).call() == by_address
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call() == by_id
    assert call.getOperatorByAddress(world.p.address).call() == [world.a.address, domain]
    assert call.getOperatorByOcpi(b"DE", b"CPO").call() == [world.a.address, domain]
    assert call.getParties().call() == [world.p.address]
    expected = {
        "countryCode": b"DE",
        "partyId": b"CPO",
        "partyAddress": world.p.address,
        "roles": [0, 2],
        "modulesSender": [],
        "modulesReceiver": [],
        "operatorAddress": world.a.address,
    }
    assert world.events(world.registry, receipt) == [("PartyUpdate", expected)]
    # Ids are bytes: another case is another party (Q9).
    assert call.getPartyDetailsByOcpi(b"de", b"cpo").call() == GONE_BY_ID


def test_REG14_a_party_moves_to_another_operator(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    domain = world.node(world.b)
    world.party(world.p, "CPO", world.a)
    world.party(world.p, "CPO", world.b)
    assert call.getOperatorByOcpi(b"DE", b"CPO").call() == [world.b.address, domain]
    assert call.getOperatorByAddress(world.p.address).call() == [world.b.address, domain]
    assert call.getParties().call() == [world.p.address]


@on_each_chain
def test_REG15_an_id_belongs_to_one_party(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    text = "Party with country_code/party_id already registered under different address."
    world.refused(call.setParty(b"DE", b"CPO", [1], world.a.address), world.q, text)
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call()[0] == world.p.address
    assert call.getPartyDetailsByAddress(world.q.address).call() == GONE


@on_each_chain
def test_REG16_requirements_are_checked_in_order(world: World) -> None:
    """Each call breaks one requirement less than the one before."""
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    stranger = world.c.address
    for arguments, text in [
        ((b"\0\0", b"\0\0\0", [], ZERO), "Cannot set empty country_code. Use deleteParty method instead."),
        ((b"DE", b"\0\0\0", [], ZERO), "Cannot set empty party_id. Use deleteParty method instead."),
        ((b"DE", b"CPO", [], ZERO), "No roles provided."),
        ((b"DE", b"CPO", [0], ZERO), "Cannot set empty operator. Use deleteParty method instead."),
        (
            (b"DE", b"CPO", [0], stranger),
            "Party with country_code/party_id already registered under different address.",
        ),
        ((b"DE", b"EMP", [0], stranger), "Provided operator not registered."),
    ]:
        world.refused(call.setParty(*arguments), world.q, text)
    assert call.getParties().call() == [world.p.address]


@on_each_chain
def test_REG17_a_raw_signature_lists_its_signers_party_and_no_other(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    params = {
        "party": world.p.address,
        "countryCode": b"DE",
        "partyId": b"CPO",
        "roles": [0, 6],
        "operator": world.a.address,
    }
    signature = raw.sign_raw("setPartyRaw", world.p.key, **params)
    for signed, sent in [
        (signature, {**params, "party": world.q.address}),
        (signature, {**params, "roles": [0, 5]}),
        (signature._replace(r=bytes(32)), params),
        (signature._replace(v=signature.v - 27), params),
    ]:
        arguments = raw.arguments("setPartyRaw", signed, **sent)
        world.refused(call.setPartyRaw(*arguments), world.anybody, OTHER_PARTY)
    world.done(call.setPartyRaw(*raw.arguments("setPartyRaw", signature, **params)), world.anybody)
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call()[:2] == [world.p.address, [0, 6]]


def deleted(world: World, receipt: object) -> None:
    """Nothing is left of the party `p` (DE/CPO) but its place in the list."""
    call = world.registry.functions
    assert call.getPartyDetailsByAddress(world.p.address).call() == GONE
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call() == GONE_BY_ID
    assert call.getOperatorByAddress(world.p.address).call() == [ZERO, ""]
    assert call.getParties().call() == [world.p.address]
    expected = {
        "countryCode": b"DE",
        "partyId": b"CPO",
        "partyAddress": world.p.address,
        "roles": [],
        "modulesSender": [],
        "modulesReceiver": [],
        "operatorAddress": ZERO,
    }
    assert world.events(world.registry, receipt) == [("PartyUpdate", expected)]
    world.refused(call.deleteParty(), world.p, NO_PARTY)


@on_each_chain
def test_REG18_a_party_is_deleted_once(world: World) -> None:
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    world.done(world.registry.functions.setPartyModules([1], [2]), world.p)
    deleted(world, world.done(world.registry.functions.deleteParty(), world.p))


def test_REG19_a_raw_signature_deletes_its_signers_party(world: World) -> None:
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    signature = raw.sign_raw("deletePartyRaw", world.p.key, party=world.p.address)
    other = raw.arguments("deletePartyRaw", signature, party=world.q.address)
    world.refused(world.registry.functions.deletePartyRaw(*other), world.anybody, OTHER_PARTY)
    call = world.raw_call("deletePartyRaw", world.p, party=world.p.address)
    deleted(world, world.done(call, world.anybody))


def test_REG20_only_the_owner_deletes_the_parties_of_others(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    world.refused(call.adminDeleteParty(b"DE", b"CPO"), world.p, NOT_OWNER)
    world.refused(call.adminDeleteParty(b"DE", b"XXX"), world.owner, NO_PARTY)
    deleted(world, world.done(call.adminDeleteParty(b"DE", b"CPO"), world.owner))


@on_each_chain
def test_REG21_modules_are_replaced_and_cleared(world: World) -> None:
    call = world.registry.functions
    text = "Party not registered. Use setParty method first."
    world.refused(call.setPartyModules([1], [2, 3]), world.p, text)
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    receipt = world.done(call.setPartyModules([1], [2, 3]), world.p)
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:5] == [[1], [2, 3], [0]]
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call()[1:4] == [[0], [1], [2, 3]]
    ((name, fields),) = world.events(world.registry, receipt)
    lists = [fields[key] for key in ("roles", "modulesSender", "modulesReceiver")]
    assert (name, lists, fields["operatorAddress"]) == ("PartyUpdate", [[0], [1], [2, 3]], world.a.address)
    # They are the party's own, whether its operator has a domain or not.
    world.done(call.deleteNode(), world.a)
    world.done(call.setPartyModules([], []), world.p)
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:5] == [[], [], [0]]


def test_REG22_a_raw_signature_sets_its_signers_modules(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    params = {"party": world.p.address, "sender": [0, 6], "receiver": [4]}
    signature = raw.sign_raw("setPartyModulesRaw", world.p.key, **params)
    other = raw.arguments("setPartyModulesRaw", signature, **{**params, "party": world.q.address})
    world.refused(call.setPartyModulesRaw(*other), world.anybody, OTHER_PARTY)
    world.done(world.raw_call("setPartyModulesRaw", world.p, **params), world.anybody)
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:4] == [[0, 6], [4]]


def test_REG23_listing_again_empties_the_modules(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    world.done(call.setPartyModules([1], [2, 3]), world.p)
    world.party(world.p, "CPO", world.a)
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:4] == [[], []]


@on_each_chain
def test_REG24_lists_are_kept_as_given_and_7_is_no_role_or_module(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a, (6, 0, 6))
    world.done(call.setPartyModules([6, 6, 0], [5, 1, 5]), world.p)
    lists = [[6, 6, 0], [5, 1, 5], [6, 0, 6]]
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:5] == lists
    world.refused(call.setParty(b"DE", b"CPO", [7], world.a.address), world.p, None)
    world.refused(call.setPartyModules([7], []), world.p, None)
    world.refused(call.setPartyModules([], [0, 7]), world.p, None)
    assert call.getPartyDetailsByAddress(world.p.address).call()[2:5] == lists


def test_REG25_parties_outlive_the_node_of_their_operator(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    receipts = [world.done(call.deleteNode(), world.a)]
    assert call.getOperatorByOcpi(b"DE", b"CPO").call() == [world.a.address, ""]
    receipts.append(world.done(call.setNode("https://back.example"), world.a))
    assert call.getOperatorByOcpi(b"DE", b"CPO").call() == [world.a.address, "https://back.example"]
    names = [name for receipt in receipts for name, _ in world.events(world.registry, receipt)]
    assert names == ["OperatorUpdate", "OperatorUpdate"]


def test_REG26_who_lists_again_is_there_once(world: World) -> None:
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "CPO", world.a)
    world.party(world.q, "EMP", world.a)
    world.done(call.deleteParty(), world.p)
    world.party(world.p, "NEW", world.a)
    assert call.getParties().call() == [world.p.address, world.q.address]
    assert call.getPartyDetailsByOcpi(b"DE", b"CPO").call() == GONE_BY_ID


def test_Q5_an_id_that_a_party_has_left_is_free(world: World) -> None:
    """In v1 it leads to the party's new record for ever, and nobody else can have it."""
    call = world.registry.functions
    world.node(world.a)
    world.party(world.p, "OLD", world.a)
    world.party(world.p, "NEW", world.a)
    assert call.getPartyDetailsByOcpi(b"DE", b"OLD").call() == GONE_BY_ID
    assert call.getPartyDetailsByOcpi(b"DE", b"NEW").call()[0] == world.p.address
    world.party(world.q, "OLD", world.a)
    # Going or coming back does not touch who has it now.
    world.done(call.deleteParty(), world.p)
    assert call.getPartyDetailsByOcpi(b"DE", b"OLD").call()[0] == world.q.address
    assert call.getPartyDetailsByOcpi(b"DE", b"NEW").call() == GONE_BY_ID


@on_each_chain
def test_Q3_Q4_nobody_lists_the_zero_address(world: World) -> None:
    """In v1 a signature that nobody can have made does, and then every unknown party has an operator."""
    call = world.registry.functions
    world.node(world.a)
    for v, r, s in [(0, bytes(32), bytes(32)), (27, bytes(32), bytes(32)), (1, b"\1" * 32, b"\1" * 32)]:
        node = call.setNodeRaw(ZERO, "https://evil.example", v, r, s)
        world.refused(node, world.anybody, OTHER_OPERATOR)
        world.refused(call.deleteNodeRaw(ZERO, v, r, s), world.anybody, OTHER_OPERATOR)
        party = call.setPartyRaw(ZERO, b"DE", b"CPO", [0], world.a.address, v, r, s)
        world.refused(party, world.anybody, OTHER_PARTY)
        typed = call.setNodeTyped(ZERO, "https://evil.example", (0, 2**63, v, r, s))
        world.refused(typed, world.anybody, OTHER_OPERATOR)
    assert call.getPartyDetailsByOcpi(b"XX", b"XXX").call() == GONE_BY_ID
    assert call.getNode(ZERO).call() == ""


def test_H4_a_signature_for_another_domain_lists_nobody(world: World) -> None:
    """In v1 it lists an address that nobody has the key of, and the domain is gone."""
    signature = raw.sign_raw("setNodeRaw", world.a.key, operator=world.a.address, domain="https://a.example")
    for operator, domain in ((world.a, "https://b.example"), (world.b, "https://a.example")):
        arguments = raw.arguments("setNodeRaw", signature, operator=operator.address, domain=domain)
        world.refused(world.registry.functions.setNodeRaw(*arguments), world.anybody, OTHER_OPERATOR)
    assert world.registry.functions.getNodeOperators().call() == []
    world.node(world.c, "https://b.example")


def test_the_second_form_of_a_signature_is_refused(world: World) -> None:
    params = {"operator": world.a.address, "domain": "https://a.example"}
    one = raw.sign_raw("setNodeRaw", world.a.key, **params)
    high = one._replace(v=55 - one.v, s=(ORDER - int.from_bytes(one.s)).to_bytes(32))
    call = world.registry.functions
    refused = call.setNodeRaw(*raw.arguments("setNodeRaw", high, **params))
    world.refused(refused, world.anybody, OTHER_OPERATOR)
    world.done(call.setNodeRaw(*raw.arguments("setNodeRaw", one, **params)), world.anybody)


def test_lengths_of_the_lists_are_stored_where_v1_has_them(world: World) -> None:
    def length(slot: int) -> int:
        return int.from_bytes(world.web3.eth.get_storage_at(world.registry.address, slot))

    assert (length(4), length(9)) == (0, 0)
    world.node(world.a)
    world.node(world.b)
    world.party(world.p, "CPO", world.a)
    assert (length(4), length(9)) == (2, 1)
    first = int.from_bytes(Web3.keccak((9).to_bytes(32)))
    assert length(first) == int(world.p.address, 16)
