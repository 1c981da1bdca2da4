"""What the CPO and the eMSP answer, asked directly: authorisation, kept objects, CDRs, commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ocn_fast.errors import OcpiError
from ocn_fast.parties import objects, ocpi
from ocn_fast.parties.book import Book
from ocn_fast.parties.client import Client
from ocn_fast.parties.cpo import Cpo, cdr
from ocn_fast.parties.desk import Desk
from ocn_fast.parties.door import Answer, Message, Role
from ocn_fast.parties.journal import Entry, Journal, read_journal
from ocn_fast.parties.msp import Msp, authorise
from ocn_fast.parties.ocpi import Party
from ocn_fast.parties.process import line
from ocn_fast.parties.signing import Listing, OwnKey, Seal, Trust, Untrusted
from ocn_fast.parties.state import Endpoint, State, StateFile
from ocn_fast.registry import rpc

CPO, MSP = Party("DE", "CPO"), Party("DE", "MSP")
NODE = "http://node.example"
SESSION = {
    "country_code": "DE",
    "party_id": "CPO",
    "id": "s1",
    "start_date_time": "2026-01-01T10:00:00Z",
    "end_date_time": "2026-01-01T11:30:00Z",
    "kwh": 1.5,
    "cdr_token": {"uid": "1"},
    "auth_method": "COMMAND",
    "location_id": "LOC1",
    "evse_uid": "LOC1-1",
    "connector_id": "1",
    "currency": "EUR",
    "charging_periods": [],
    "status": "COMPLETED",
    "last_updated": "2026-01-01T11:30:00Z",
}


def desk(party: Party) -> Desk:
    """A desk whose client is never used: these tests send nothing."""
    state = State(versions_url=f"{NODE}/ocpi/versions", token_c="c")
    signer = OwnKey(bytes(31) + b"\x07")
    client = Client(party, state, signer, Book(Trust()), Journal(None, lambda _: None))
    return Desk(party, "http://me.example", client, state, 0, 2)


def ask(
    role: Role, method: str, module: str, interface: str, path: str = "", body: bytes = b"", **query: str
) -> Answer:
    sender = MSP if isinstance(role, Cpo) else CPO
    segments = tuple(part for part in path.split("/") if part)
    return asyncio.run(role.answer(Message(method, module, interface, segments, query, body, sender)))


@contextmanager
def refused(http: int, code: int) -> Iterator[None]:
    with pytest.raises(OcpiError) as error:
        yield
    assert (error.value.http_status, error.value.status_code) == (http, code)


def dumps(thing: Any) -> bytes:
    return json.dumps(thing).encode()


# --- tokens ---


def test_a_known_token_is_allowed_with_a_reference() -> None:
    info: Any = authorise(objects.tokens(MSP), objects.KNOWN_TOKEN, "RFID", {"location_id": "LOC1"}).data
    assert info["allowed"] == "ALLOWED"
    assert info["authorization_reference"]
    assert info["location"] == {"location_id": "LOC1"}


def test_a_blocked_token_is_named_blocked() -> None:
    info: Any = authorise(objects.tokens(MSP), objects.BLOCKED_TOKEN, "RFID", None).data
    assert info["allowed"] == "BLOCKED"
    assert "authorization_reference" not in info


def test_an_unknown_token_is_404_and_2004() -> None:
    with refused(404, ocpi.UNKNOWN_TOKEN):
        authorise(objects.tokens(MSP), "04FF", "RFID", None)
    with refused(404, ocpi.UNKNOWN_TOKEN):
        authorise(objects.tokens(MSP), objects.KNOWN_TOKEN, "APP_USER", None)


def test_a_token_that_depends_on_the_site_wants_to_know_it() -> None:
    with refused(200, ocpi.NOT_ENOUGH):
        authorise(objects.tokens(MSP), objects.SITE_BOUND_TOKEN, "RFID", None)


# --- what the eMSP keeps ---


def test_a_cdr_comes_back_byte_for_byte() -> None:
    msp = Msp(desk(MSP))
    body = cdr(SESSION, objects.locations(CPO)[0], objects.tariffs(CPO)[0])
    assert objects.SIGNED_DATA in body
    posted = ask(msp, "POST", "cdrs", "RECEIVER", body=body)
    place = posted.headers["location"]
    assert (posted.http, place) == (201, "http://me.example/ocpi/2.2.1/receiver/cdrs/DE/CPO/C-s1")
    kept = ask(msp, "GET", "cdrs", "RECEIVER", "DE/CPO/C-s1").data
    assert kept == body
    opened = ocpi.read_envelope(ocpi.envelope(ocpi.SUCCESS, kept))
    assert opened is not None
    assert bytes(opened.data) == body
    assert ocpi.signed_data_digest(body) == ocpi.digest(objects.SIGNED_DATA)


def test_the_same_cdr_twice_is_one_and_another_under_its_id_is_refused() -> None:
    msp = Msp(desk(MSP))
    body = cdr(SESSION, objects.locations(CPO)[0], objects.tariffs(CPO)[0])
    first = ask(msp, "POST", "cdrs", "RECEIVER", body=body)
    again = ask(msp, "POST", "cdrs", "RECEIVER", body=body)
    assert (again.http, again.headers) == (200, first.headers)
    with refused(200, ocpi.INVALID):
        ask(msp, "POST", "cdrs", "RECEIVER", body=body.replace(b'"total_energy":1.5', b'"total_energy":15'))


def test_a_session_grows_by_patches_and_only_after_its_put() -> None:
    msp = Msp(desk(MSP))
    patch = dumps({"kwh": 2, "last_updated": "2026-01-01T12:00:00Z"})
    with refused(404, ocpi.CLIENT_ERROR):
        ask(msp, "PATCH", "sessions", "RECEIVER", "DE/CPO/s1", patch)
    assert ask(msp, "PUT", "sessions", "RECEIVER", "DE/CPO/s1", dumps(SESSION)).http == 201
    assert ask(msp, "PUT", "sessions", "RECEIVER", "DE/CPO/s1", dumps(SESSION)).http == 200
    ask(msp, "PATCH", "sessions", "RECEIVER", "DE/CPO/s1", patch)
    kept: Any = ask(msp, "GET", "sessions", "RECEIVER", "de/cpo/s1").data
    assert kept == SESSION | {"kwh": 2, "last_updated": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(("path", "http"), [("NL/XXX/s1", 404), ("DE/CPO/other", 200), ("DE/CPO", 404)])
def test_only_the_owner_speaks_of_its_objects(path: str, http: int) -> None:
    with pytest.raises(OcpiError) as error:
        ask(Msp(desk(MSP)), "PUT", "sessions", "RECEIVER", path, dumps(SESSION))
    assert error.value.http_status == http


def test_a_patch_of_a_connector_moves_last_updated_of_all_above() -> None:
    msp = Msp(desk(MSP))
    ask(msp, "PUT", "locations", "RECEIVER", "DE/CPO/LOC1", dumps(objects.locations(CPO)[0]))
    patch = dumps({"max_amperage": 32, "last_updated": "2026-02-02T00:00:00Z"})
    ask(msp, "PATCH", "locations", "RECEIVER", "DE/CPO/LOC1/LOC1-2/1", patch)
    kept: Any = ask(msp, "GET", "locations", "RECEIVER", "DE/CPO/LOC1").data
    first, second = kept["evses"]
    assert second["connectors"][0]["max_amperage"] == 32
    assert kept["last_updated"] == second["last_updated"] == "2026-02-02T00:00:00Z"
    assert first["last_updated"] == objects.SINCE


# --- what the CPO answers ---


def test_locations_evses_and_connectors_are_read_one_by_one() -> None:
    cpo = Cpo(desk(CPO))
    for path, name, value in (
        ("LOC2", "id", "LOC2"),
        ("LOC2/LOC2-1", "uid", "LOC2-1"),
        ("LOC2/LOC2-1/1", "id", "1"),
    ):
        thing: Any = ask(cpo, "GET", "locations", "SENDER", path).data
        assert thing[name] == value
    with refused(404, ocpi.UNKNOWN_LOCATION):
        ask(cpo, "GET", "locations", "SENDER", "LOC2/LOC1-1")


def test_a_list_is_paged_by_the_servers_limit() -> None:
    answer = ask(Cpo(desk(CPO)), "GET", "locations", "SENDER", limit="100")
    assert answer.headers["x-total-count"] == "5"
    assert answer.headers["x-limit"] == "2"
    assert ocpi.next_link(answer.headers["link"]) == (
        "http://me.example/ocpi/2.2.1/sender/locations?offset=2&limit=2"
    )


def test_sessions_are_listed_from_a_date_only() -> None:
    with refused(200, ocpi.INVALID):
        ask(Cpo(desk(CPO)), "GET", "sessions", "SENDER")
    assert ask(Cpo(desk(CPO)), "GET", "sessions", "SENDER", date_from="2026-01-01T00:00:00Z").data == []


@pytest.mark.parametrize(
    "url", ["http://elsewhere.example/x", "https://node.example/x", "http://node.example:81/x", "x"]
)
def test_a_response_url_that_is_not_the_nodes_is_refused(url: str) -> None:
    body = dumps({"response_url": url, "location_id": "LOC1", "token": objects.tokens(MSP)[0]})
    with refused(200, ocpi.INVALID):
        ask(Cpo(desk(CPO)), "POST", "commands", "RECEIVER", "START_SESSION", body)


def test_commands_are_judged_by_the_state_of_the_evse() -> None:
    cpo = Cpo(desk(CPO))

    def command(name: str, **wish: Any) -> Any:
        body = {"response_url": f"{NODE}/x", "location_id": "LOC1", "evse_uid": "LOC1-1"} | wish
        answer: Any = ask(cpo, "POST", "commands", "RECEIVER", name, dumps(body)).data
        return answer["result"]

    token = objects.tokens(MSP)[0]
    assert command("STOP_SESSION", session_id="none") == "UNKNOWN_SESSION"
    assert command("CANCEL_RESERVATION", reservation_id="r1") == "REJECTED"
    assert command("RESERVE_NOW", reservation_id="r1", expiry_date="2026-01-01T00:00:00Z") == "ACCEPTED"
    assert command("RESERVE_NOW", reservation_id="r2", expiry_date="2026-01-01T00:00:00Z") == "REJECTED"
    assert command("CANCEL_RESERVATION", reservation_id="r1") == "ACCEPTED"
    assert command("START_SESSION", token=token) == "ACCEPTED"
    assert command("START_SESSION", token=token) == "REJECTED", "a car is charging there"
    assert command("MAKE_COFFEE") == "NOT_SUPPORTED"
    with refused(200, ocpi.UNKNOWN_LOCATION):
        command("START_SESSION", token=token, location_id="LOC9")


# --- whose signature counts ---

TRUST = Trust({CPO: Listing("0xc1", "0x0b")}, frozenset({"0x0b", "0x0c"}))


@pytest.mark.parametrize(
    ("chain", "signer"), [(("0xC1",), "party"), (("0x0B", "0xc1"), "party"), (("0x0b",), "operator")]
)
def test_the_party_and_its_operator_may_sign(chain: tuple[str, ...], signer: str) -> None:
    assert TRUST.judge(Seal(chain), CPO) == signer


@pytest.mark.parametrize("chain", [("0xdd",), ("0x0b", "0xdd"), ("0xdd", "0xc1"), ("0x0c",)])
def test_nobody_else_may_sign(chain: tuple[str, ...]) -> None:
    with pytest.raises(Untrusted):
        TRUST.judge(Seal(chain), CPO)


def test_a_party_that_is_not_listed_is_not_believed() -> None:
    with pytest.raises(Untrusted):
        TRUST.judge(Seal(("0xc1",)), MSP)


def test_answers_of_the_hub_are_signed_by_our_operator_alone() -> None:
    assert TRUST.judge_hub(Seal(("0x0b",)), CPO) == "hub"
    for chain in (("0x0c",), ("0xc1",), ("0x0b", "0x0b")):
        with pytest.raises(Untrusted):
            TRUST.judge_hub(Seal(chain), CPO)


class Pages(Book):
    """A book whose next reading is given."""

    def __init__(self, now: Trust, later: Trust) -> None:
        super().__init__(now)
        self._endpoint = rpc.Endpoint("http://127.0.0.1:1", 1, 1)
        self._later = later
        self.readings = 0

    async def _read(self) -> None:
        self.readings += 1
        self._trust, self._read_at = self._later, self._read_at + 1


def test_a_signer_who_is_unknown_has_the_registry_read_again() -> None:
    async def story() -> None:
        book = Pages(Trust({}, frozenset()), TRUST)
        assert await asyncio.gather(*(book.judge(Seal(("0xc1",)), CPO) for _ in range(5))) == ["party"] * 5
        assert book.readings == 1
        assert await book.judge_hub(Seal(("0x0b",)), CPO) == "hub"
        assert book.readings == 1
        with pytest.raises(Untrusted):
            await book.judge(Seal(("0xdd",)), CPO)
        await book.close()

    asyncio.run(story())


def test_a_registry_in_a_file_is_read_once() -> None:
    with pytest.raises(Untrusted):
        asyncio.run(Book(TRUST).judge(Seal(("0xdd",)), CPO))


# --- what is remembered ---


def test_state_survives_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    store = StateFile(file)
    store.state.token_c = "secret"
    store.state.endpoints = [Endpoint("Locations", "sender", f"{NODE}/l")]
    store.save()
    assert file.stat().st_mode & 0o777 == 0o600
    again = StateFile(file).state
    assert again.registered
    assert again.endpoint("locations", "SENDER") == f"{NODE}/l"
    assert list(tmp_path.iterdir()) == [file], "no draft is left behind"


def test_the_journal_waits_for_what_is_wanted(tmp_path: Path) -> None:
    async def story() -> None:
        journal = Journal(tmp_path / "j", lambda _: None)
        nothing = await journal.wait(0, lambda one: one.module == "cdrs", 0)
        assert nothing == []
        waiting = asyncio.create_task(journal.wait(0, lambda one: one.module == "cdrs", 10))
        await journal.add(Entry("sent", "GET", "/", module="locations"))
        await journal.add(Entry("received", "POST", "/", module="cdrs"))
        assert [one.number for one in await waiting] == [2]
        journal.close()

    asyncio.run(story())
    assert [(one.number, one.kind) for one in read_journal(tmp_path / "j")] == [(1, "sent"), (2, "received")]


def test_an_exchange_is_one_line_for_a_person() -> None:
    entry = Entry(
        "received", "GET", "/x", peer="DE/MSP", http=200, ocpi=2001, verdict="invalid", reason="hash", ms=1.25
    )
    assert line(entry) == "<- DE/MSP GET /x 200/2001 signature invalid hash 1.2 ms"
    lost = Entry("sent", "GET", "/x", peer="DE/MSP", reason="ConnectError")
    assert line(lost) == "-> DE/MSP GET /x no answer (ConnectError) 0.0 ms"
