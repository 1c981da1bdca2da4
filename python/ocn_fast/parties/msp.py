"""An e-mobility service provider: drivers' tokens to ask about, partners' data to keep, commands to give.

What partners push is kept by owner and id, and only the owner may push it. A CDR is kept as the bytes that
came, and given back as those bytes: somebody will check the meter's signature in it years later.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import orjson

from ocn_fast.errors import OcpiError
from ocn_fast.parties import objects, ocpi
from ocn_fast.parties.client import Exchange, Fault
from ocn_fast.parties.desk import Desk, addressed, objects_of, report
from ocn_fast.parties.door import Answer, Message
from ocn_fast.parties.ocpi import Object, Party, member

_Key = tuple[Party, str]


class _CdrId(msgspec.Struct):
    country_code: str
    party_id: str
    id: str


class Msp:
    """The role EMSP (Sender of tokens; Receiver of what CPOs push, and of the results of commands)."""

    ocpi_role = "EMSP"

    def __init__(self, desk: Desk, without: frozenset[str] = frozenset()) -> None:
        """`without`: modules that this party does not offer."""
        self._desk = desk
        handlers = {
            ("tokens", "SENDER"): self._tokens,
            ("commands", "SENDER"): self._result,
            ("chargingprofiles", "SENDER"): self._profile_result,
            ("locations", "RECEIVER"): self._locations,
            ("tariffs", "RECEIVER"): self._tariffs,
            ("sessions", "RECEIVER"): self._sessions,
            ("cdrs", "RECEIVER"): self._cdrs,
        }
        self._handlers = {key: handler for key, handler in handlers.items() if key[0] not in without}
        self.interfaces = frozenset(self._handlers)
        self._cards = objects.tokens(desk.party)
        self._awaited: dict[str, Object | None] = {}
        self._kept: dict[str, dict[_Key, Object]] = {"locations": {}, "tariffs": {}, "sessions": {}}
        self._bills: dict[_Key, bytes] = {}
        self._profiles: dict[str, Object] = {}

    async def answer(self, message: Message) -> Answer:
        return await self._handlers[message.module, message.interface](message)

    # --- tokens ---

    async def _tokens(self, message: Message) -> Answer:
        if message.method == "GET" and not message.segments:
            return Answer(**self._desk.listed("tokens", self._cards, message.query))
        if message.method != "POST" or message.segments[1:] != ("authorize",):
            raise OcpiError(405, ocpi.CLIENT_ERROR, "tokens are listed by GET and authorised by POST")
        site = ocpi.parse_object(message.body) if message.body else None
        return authorise(self._cards, message.segments[0], message.query.get("type", "RFID"), site)

    # --- results of what we asked for ---

    async def _result(self, message: Message) -> Answer:
        """CommandResult at a `response_url` of ours."""
        if message.method != "POST" or len(message.segments) != 2:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "results are posted to the response_url")
        return self._take(message, message.segments[1])

    async def _profile_result(self, message: Message) -> Answer:
        """Results at a `response_url` of ours, and the CPO's news of the profile in force."""
        if message.method == "PUT" and len(message.segments) == 1:
            self._profiles[message.segments[0]] = ocpi.parse_object(message.body)
            return Answer()
        if message.method != "POST" or len(message.segments) != 2:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "results are posted to the response_url")
        return self._take(message, message.segments[1])

    def _take(self, message: Message, identifier: str) -> Answer:
        if identifier not in self._awaited:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "nothing was asked under this URL")
        result = ocpi.parse_object(message.body)
        member(result, "result")
        self._awaited[identifier] = result
        return Answer()

    # --- what partners push ---

    async def _locations(self, message: Message) -> Answer:
        """Location, EVSE or connector; a change below is a change of what is above."""
        key, below = self._own_object(message)
        kept = self._kept["locations"]
        if not below:
            return self._push(message, key, kept)
        if key not in kept or len(below) > 2:
            raise OcpiError(404, ocpi.UNKNOWN_LOCATION, "unknown location")
        location = kept[key]
        if message.method == "GET":
            return Answer(_inside(location, below))
        thing = ocpi.parse_object(message.body)
        if message.method == "PATCH":
            thing = ocpi.patched(_inside(location, below), thing)
        elif message.method != "PUT":
            raise OcpiError(405, ocpi.CLIENT_ERROR, "GET, PUT or PATCH")
        _replace(location, below, thing)
        return Answer()

    async def _tariffs(self, message: Message) -> Answer:
        key, below = self._own_object(message)
        _nothing(below)
        if message.method == "DELETE":
            if self._kept["tariffs"].pop(key, None) is None:
                raise OcpiError(404, ocpi.CLIENT_ERROR, "unknown tariff")
            return Answer()
        if message.method == "PATCH":
            raise OcpiError(405, ocpi.CLIENT_ERROR, "a tariff is replaced, not patched")
        return self._push(message, key, self._kept["tariffs"])

    async def _sessions(self, message: Message) -> Answer:
        key, below = self._own_object(message)
        _nothing(below)
        return self._push(message, key, self._kept["sessions"])

    async def _cdrs(self, message: Message) -> Answer:
        if message.method == "GET" and len(message.segments) == 3:
            key = (Party.of(*message.segments[:2]), message.segments[2])
            if key[0] != message.sender or key not in self._bills:
                raise OcpiError(404, ocpi.CLIENT_ERROR, "unknown CDR")
            return Answer(self._bills[key])
        if message.method != "POST" or message.segments:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "CDRs are posted, and read from their Location")
        try:
            named = msgspec.json.decode(message.body, type=_CdrId)
        except (msgspec.DecodeError, RecursionError) as error:
            raise OcpiError(200, ocpi.INVALID, f"not a CDR: {error}") from None
        owner = Party.of(named.country_code, named.party_id)
        if owner != message.sender:
            raise OcpiError(200, ocpi.INVALID, "a CDR is posted by its owner")
        known = self._bills.get((owner, named.id))
        if known is not None and known != message.body:
            raise OcpiError(200, ocpi.INVALID, "a CDR is final: this one differs from what was posted before")
        self._bills[owner, named.id] = message.body
        place = self._desk.url("cdrs", "RECEIVER", owner.country_code, owner.party_id, named.id)
        return Answer(http=200 if known else 201, headers={"location": place})

    def _own_object(self, message: Message) -> tuple[_Key, tuple[str, ...]]:
        """Key of the object that the path names, and what follows. Only its owner may speak of it."""
        if len(message.segments) < 3:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "objects are found under country code, party id and id")
        owner = Party.of(*message.segments[:2])
        if owner != message.sender:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "not an object of yours")
        return (owner, message.segments[2]), message.segments[3:]

    def _push(self, message: Message, key: _Key, kept: dict[_Key, Object]) -> Answer:
        """GET, PUT and PATCH of a whole object."""
        if message.method == "PUT":
            thing = ocpi.parse_object(message.body)
            if not key[0].owns(thing) or thing.get("id") != key[1]:
                raise OcpiError(200, ocpi.INVALID, "the URL and the object name different ids")
            created = key not in kept
            kept[key] = thing
            return Answer(http=201 if created else 200)
        if key not in kept:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "unknown object: PUT it first")
        if message.method == "PATCH":
            kept[key] = ocpi.patched(kept[key], ocpi.parse_object(message.body))
            return Answer()
        if message.method == "GET":
            return Answer(kept[key])
        raise OcpiError(405, ocpi.CLIENT_ERROR, "GET, PUT or PATCH")

    # --- steps ---

    async def do(self, step: str, wishes: Mapping[str, Any]) -> Object:
        """Steps, all with `to` and perhaps `fault`: `locations` {limit?}, `tariffs`, `custom` {module},
        `RESERVE_NOW`, `CANCEL_RESERVATION` {reservation_id}, `START_SESSION` {location_id?, evse_uid?},
        `STOP_SESSION` {session_id?}, `UNLOCK_CONNECTOR`, `profile` {limit, session_id?}."""
        to, fault = addressed(wishes)
        if step in ("locations", "tariffs"):
            query = f"limit={int(wishes['limit'])}" if "limit" in wishes else ""
            pages = await self._desk.crawl(to, step, query, fault)
            for thing in objects_of(pages):
                self._kept[step][to, thing["id"]] = thing
            return report(pages, [one["id"] for one in objects_of(pages)])
        if step == "custom":
            body = orjson.dumps({"hello": str(to), "price": 0.25, "list": [1, 2, None]})
            exchange = await self._desk.client.call(
                "POST", str(wishes["module"]), "RECEIVER", "a b", "c", to=to, query="x=1", body=body,
                fault=fault,
            )  # fmt: skip
            return report([exchange])
        if step == "profile":
            return await self._set_profile(to, fault, self._session(to, wishes), int(wishes["limit"]))
        return await self._command(step, to, fault, wishes)

    async def _command(self, name: str, to: Party, fault: Fault | None, wishes: Mapping[str, Any]) -> Object:
        site = wishes.get("location_id", "LOC1")
        evse = wishes.get("evse_uid", f"{site}-1")
        at_evse: Object = {"location_id": site, "evse_uid": evse}
        wish: Object
        if name == "START_SESSION":
            wish = {"token": self._cards[0]} | at_evse
        elif name == "RESERVE_NOW":
            expiry = ocpi.stamp(datetime.now(UTC) + timedelta(hours=1))
            wish = {"token": self._cards[0], "expiry_date": expiry, "reservation_id": str(uuid.uuid4())}
            wish |= at_evse
        elif name == "CANCEL_RESERVATION":
            wish = {"reservation_id": str(wishes["reservation_id"])}
        elif name == "STOP_SESSION":
            wish = {"session_id": self._session(to, wishes)}
        elif name == "UNLOCK_CONNECTOR":
            wish = at_evse | {"connector_id": "1"}
        else:
            raise OcpiError(200, ocpi.INVALID, "steps: locations, tariffs, custom, profile, and the commands")
        identifier = str(uuid.uuid4())
        self._awaited[identifier] = None
        body = orjson.dumps({"response_url": self._desk.url("commands", "SENDER", name, identifier)} | wish)
        exchange = await self._desk.client.call(
            "POST", "commands", "RECEIVER", name, to=to, body=body, fault=fault
        )
        return report([exchange], self._asked(exchange, identifier, wish))

    async def _set_profile(self, to: Party, fault: Fault | None, session: str, limit: int) -> Object:
        identifier = str(uuid.uuid4())
        self._awaited[identifier] = None
        url = self._desk.url("chargingprofiles", "SENDER", session, identifier)
        period = {"start_period": 0, "limit": limit}
        profile = {"charging_rate_unit": "W", "charging_profile_period": [period]}
        body = orjson.dumps({"charging_profile": profile, "response_url": url})
        exchange = await self._desk.client.call(
            "PUT", "chargingprofiles", "RECEIVER", session, to=to, body=body, fault=fault
        )
        return report([exchange], self._asked(exchange, identifier, {"session_id": session}))

    def _asked(self, exchange: Exchange, identifier: str, wish: Object) -> Object:
        said: object = None
        if exchange.envelope is not None and bytes(exchange.envelope.data):
            said = orjson.loads(bytes(exchange.envelope.data))
        if not exchange.ok:
            del self._awaited[identifier]
        ids = {name: wish[name] for name in ("reservation_id", "session_id") if name in wish}
        return {"id": identifier, "answer": said} | ids

    def _session(self, partner: Party, wishes: Mapping[str, Any]) -> str:
        """The session named, else the latest of that partner."""
        if wishes.get("session_id") is not None:
            return str(wishes["session_id"])
        ids = [identifier for owner, identifier in self._kept["sessions"] if owner == partner]
        if not ids:
            raise OcpiError(200, ocpi.INVALID, f"no session of {partner} is known")
        return ids[-1]


def authorise(tokens: list[Object], uid: str, kind: str, site: Object | None) -> Answer:
    """AuthorizationInfo for a token (mod_tokens, POST): allowed, blocked, unknown (404/2004), or 2002."""
    token = next((one for one in tokens if (one["uid"], one["type"]) == (uid, kind)), None)
    if token is None:
        raise OcpiError(404, ocpi.UNKNOWN_TOKEN, "unknown token")
    if uid == objects.SITE_BOUND_TOKEN and site is None:
        raise OcpiError(200, ocpi.NOT_ENOUGH, "this contract depends on the location")
    info: Object = {"allowed": "ALLOWED" if token["valid"] else "BLOCKED", "token": token}
    if token["valid"]:
        info["authorization_reference"] = uuid.uuid4().hex
    if site is not None:
        member(site, "location_id")
        info["location"] = site
    return Answer(info)


_LEVELS = (("evses", "uid", "EVSE"), ("connectors", "id", "connector"))


def _inside(location: Object, below: tuple[str, ...]) -> Object:
    """The EVSE or connector under a path behind the location's id. Raises `OcpiError` 404."""
    thing = location
    for (things, name, what), wanted in zip(_LEVELS, below, strict=False):
        found = next((one for one in thing.get(things) or [] if one.get(name) == wanted), None)
        if found is None:
            raise OcpiError(404, ocpi.UNKNOWN_LOCATION, f"unknown {what}")
        thing = found
    return thing


def _replace(location: Object, below: tuple[str, ...], thing: Object) -> None:
    """Puts an EVSE or connector in its place, and moves `last_updated` of everything above it."""
    things, name, _ = _LEVELS[len(below) - 1]
    if thing.get(name) != below[-1]:
        raise OcpiError(200, ocpi.INVALID, "the URL and the object name different ids")
    above = [location] + [_inside(location, below[:-1])] * (len(below) > 1)
    siblings = above[-1].setdefault(things, [])
    others = [one for one in siblings if one.get(name) != below[-1]]
    place = next((at for at, one in enumerate(siblings) if one.get(name) == below[-1]), len(others))
    siblings[:] = [*others[:place], thing, *others[place:]]
    for one in above:
        one["last_updated"] = thing["last_updated"]


def _nothing(below: tuple[str, ...]) -> None:
    if below:
        raise OcpiError(404, ocpi.CLIENT_ERROR, "there is nothing below this object")
