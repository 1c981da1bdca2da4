"""The door of a party: who gets in, what is refused and how, and that answers are signed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from ocn_fast import notary
from ocn_fast.parties import objects, ocpi
from ocn_fast.parties.book import Book
from ocn_fast.parties.client import Client
from ocn_fast.parties.cpo import Cpo
from ocn_fast.parties.desk import Desk
from ocn_fast.parties.door import BODY_BYTES, Door, Manners
from ocn_fast.parties.journal import Entry, Journal
from ocn_fast.parties.ocpi import Party
from ocn_fast.parties.registration import Myself, Registration
from ocn_fast.parties.signing import Listing, OwnKey, Trust
from ocn_fast.parties.state import StateFile

CPO, MSP = Party("DE", "CPO"), Party("DE", "MSP")
CPO_KEY, MSP_KEY, NODE_KEY = (bytes(31) + bytes([number]) for number in (7, 8, 9))
BASE = "http://cpo.example"
LOCATIONS = "/ocpi/2.2.1/sender/locations"
ECHO = "/ocpi/custom/receiver/decpo-echo"
CONTROL = {"authorization": "Token control"}


class Place:
    """A CPO without a socket, registered at a node that is not asked."""

    def __init__(self, manners: Manners | None = None) -> None:
        self.entries: list[Entry] = []
        self.store = StateFile(None)
        state = self.store.state
        state.tokens_b, state.token_c = ["token-b", "older"], "token-c"
        state.versions_url = "http://node.example/ocpi/versions"
        signer = OwnKey(CPO_KEY)
        operator = notary.address_of(NODE_KEY).lower()
        listed = {
            party: Listing(notary.address_of(key).lower(), operator)
            for party, key in ((CPO, CPO_KEY), (MSP, MSP_KEY))
        }
        trust = Trust(listed, frozenset({operator}))
        journal = Journal(None, self.entries.append)
        book = Book(trust)
        client = Client(CPO, state, signer, book, journal)
        role = Cpo(Desk(CPO, BASE, client, state, 0, 2))
        door = Door(
            base_url=BASE,
            role=role,
            store=self.store,
            registration=Registration(Myself(CPO, "CPO", "CPO", f"{BASE}/ocpi/versions"), self.store, client),
            client=client,
            signer=signer,
            book=book,
            journal=journal,
            manners=manners or Manners(),
            control_key="control",
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(door.app()), base_url=BASE)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        key: bytes | None = MSP_KEY,
        tamper: bytes | None = None,
        changed: Mapping[str, str | None] | None = None,
    ) -> httpx.Response:
        """A functional call as the node delivers it; `changed` headers replace or (None) remove."""
        merged = delivered() | dict(changed or {})
        headers = {name: value for name, value in merged.items() if value is not None}
        if key is not None:
            values = notary.request_values(headers, path.partition("?")[2], body)
            headers["ocn-signature"] = notary.sign(values, key).serialize()
        return await self.http.request(method, path, content=tamper or body, headers=headers)


def run(story: Callable[[Place], Awaitable[None]], manners: Manners | None = None) -> Place:
    place = Place(manners)
    asyncio.run(_run(story, place))
    return place


async def _run(story: Callable[[Place], Awaitable[None]], place: Place) -> None:
    async with place.http:
        await story(place)


def outcome(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["status_code"]


def test_a_signed_message_is_answered_with_a_signature() -> None:
    async def story(place: Place) -> None:
        answer = await place.ask("GET", f"{LOCATIONS}?limit=2")
        assert outcome(answer) == (200, 1000)
        body, signature = notary.detach(answer.content)
        assert signature is not None
        verdict = notary.verify(signature, notary.response_values(answer.headers, body))
        assert verdict.signatory == notary.address_of(CPO_KEY)
        swapped = {name: answer.headers[f"ocpi-{name}-party-id"] for name in ("from", "to")}
        assert swapped == {"from": "CPO", "to": "MSP"}
        assert answer.headers["x-request-id"] == "r1"
        assert answer.headers["x-correlation-id"] == "c1"

    (entry,) = run(story).entries
    assert (entry.verdict, entry.signer, entry.rewrites) == ("valid", "party", 0)
    assert entry.digest == entry.origin_digest == ocpi.digest(b"")


def test_an_answer_comes_in_the_container_of_the_request() -> None:
    async def story(place: Place) -> None:
        values = notary.request_values(delivered(), "", None)
        for container in ("brotli", "gzip"):
            signature = notary.sign(values, MSP_KEY).serialize(container)
            answer = await place.http.get(LOCATIONS, headers=delivered() | {"ocn-signature": signature})
            _, back = notary.detach(answer.content)
            assert back is not None
            assert notary.parse(back).container == container

    run(story)


def delivered() -> dict[str, str]:
    return {
        "authorization": ocpi.authorization("token-b"),
        "x-request-id": "r1",
        "x-correlation-id": "c1",
        "ocpi-from-country-code": "DE",
        "ocpi-from-party-id": "MSP",
        "ocpi-to-country-code": "DE",
        "ocpi-to-party-id": "CPO",
    }


@pytest.mark.parametrize(
    ("key", "tamper", "reason"),
    [
        (None, None, ""),
        (NODE_KEY + b"", None, None),
        (CPO_KEY, None, "signer"),
        (MSP_KEY, b'{"a":"2"}', "hash"),
    ],
)
def test_who_may_sign_what(key: bytes | None, tamper: bytes | None, reason: str | None) -> None:
    async def story(place: Place) -> None:
        answer = await place.ask("POST", ECHO, b'{"a":"1"}', key=key, tamper=tamper)
        assert outcome(answer) == ((200, 1000) if reason is None else (200, 2001))

    (entry,) = run(story).entries
    if reason is None:
        assert (entry.verdict, entry.signer) == ("valid", "operator")
    else:
        assert entry.verdict == ("invalid" if key else "unsigned")
        assert reason in entry.reason


def test_the_digest_at_the_origin_is_told_of_a_rewritten_body() -> None:
    async def story(place: Place) -> None:
        wish = {"response_url": "http://msp.example/x", "session_id": "none"}
        before = json.dumps(wish).encode()
        after = before.replace(b"http://msp.example/x", b"http://node.example/y")
        path = "/ocpi/2.2.1/receiver/commands/STOP_SESSION"
        was, now = (notary.request_values(delivered(), "", body) for body in (before, after))
        moved = notary.resign(notary.sign(was, MSP_KEY), was, now, [notary.RESPONSE_URL_BODY], NODE_KEY)
        headers = delivered() | {"ocn-signature": moved.serialize()}
        answer = await place.http.post(path, content=after, headers=headers)
        assert answer.json()["data"]["result"] == "UNKNOWN_SESSION"
        (entry,) = place.entries
        assert (entry.signer, entry.rewrites) == ("party", 1)
        assert (entry.digest, entry.origin_digest) == (ocpi.digest(after), ocpi.digest(before))

    run(story)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ocpi-to-party-id": "XXX"}, (200, 2001)),
        ({"ocpi-from-party-id": None}, (200, 2001)),
        ({"x-correlation-id": None}, (200, 2001)),
        ({"authorization": "Token wrong"}, (401, 2000)),
        ({"authorization": "Token token-b"}, (200, 1000)),
        ({"authorization": "Token older"}, (200, 1000)),
    ],
)
def test_headers_decide_who_gets_in(changed: dict[str, str | None], expected: tuple[int, int]) -> None:
    async def story(place: Place) -> None:
        assert outcome(await place.ask("GET", LOCATIONS, changed=changed)) == expected

    run(story)


def test_the_first_message_with_a_new_token_ends_the_old_one() -> None:
    async def story(place: Place) -> None:
        await place.ask("GET", LOCATIONS)
        assert outcome(await place.ask("GET", LOCATIONS, changed={"authorization": "Token older"})) == (
            401,
            2000,
        )

    run(story)


def test_what_is_not_served_is_refused() -> None:
    async def story(place: Place) -> None:
        assert outcome(await place.ask("GET", "/ocpi/2.2.1/receiver/sessions/DE/CPO/1")) == (404, 2000)
        assert outcome(await place.ask("PUT", LOCATIONS, b"{}")) == (405, 2000)
        assert outcome(await place.ask("POST", "/ocpi/2.2.1/receiver/commands/STOP_SESSION", b"[]")) == (
            200,
            2001,
        )
        assert (await place.http.get("/elsewhere")).status_code == 404
        big = await place.http.post(ECHO, content=bytes(BODY_BYTES + 1), headers=delivered())
        assert outcome(big) == (413, 2001)

    run(story)


def test_a_party_can_be_asked_to_fail_and_to_take_unsigned_messages() -> None:
    async def failing(place: Place) -> None:
        assert outcome(await place.ask("GET", LOCATIONS)) == (200, 3000)

    async def lenient(place: Place) -> None:
        assert outcome(await place.ask("GET", LOCATIONS, key=None)) == (200, 1000)

    run(failing, Manners(fail_rate=1.0))
    assert run(lenient, Manners(unsigned_allowed=True)).entries[0].verdict == "unsigned"


def test_versions_and_details_need_a_token_and_no_signature() -> None:
    async def story(place: Place) -> None:
        token = {"authorization": ocpi.authorization("token-b")}
        assert (await place.http.get("/ocpi/versions")).status_code == 401
        (version,) = (await place.http.get("/ocpi/versions", headers=token)).json()["data"]
        details = (await place.http.get(version["url"], headers=token)).json()["data"]
        urls: Any = {(one["identifier"], one["role"]): one["url"] for one in details["endpoints"]}
        assert urls["locations", "SENDER"] == BASE + LOCATIONS
        assert urls["decpo-echo", "RECEIVER"] == BASE + ECHO
        assert ("credentials", "SENDER") in urls
        assert ("sessions", "RECEIVER") not in urls

    run(story)


def test_a_node_reads_and_ends_the_registration() -> None:
    async def story(place: Place) -> None:
        path, token = "/ocpi/2.2.1/credentials", {"authorization": ocpi.authorization("token-b")}
        shown = (await place.http.get(path, headers=token)).json()["data"]
        assert (shown["token"], shown["url"]) == ("token-b", f"{BASE}/ocpi/versions")
        again = await place.http.post(path, headers=token, content=b'{"token":"x","url":"http://x"}')
        assert outcome(again) == (405, 2000)
        assert outcome(await place.http.delete(path, headers=token)) == (200, 1000)
        assert outcome(await place.http.delete(path, headers=token)) == (401, 2000)
        assert not place.store.state.registered

    run(story)


def test_the_control_api_is_for_whoever_holds_its_key() -> None:
    async def story(place: Place) -> None:
        assert (await place.http.get("/_party")).status_code == 401
        assert (await place.http.post("/_party/do", json={"step": "leave"})).status_code == 401
        shown = (await place.http.get("/_party", headers=CONTROL)).json()
        assert (shown["party"], shown["role"], shown["registered"]) == ("DE/CPO", "CPO", True)
        assert "token" not in json.dumps(shown)
        unknown = await place.http.post("/_party/do", json={"step": "dance", "to": "DE/MSP"}, headers=CONTROL)
        assert unknown.status_code == 422
        await place.ask("GET", LOCATIONS)
        entries = (await place.http.get("/_party/journal?kind=received", headers=CONTROL)).json()
        assert [one["module"] for one in entries] == ["locations"]

    run(story)


def test_a_call_to_another_origin_is_never_made() -> None:
    async def story(place: Place) -> None:
        body = json.dumps({"response_url": "http://evil.example/x", "token": objects.tokens(MSP)[0]}).encode()
        answer = await place.ask("POST", "/ocpi/2.2.1/receiver/commands/START_SESSION", body)
        assert outcome(answer) == (200, 2001)

    assert [entry.kind for entry in run(story).entries] == ["received"]
