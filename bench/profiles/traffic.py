"""What the parties say to each other, and what they are answered: one function for each kind of message."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench import payloads
from bench.profiles.demo import Party, Request
from ocn_fast import notary
from ocn_fast.errors import NotaryError

_NUMBERS = itertools.count(random.randrange(10**6) * 1_000)
_TOKENS = ("04A1B2C3D4E501", "04A1B2C3D4E501", "04A1B2C3D4E501", "04A1B2C3D4E502")
"""The demo's eMSPs know them: a good card, and one that is blocked."""
_STATUSES = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER")
_STAMP = "2026-03-01T08:30:00Z"
SITE = "LOC-000815"
"""The location whose charge points change; pushed before the first change."""
EVSES = 20
_SAMPLE = 20
"""One of so many answers has its signature checked."""

Sent = tuple[str, Request]
"""Name for the statistics, and the message."""


def site(cpo: Party, msp: Party) -> Sent:
    """The location, whole."""
    path = f"/{cpo.country_code}/{cpo.party_id}/{SITE}"
    body = payloads.location(EVSES)
    return "location", cpo.request(msp, "PUT", "locations", "RECEIVER", path, body=body)


def status(cpo: Party, msp: Party) -> Sent:
    """A charge point has become free, or busy."""
    path = f"/{cpo.country_code}/{cpo.party_id}/{SITE}/{SITE}-{random.randint(1, EVSES)}"
    body = {"status": random.choice(_STATUSES), "last_updated": _STAMP}
    return "status", cpo.request(msp, "PATCH", "locations", "RECEIVER", path, body=body)


def session(cpo: Party, msp: Party) -> Sent:
    """The meter of a session has moved."""
    number = next(_NUMBERS)
    body = payloads.session(number)
    path = f"/{cpo.country_code}/{cpo.party_id}/{body['id']}"
    return "session", cpo.request(msp, "PUT", "sessions", "RECEIVER", path, body=body)


def authorise(cpo: Party, msp: Party) -> Sent:
    """A driver holds a card to a charge point."""
    body = {"location_id": SITE, "evse_uids": [f"{SITE}-{random.randint(1, EVSES)}"]}
    path = f"/{random.choice(_TOKENS)}/authorize"
    return "authorise", cpo.request(msp, "POST", "tokens", "SENDER", path, "type=RFID", body)


def bill(cpo: Party, msp: Party) -> Sent:
    """A CDR: its `Location` is written down by the node."""
    body = payloads.cdr() | {"id": f"CDR-{next(_NUMBERS):012}"}
    return "cdr", cpo.request(msp, "POST", "cdrs", "RECEIVER", body=body)


def sites(cpo: Party, msp: Party) -> Sent:
    """The eMSP asks for the first page of the CPO's locations: its link is sealed by the node."""
    return "locations", msp.request(cpo, "GET", "locations", "SENDER", query="limit=1")


def unlock(cpo: Party, msp: Party) -> Sent:
    """A command: its `response_url` is rewritten, signed anew and written down by the node. The result finds
    nobody at the eMSP who waits for it, and is refused there."""
    site_id = f"LOC{random.randint(1, 5)}"
    body = {
        "response_url": f"{msp.own_url}/ocpi/2.2.1/sender/commands/UNLOCK_CONNECTOR/{next(_NUMBERS)}",
        "location_id": site_id,
        "evse_uid": f"{site_id}-1",
        "connector_id": "1",
    }
    return "command", msp.request(cpo, "POST", "commands", "RECEIVER", "/UNLOCK_CONNECTOR", body=body)


def forged(cpo: Party, msp: Party) -> Sent:
    """A session that somebody changed on the way: to be refused."""
    _, request = session(cpo, msp)
    body = request.body.replace(b'"ACTIVE"', b'"INVALID"')
    headers = request.headers
    return "forged", Request(request.method, request.url, headers, body)


def stranger(cpo: Party, msp: Party) -> Sent:
    """A session for a party that nobody knows: to be refused."""
    nobody = Party("ZZ", "ZZZ", b"", "", {}, "", ("", ""))
    path = f"/{cpo.country_code}/{cpo.party_id}/{payloads.session_id(1)}"
    return "stranger", cpo.request(nobody, "PUT", "sessions", "RECEIVER", path, body=payloads.session(1))


EXPECTED = {"forged": 2001, "stranger": 4001}
"""Messages that must be refused, and how."""


class Judge:
    """Decides for each answer whether it is what was to be expected, and counts refusals by kind."""

    def __init__(self) -> None:
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.checked = 0
        self._answers = itertools.count()

    def complaint(self, name: str, receiver: Party, http: int, headers: Any, body: bytes) -> str | None:
        """None for an answer as expected; otherwise what is wrong with it."""
        if http == 0:
            return self._count(name, "no answer")
        try:
            envelope = json.loads(body)
            code, said = int(envelope["status_code"]), str(envelope.get("status_message") or "")
        except (ValueError, KeyError, TypeError):
            return self._count(name, f"HTTP {http}, no envelope")
        if code == 1000 and name not in EXPECTED:
            return self._signature(name, receiver, headers, body)
        delivery = headers.get("OCN-Delivery") or "-"
        complaint = self._count(name, f"HTTP {http}, OCPI {code}, delivery {delivery}: {said[:60]}")
        return None if EXPECTED.get(name) == code else complaint

    def _count(self, name: str, kind: str) -> str:
        self.refusals[name, kind] += 1
        return kind

    def _signature(self, name: str, receiver: Party, headers: Any, body: bytes) -> str | None:
        if next(self._answers) % _SAMPLE:
            return None
        self.checked += 1
        plain, signature = notary.detach(body)
        signed = notary.response_values({key: headers[key] for key in headers}, plain)
        try:
            verdict = notary.verify(signature or "", signed)
        except NotaryError as error:
            return self._count(name, f"the answer's signature: {error.reason}")
        if verdict.origin != notary.address_of(receiver.key):
            return self._count(name, "the answer was signed by somebody else")
        return None


Message = Callable[[Party, Party], Sent]
