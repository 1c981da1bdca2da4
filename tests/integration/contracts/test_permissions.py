"""Permissions: services and agreements (REG-33 to REG-43), and where ours differs from v1."""

from __future__ import annotations

import pytest

from ocn_fast.registry import raw
from world import ZERO, World

on_each_chain = pytest.mark.parametrize("chain_name", ["embedded", "anvil"], indirect=True)

NOT_LISTED = "Trying to register a service without party listing in Registry."
NO_SERVICE = "Cannot delete service that does not exist."
USER_NOT_LISTED = "Service user has no party listing in Registry."
NO_PROVIDER = "Provider has no registered Service."
OTHER_PROVIDER = "Signer and provided provider address different."
NAMES = [("", ""), ("name", ""), ("", "https://service.example"), ("name", "https://service.example")]


@on_each_chain
@pytest.mark.parametrize(("name", "url"), NAMES)
def test_REG33_a_service_is_listed_with_or_without_name_and_url(world: World, name: str, url: str) -> None:
    call = world.permissions.functions
    world.node(world.a)
    world.party(world.p, "PPP", world.a)
    ids = [0, 16, 1_000, 2**256 - 1]
    receipt = world.done(call.setService(name, url, ids), world.p)
    assert call.getService(world.p.address).call() == [b"DE", b"PPP", name, url, ids]
    assert call.getProviders().call() == [world.p.address]
    assert call.providers(0).call() == world.p.address
    expected = {"name": name, "url": url, "permissions": ids, "provider": world.p.address}
    assert world.events(world.permissions, receipt) == [("ServiceUpdate", expected)]


def test_REG34_a_second_listing_overwrites_the_first(world: World) -> None:
    call = world.permissions.functions
    world.network()
    world.done(call.setService("other", "", [2, 3]), world.p)
    assert call.getService(world.p.address).call() == [b"DE", b"PPP", "other", "", [2, 3]]
    assert call.getProviders().call() == [world.p.address]
    # The id is the one of now (P6).
    world.party(world.p, "NEW", world.a)
    assert call.getService(world.p.address).call()[1] == b"NEW"
    world.done(world.registry.functions.deleteParty(), world.p)
    assert call.getService(world.p.address).call() == [b"\0\0", b"\0\0\0", "other", "", [2, 3]]


@pytest.mark.parametrize(("name", "url"), NAMES)
def test_REG35_a_raw_signature_lists_its_signers_service(world: World, name: str, url: str) -> None:
    world.node(world.a)
    world.party(world.p, "PPP", world.a)
    call = world.raw_call("setServiceRaw", world.p, name=name, url=url, permissions=[1, 2])
    world.done(call, world.anybody)
    stored = world.permissions.functions.getService(world.p.address).call()
    assert stored == [b"DE", b"PPP", name, url, [1, 2]]


@on_each_chain
def test_REG36_a_service_needs_a_party_and_permissions(world: World) -> None:
    call = world.permissions.functions
    world.refused(call.setService("", "", []), world.p, NOT_LISTED)
    world.node(world.a)
    world.party(world.p, "PPP", world.a)
    world.refused(call.setService("", "", []), world.p, "No permissions given.")
    # A signature that nobody can have made is the zero address's, which is nobody.
    world.refused(call.setServiceRaw("", "", [1], 0, bytes(32), bytes(32)), world.p, NOT_LISTED)
    assert call.getProviders().call() == []


@on_each_chain
@pytest.mark.parametrize("way", ["direct", "raw"])
def test_REG37_a_service_is_deleted_once(world: World, way: str) -> None:
    call = world.permissions.functions
    world.network()
    if way == "direct":
        receipt = world.done(call.deleteService(), world.p)
    else:
        raw_call = world.raw_call("deleteServiceRaw", world.p, provider=world.p.address)
        receipt = world.done(raw_call, world.anybody)
    assert call.getService(world.p.address).call() == [b"DE", b"PPP", "", "", []]
    expected = {"name": "", "url": "", "permissions": [1], "provider": world.p.address}
    assert world.events(world.permissions, receipt) == [("ServiceUpdate", expected)]
    world.refused(call.deleteService(), world.p, NO_SERVICE)


def test_REG37_a_service_goes_also_without_a_party(world: World) -> None:
    world.network()
    world.done(world.registry.functions.deleteParty(), world.p)
    world.done(world.permissions.functions.deleteService(), world.p)


def agreed(world: World) -> tuple[list[str], list[str], bool, bool]:
    """What is said of `q` (DE/QQQ) and `p`: lists and truth, each by address and by id."""
    call = world.permissions.functions
    return (
        call.getUserAgreementsByAddress(world.q.address).call(),
        call.getUserAgreementsByOcpi(b"DE", b"QQQ").call(),
        call.hasUserAgreementByAddress(world.q.address, world.p.address).call(),
        call.hasUserAgreementByOcpi(b"DE", b"QQQ", world.p.address).call(),
    )


@on_each_chain
@pytest.mark.parametrize("way", ["direct", "raw"])
def test_REG38_REG39_an_agreement_is_made(world: World, way: str) -> None:
    world.network()
    if way == "direct":
        receipt = world.done(world.permissions.functions.createAgreement(world.p.address), world.q)
    else:
        call = world.raw_call("createAgreementRaw", world.q, provider=world.p.address)
        receipt = world.done(call, world.anybody)
    assert agreed(world) == ([world.p.address], [world.p.address], True, True)
    expected = {"user": world.q.address, "provider": world.p.address}
    assert world.events(world.permissions, receipt) == [("ServiceAgreement", expected)]


@on_each_chain
@pytest.mark.parametrize("way", ["direct", "raw"])
def test_REG40_an_agreement_is_revoked_and_stays_in_the_list(world: World, way: str) -> None:
    world.network()
    world.done(world.permissions.functions.createAgreement(world.p.address), world.q)
    if way == "direct":
        receipt = world.done(world.permissions.functions.revokeAgreement(world.p.address), world.q)
    else:
        call = world.raw_call("revokeAgreementRaw", world.q, provider=world.p.address)
        receipt = world.done(call, world.anybody)
    assert agreed(world) == ([world.p.address], [world.p.address], False, False)
    expected = {"user": world.q.address, "provider": world.p.address}
    assert world.events(world.permissions, receipt) == [("ServiceAgreement", expected)]


@on_each_chain
def test_REG41_agreements_need_a_user_a_provider_and_a_change(world: World) -> None:
    call = world.permissions.functions
    world.network()
    create, revoke = call.createAgreement(world.p.address), call.revokeAgreement(world.p.address)
    for change in (create, revoke):
        world.refused(change, world.r, USER_NOT_LISTED)
    world.refused(call.createAgreement(world.r.address), world.q, NO_PROVIDER)
    world.refused(call.revokeAgreement(world.r.address), world.q, NO_PROVIDER)
    world.refused(revoke, world.q, "No Agreement made between user and provider.")
    world.done(create, world.q)
    world.refused(create, world.q, "Agreement already made between user and provider.")
    # Whose signature cannot be recovered is nobody.
    nobody = call.createAgreementRaw(world.p.address, 0, bytes(32), bytes(32))
    world.refused(nobody, world.anybody, USER_NOT_LISTED)
    assert call.getUserAgreementsByAddress(ZERO).call() == []


def test_REG42_an_agreement_made_again_is_listed_twice(world: World) -> None:
    call = world.permissions.functions
    world.network()
    world.done(call.createAgreement(world.p.address), world.q)
    world.done(call.revokeAgreement(world.p.address), world.q)
    world.done(call.createAgreement(world.p.address), world.q)
    assert agreed(world) == ([world.p.address] * 2, [world.p.address] * 2, True, True)


def test_REG43_a_service_listed_again_is_listed_twice_and_old_agreements_hold(world: World) -> None:
    call = world.permissions.functions
    world.network()
    world.done(call.createAgreement(world.p.address), world.q)
    world.done(call.deleteService(), world.p)
    # While it is gone, nobody can revoke (P3).
    world.refused(call.revokeAgreement(world.p.address), world.q, NO_PROVIDER)
    world.offer(world.p, 5)
    assert call.getProviders().call() == [world.p.address] * 2
    assert [call.providers(index).call() for index in range(2)] == [world.p.address] * 2
    world.would_fail(call.providers(2), world.anybody, None)
    assert agreed(world)[2:] == (True, True)


def test_agreements_by_id_follow_the_party(world: World) -> None:
    """By address they stay, by id they are nobody's while the party is gone (P5)."""
    world.network()
    world.done(world.permissions.functions.createAgreement(world.p.address), world.q)
    world.done(world.registry.functions.deleteParty(), world.q)
    assert agreed(world) == ([world.p.address], [], True, False)
    world.party(world.q, "QQQ", world.a)
    assert agreed(world) == ([world.p.address], [world.p.address], True, True)


@on_each_chain
def test_H2_an_agreement_cannot_be_sent_as_a_deletion(world: World) -> None:
    """In v1 it deletes the node and the service of whoever signed it."""
    world.network()
    world.offer(world.q, 2)
    world.node(world.q)
    params = {"provider": world.p.address}
    signature = raw.sign_raw("createAgreementRaw", world.q.key, **params)
    vrs = signature[:3]
    node = world.registry.functions.deleteNodeRaw(world.p.address, *vrs)
    world.refused(node, world.anybody, "Signer and provided operator address different.")
    service = world.permissions.functions.deleteServiceRaw(world.p.address, *vrs)
    world.refused(service, world.anybody, OTHER_PROVIDER)
    party = world.registry.functions.deletePartyRaw(world.p.address, *vrs)
    world.refused(party, world.anybody, "Signer and provided party address different.")
    call = world.permissions.functions.createAgreementRaw(
        *raw.arguments("createAgreementRaw", signature, **params)
    )
    world.done(call, world.anybody)


def test_H3_a_service_cannot_be_sent_as_a_node(world: World) -> None:
    """In v1 its first 20 bytes are taken for an operator, whom nobody compares, and the rest for a domain."""
    world.network()
    name = world.r.address[2:22]
    signature = raw.sign_raw("setServiceRaw", world.q.key, name=name, url="https://x", permissions=[1])
    operator = "0x" + name.encode().hex()
    domain = b"https://x" + (1).to_bytes(32)
    packed = raw.packed("setServiceRaw", name=name, url="https://x", permissions=[1])
    assert packed == bytes.fromhex(operator[2:]) + domain
    node = world.registry.functions.setNodeRaw(
        world.web3.to_checksum_address(operator), domain.decode(), *signature[:3]
    )
    world.refused(node, world.anybody, "Signer and provided operator address different.")
