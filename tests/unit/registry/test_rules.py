"""What a node may believe of a registry: the rules, on readings as a contract could give them."""

from __future__ import annotations

from typing import Any

import pytest

from ocn_fast.registry import snapshot as snapshots
from ocn_fast.registry.reader import RawParty, RawService, Reading, domain_text, to_snapshot
from ocn_fast.registry.rules import Warned
from ocn_fast.registry.snapshot import ZERO_ADDRESS, Agreement, Snapshot
from ocn_fast.registry.views import checksum

CONTRACT = checksum("c" * 40)


def address(number: int) -> str:
    return checksum(f"{number:040x}")


OPERATOR, OTHER = address(1), address(2)


def party(
    number: int, country_code: bytes, party_id: bytes, operator: str = OPERATOR, **more: Any
) -> RawParty:
    fields: dict[str, Any] = {"roles": (0,), "modules_sender": (), "modules_receiver": ()} | more
    return RawParty(
        address(number), country_code, party_id, fields["roles"], fields["modules_sender"],
        fields["modules_receiver"], operator,
    )  # fmt: skip


def converted(
    *parties: RawParty, operators: dict[str, bytes] | None = None, **more: Any
) -> tuple[Snapshot, dict[str, Warned]]:
    """The snapshot of a reading, and its warnings by kind."""
    held = (
        operators if operators is not None else {OPERATOR: b"https://a.example", OTHER: b"https://b.example"}
    )
    reading = Reading(7, "0x" + "7" * 64, 1_700_000_000, held, parties, **more)
    snapshot, warnings = to_snapshot(reading, "test", 9, CONTRACT)
    assert snapshots.normalise(snapshot) == snapshot
    key = b"\1" * 32
    assert snapshots.parse(snapshots.sign(snapshot, key)).snapshot == snapshot
    return snapshot, {warned.kind: warned for warned in warnings}


def ids(snapshot: Snapshot) -> dict[str, str]:
    return {f"{party.country_code}/{party.party_id}": party.address for party in snapshot.parties}


def test_A107_REG64_zero_addresses_and_what_has_left_are_ignored() -> None:
    snapshot, warnings = converted(
        RawParty(ZERO_ADDRESS, b"DE", b"ZER", (0,), (), (), OPERATOR),
        party(10, b"\0\0", b"\0\0\0", ZERO_ADDRESS, roles=()),
        party(11, b"DE", b"ABC"),
        operators={ZERO_ADDRESS: b"https://evil.example", OPERATOR: b"https://a.example", OTHER: b""},
    )
    assert ids(snapshot) == {"DE/ABC": address(11)}
    assert [operator.address for operator in snapshot.operators] == [OPERATOR]
    assert {kind: warned.count for kind, warned in warnings.items()} == {
        "operator at the zero address ignored": 1,
        "party at the zero address ignored": 1,
    }


def test_REG65_a_party_of_an_operator_that_left_stays_without_a_route() -> None:
    snapshot, warnings = converted(party(10, b"DE", b"ABC", OTHER), operators={OTHER: b""})
    assert snapshot.operators == ()
    assert ids(snapshot) == {"DE/ABC": address(10)}
    assert snapshot.parties[0].operator == OTHER
    assert not warnings


def test_A72_REG67_ids_are_found_in_any_case_and_conflicts_go_to_capitals_then_age() -> None:
    lower, upper, mixed = party(10, b"de", b"abc"), party(11, b"DE", b"ABC"), party(12, b"De", b"AbC")
    for order in ((lower, mixed, upper), (upper, lower, mixed), (mixed, upper, lower)):
        snapshot, warnings = converted(*order)
        assert ids(snapshot) == {"DE/ABC": upper.address}
        assert warnings["party whose id is another's left out"].count == 2
    assert ids(converted(lower, mixed)[0]) == {"DE/ABC": lower.address}
    assert ids(converted(mixed, lower)[0]) == {"DE/ABC": mixed.address}
    # A letter O and a digit 0 are two letters.
    assert len(converted(party(1, b"DE", b"AB0"), party(2, b"DE", b"ABO"))[0].parties) == 2


@pytest.mark.parametrize(
    ("country_code", "party_id"),
    [
        (b"D\0", b"ABC"),
        (b"DE", b"A\0\0"),
        (b"\0E", b"ABC"),
        (b"D\n", b"ABC"),
        (b"DE", b"A\x1bC"),
        (b"DE", b"AB "),
        (b"DE", b"AB/"),
        (b"\xc3\xa4", b"ABC"),
        (b"DE", b"A\xff\xff"),
    ],
)
def test_A109_REG74_an_impossible_id_is_counted_and_left_out(country_code: bytes, party_id: bytes) -> None:
    snapshot, warnings = converted(party(10, country_code, party_id), party(11, b"NL", b"XYZ"))
    assert ids(snapshot) == {"NL/XYZ": address(11)}
    assert warnings["party with an impossible id left out"].count == 1
    assert str(warnings["party with an impossible id left out"]).isprintable()


def test_A109_REG74_numbers_of_a_newer_contract_keep_their_number() -> None:
    record = party(10, b"DE", b"ABC", roles=(1, 200, 1), modules_sender=(3, 9), modules_receiver=(6,))
    snapshot, warnings = converted(record)
    assert snapshot.parties[0].roles == ("EMSP", "UNKNOWN_200")
    assert snapshot.parties[0].modules == ("receiver/tokens", "sender/UNKNOWN_9", "sender/locations")
    assert warnings["party with an unknown role"].count == 1


@pytest.mark.parametrize(
    "domain",
    [
        b"unknown",
        b"ftp://node.example",
        b"//node.example",
        b"https://",
        b"https://user@node.example",
        b"https://user:pw@node.example",
        b"https://node.example/?q",
        b"https://node.example#f",
        b"https://node.example:99999",
        b"https://node.example:0",
        b"https://node.example/\x1b[31m",
        b"https://node.example/\r\nx",
        b"https://no de.example",
        b"https://node.example\\evil",
        b"https://\xff.example",
        "https://nöde.example".encode(),
        b"https://[::1",
        b"https://node.example/" + b"a" * 600,
        b"x" * 1_000_000,
    ],
)
def test_A106_REG74_a_domain_that_leads_nowhere_makes_its_parties_unroutable(domain: bytes) -> None:
    snapshot, warnings = converted(
        party(10, b"DE", b"ABC", OTHER), operators={OPERATOR: b"https://a.example", OTHER: domain}
    )
    assert [operator.address for operator in snapshot.operators] == [OPERATOR]
    assert ids(snapshot) == {"DE/ABC": address(10)}
    warned = warnings["operator without a usable domain left out"]
    assert warned.count == 1
    assert warned.text.isprintable()
    assert len(warned.text) < 500


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (b"https://node.example", "https://node.example"),
        (b"https://node.example///", "https://node.example"),
        (b"http://127.0.0.1:8080/ocn/", "http://127.0.0.1:8080/ocn"),
        (b"HTTPS://Node.Example/x", "HTTPS://Node.Example/x"),
    ],
)
def test_a_usable_domain_loses_only_slashes_at_its_end(domain: bytes, text: str) -> None:
    assert domain_text(domain) == text


def test_REG68_REG74_services_need_permissions_and_nothing_else() -> None:
    services = (
        RawService(address(10), b"", b"", (0,)),
        RawService(address(11), b"gone", b"", ()),
        RawService(address(12), b"n" * 2_000, b"", (0,)),
        RawService(address(13), b"\xff", b"u", (5, 3, 2**255)),
        RawService(ZERO_ADDRESS, b"", b"", (0,)),
    )
    snapshot, warnings = converted(services=services)
    assert {service.provider: service.permissions for service in snapshot.services} == {
        address(10): ("FORWARD_ALL",),
        address(13): ("FORWARD_MODULE_LOCATIONS_SENDER", "FORWARD_MODULE_SESSIONS_SENDER"),
    }
    assert warnings["service with unknown permissions"].count == 1
    assert warnings["service with endless texts left out"].count == 1


def test_REG69_an_agreement_counts_while_both_sides_can_be_reached_and_the_service_stands() -> None:
    user, provider, gone = party(10, b"DE", b"USR"), party(11, b"DE", b"PRV"), party(12, b"DE", b"OFF", OTHER)
    services = (RawService(provider.address, b"", b"", (0,)), RawService(gone.address, b"", b"", (0,)))
    pairs = (
        (user.address, provider.address),
        (provider.address, provider.address),
        (gone.address, provider.address),
        (user.address, gone.address),
        (address(99), provider.address),
    )
    operators = {OPERATOR: b"https://a.example", OTHER: b""}
    snapshot, _ = converted(user, provider, gone, operators=operators, services=services, agreements=pairs)
    assert snapshot.agreements == (Agreement(user.address, provider.address),)
    without, _ = converted(user, provider, gone, operators=operators, services=services[1:], agreements=pairs)
    assert without.agreements == ()


def test_what_could_not_be_read_is_counted() -> None:
    _, warnings = converted(unreadable=tuple(address(number) for number in range(1, 9)))
    warned = warnings["record that cannot be read left out"]
    assert warned.count == 8
    assert "and 3 more" in warned.text
