"""A charge point operator: sites and tariffs to pull, commands to carry out, sessions that progress, CDRs.

An accepted command is answered at once and its result posted after the delay. A started session is PUT, then
PATCHed at every delay until it is stopped or the car is full; then its CDR is posted, with the meter's
`signed_data`. A partner that lost a PATCH gets the whole session again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson

from ocn_fast.errors import OcpiError
from ocn_fast.parties import objects, ocpi
from ocn_fast.parties.client import Exchange
from ocn_fast.parties.desk import Desk, addressed, objects_of, report
from ocn_fast.parties.door import Answer, Message
from ocn_fast.parties.ocpi import Object, Party, member

RESULT_TIMEOUT_S = 30
"""How long a partner should wait for a result before it assumes that none will come."""
KWH_PER_UPDATE = 0.5
FULL_KWH = 60.0
_NEVER_BELOW_KWH = 0.05


_CarriedOut = tuple[str, Callable[[], Awaitable[None]] | None]
"""Result of a command, and what to do once its own result was posted."""


@dataclass
class _Charge:
    """One session in progress."""

    partner: Party
    session: Object
    profile: Object | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class _Billed:
    """A posted CDR: exactly the bytes that left, and where the partner keeps it."""

    partner: Party
    body: bytes
    location: str | None


class Cpo:
    """The role CPO (Sender of locations, tariffs, sessions, CDRs; Receiver of tokens, commands, profiles)."""

    ocpi_role = "CPO"

    def __init__(self, desk: Desk, without: frozenset[str] = frozenset()) -> None:
        """`without`: modules that this party does not offer."""
        self._desk = desk
        self._own = desk.party
        self.custom = f"{desk.party.country_code}{desk.party.party_id}-echo".lower()
        handlers = {
            ("locations", "SENDER"): self._locations,
            ("tariffs", "SENDER"): self._tariffs,
            ("sessions", "SENDER"): self._sessions,
            ("cdrs", "SENDER"): self._cdrs,
            ("tokens", "RECEIVER"): self._tokens,
            ("commands", "RECEIVER"): self._commands,
            ("chargingprofiles", "RECEIVER"): self._profiles,
            (self.custom, "RECEIVER"): self._echo,
        }
        self._handlers = {key: handler for key, handler in handlers.items() if key[0] not in without}
        self.interfaces = frozenset(self._handlers)
        self._sites = objects.locations(desk.party)
        self._prices = objects.tariffs(desk.party)
        self._known_tokens: dict[tuple[Party, str, str], Object] = {}
        self._reservations: dict[tuple[Party, str], str] = {}
        self._charges: dict[str, _Charge] = {}
        self._billed: dict[str, _Billed] = {}
        self._results = True

    async def answer(self, message: Message) -> Answer:
        return await self._handlers[message.module, message.interface](message)

    # --- data of ours ---

    async def _locations(self, message: Message) -> Answer:
        _only(message, "GET")
        if not message.segments:
            return Answer(**self._desk.listed("locations", self._sites, message.query))
        location, evse, connector, *rest = [*message.segments, None, None, None]
        thing = _find(self._sites, "id", location)
        if thing is not None and evse is not None:
            thing = _find(thing["evses"], "uid", evse)
        if thing is not None and connector is not None:
            thing = _find(thing["connectors"], "id", connector)
        if thing is None or any(rest):
            raise OcpiError(404, ocpi.UNKNOWN_LOCATION, "unknown location, EVSE or connector")
        return Answer(thing)

    async def _tariffs(self, message: Message) -> Answer:
        _only(message, "GET")
        return Answer(**self._desk.listed("tariffs", self._prices, message.query))

    async def _sessions(self, message: Message) -> Answer:
        if message.method == "PUT" and message.segments[1:] == ("charging_preferences",):
            self._charge_of(message.sender, message.segments[0])
            member(ocpi.parse_object(message.body), "profile_type")
            return Answer("ACCEPTED")
        _only(message, "GET")
        if "date_from" not in message.query:
            raise OcpiError(200, ocpi.INVALID, "date_from is missing")
        theirs = [one.session for one in self._charges.values() if one.partner == message.sender]
        return Answer(**self._desk.listed("sessions", theirs, message.query))

    async def _cdrs(self, message: Message) -> Answer:
        _only(message, "GET")
        theirs = [orjson.loads(one.body) for one in self._billed.values() if one.partner == message.sender]
        return Answer(**self._desk.listed("cdrs", theirs, message.query))

    # --- data of partners ---

    async def _tokens(self, message: Message) -> Answer:
        if len(message.segments) != 3:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "a token is found under country code, party id and uid")
        owner = Party.of(*message.segments[:2])
        if owner != message.sender:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "not an object of yours")
        key = (owner, message.segments[2], message.query.get("type", "RFID"))
        if message.method == "PUT":
            token = ocpi.parse_object(message.body)
            if not owner.owns(token) or token.get("uid") != key[1]:
                raise OcpiError(200, ocpi.INVALID, "the URL and the token name different ids")
            created = key not in self._known_tokens
            self._known_tokens[key] = token
            return Answer(http=201 if created else 200)
        if key not in self._known_tokens:
            raise OcpiError(404, ocpi.UNKNOWN_TOKEN, "unknown token")
        if message.method == "PATCH":
            self._known_tokens[key] = ocpi.patched(self._known_tokens[key], ocpi.parse_object(message.body))
            return Answer()
        _only(message, "GET")
        return Answer(self._known_tokens[key])

    async def _echo(self, message: Message) -> Answer:
        """The custom module: gives back what it got."""
        sent = orjson.loads(message.body) if message.body else None
        return Answer({"method": message.method, "query": message.query, "body": sent})

    # --- commands ---

    async def _commands(self, message: Message) -> Answer:
        _only(message, "POST")
        wish = ocpi.parse_object(message.body)
        (response_url,) = member(wish, "response_url")
        self._desk.node_url(response_url)
        name = message.segments[0] if len(message.segments) == 1 else ""
        carry_out = {
            "RESERVE_NOW": self._reserve,
            "CANCEL_RESERVATION": self._cancel,
            "START_SESSION": self._start,
            "STOP_SESSION": self._stop,
            "UNLOCK_CONNECTOR": self._unlock,
        }.get(name)
        if carry_out is None:
            return _response("NOT_SUPPORTED")
        result, afterwards = carry_out(message.sender, wish)
        if result != "ACCEPTED":
            return _response(result)

        async def finish() -> None:
            await asyncio.sleep(self._desk.delay)
            if self._results:
                await self._post(response_url, "commands", message.sender, {"result": "ACCEPTED"})
            if afterwards is not None:
                await afterwards()

        return _response(result, lambda: self._desk.later(finish()))

    def _reserve(self, partner: Party, wish: Object) -> _CarriedOut:
        identifier, expiry = member(wish, "reservation_id", "expiry_date")
        ocpi.moment(expiry)
        evse = self._evse(wish)
        holder = self._holder(evse)
        if evse["status"] == "CHARGING" or (holder is not None and holder != (partner, identifier)):
            return "REJECTED", None
        self._reservations[partner, identifier] = evse["uid"]
        self._set_status(evse, "RESERVED")
        return "ACCEPTED", None

    def _cancel(self, partner: Party, wish: Object) -> _CarriedOut:
        (identifier,) = member(wish, "reservation_id")
        uid = self._reservations.pop((partner, identifier), None)
        if uid is None:
            return "REJECTED", None
        self._set_status(self._evse_by_uid(uid), "AVAILABLE")
        return "ACCEPTED", None

    def _start(self, partner: Party, wish: Object) -> _CarriedOut:
        token = wish.get("token")
        if not isinstance(token, dict):
            raise OcpiError(200, ocpi.INVALID, "token is missing")
        member(token, "uid", "type", "contract_id")
        evse = self._evse(wish)
        holder = self._holder(evse)
        if evse["status"] not in ("AVAILABLE", "RESERVED") or (holder is not None and holder[0] != partner):
            return "REJECTED", None
        if holder is not None:
            del self._reservations[holder]
        self._set_status(evse, "CHARGING")
        charge = _Charge(partner, self._new_session(wish, evse, token))
        self._charges[charge.session["id"]] = charge
        return "ACCEPTED", lambda: self._run(charge, evse)

    def _stop(self, partner: Party, wish: Object) -> _CarriedOut:
        (identifier,) = member(wish, "session_id")
        charge = self._charges.get(identifier)
        if charge is None or charge.partner != partner:
            return "UNKNOWN_SESSION", None

        async def end() -> None:
            charge.stop.set()

        return "ACCEPTED", end

    def _unlock(self, _partner: Party, wish: Object) -> _CarriedOut:
        self._evse(wish)
        return "ACCEPTED", None

    # --- sessions ---

    def _new_session(self, wish: Object, evse: Object, token: Object) -> Object:
        contract = ("country_code", "party_id", "uid", "type", "contract_id")
        at = ocpi.now()
        return {
            "country_code": self._own.country_code,
            "party_id": self._own.party_id,
            "id": str(uuid.uuid4()),
            "start_date_time": at,
            "kwh": 0,
            "cdr_token": {name: token[name] for name in contract if name in token},
            "auth_method": "COMMAND",
            "location_id": wish["location_id"],
            "evse_uid": evse["uid"],
            "connector_id": "1",
            "currency": "EUR",
            "charging_periods": [],
            "status": "ACTIVE",
            "last_updated": at,
        }

    async def _run(self, charge: _Charge, evse: Object) -> None:
        """From the first PUT to the CDR."""
        await self._put_session(charge)
        while not charge.stop.is_set() and charge.session["kwh"] < FULL_KWH:
            try:
                await asyncio.wait_for(charge.stop.wait(), self._desk.delay)
            except TimeoutError:
                await self._patch_session(charge, self._progress(charge))
        at = ocpi.now()
        await self._patch_session(charge, {"status": "COMPLETED", "end_date_time": at, "last_updated": at})
        self._set_status(evse, "AVAILABLE")
        await self._bill(charge)

    def _progress(self, charge: _Charge) -> Object:
        """What the meter says after one more delay; a charging profile limits it."""
        grown = max(KWH_PER_UPDATE * _share(charge.profile), _NEVER_BELOW_KWH)
        at = ocpi.now()
        period = {
            "start_date_time": at,
            "dimensions": [{"type": "ENERGY", "volume": _number(grown)}],
            "tariff_id": "ENERGY",
        }
        kwh = _number(charge.session["kwh"] + grown)
        cost = {"excl_vat": _number(kwh * objects.PRICE_PER_KWH)}
        return {"kwh": kwh, "charging_periods": [period], "total_cost": cost, "last_updated": at}

    async def _put_session(self, charge: _Charge) -> Exchange:
        path = (self._own.country_code, self._own.party_id, charge.session["id"])
        body = orjson.dumps(charge.session)
        return await self._desk.client.call(
            "PUT", "sessions", "RECEIVER", *path, to=charge.partner, body=body
        )

    async def _patch_session(self, charge: _Charge, patch: Object) -> None:
        charge.session = ocpi.patched(charge.session, patch)
        path = (self._own.country_code, self._own.party_id, charge.session["id"])
        exchange = await self._desk.client.call(
            "PATCH", "sessions", "RECEIVER", *path, to=charge.partner, body=orjson.dumps(patch)
        )
        if not exchange.ok:
            await self._put_session(charge)

    async def _bill(self, charge: _Charge) -> None:
        session = charge.session
        body = cdr(session, _find(self._sites, "id", session["location_id"]) or {}, self._prices[0])
        exchange = await self._desk.client.call("POST", "cdrs", "RECEIVER", to=charge.partner, body=body)
        location = exchange.headers.get("location") if exchange.ok else None
        self._billed[session["id"]] = _Billed(charge.partner, body, location)

    # --- charging profiles ---

    async def _profiles(self, message: Message) -> Answer:
        if len(message.segments) != 1:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "a charging profile belongs to a session")
        wish: Object = ocpi.parse_object(message.body) if message.method == "PUT" else dict(message.query)
        (response_url,) = member(wish, "response_url")
        self._desk.node_url(response_url)
        try:
            charge = self._charge_of(message.sender, message.segments[0])
        except OcpiError:
            return _response("UNKNOWN_SESSION")
        result: Object = {"result": "ACCEPTED"}
        if message.method == "PUT":
            if not isinstance(wish.get("charging_profile"), dict):
                raise OcpiError(200, ocpi.INVALID, "charging_profile is missing")
            charge.profile = wish["charging_profile"]
        elif message.method == "DELETE":
            charge.profile = None
        else:
            _only(message, "GET")
            member(wish, "duration")
            result["profile"] = _active(charge)

        async def finish() -> None:
            await asyncio.sleep(self._desk.delay)
            if self._results:
                await self._post(response_url, "chargingprofiles", message.sender, result)
            if message.method == "PUT":
                await self._desk.client.call(
                    "PUT", "chargingprofiles", "SENDER", message.segments[0],
                    to=message.sender, body=orjson.dumps(_active(charge)),
                )  # fmt: skip

        return _response("ACCEPTED", lambda: self._desk.later(finish()))

    # --- steps ---

    async def do(self, step: str, wishes: Mapping[str, Any]) -> Object:
        """Steps: `authorize` {to, uid, location_id?}, `tokens` {to}, `fetch_cdr` {session_id?},
        `results` {send}: whether accepted commands get their result."""
        if step == "results":
            self._results = bool(wishes["send"])
            return report([])
        if step == "fetch_cdr":
            return await self._fetch_cdr(wishes.get("session_id"))
        to, fault = addressed(wishes)
        if step == "tokens":
            pages = await self._desk.crawl(to, "tokens", "", fault)
            return report(pages, [one["uid"] for one in objects_of(pages)])
        if step == "authorize":
            site = wishes.get("location_id")
            body = orjson.dumps({"location_id": site}) if site is not None else None
            exchange = await self._desk.client.call(
                "POST", "tokens", "SENDER", str(wishes["uid"]), "authorize",
                to=to, query=urlencode({"type": "RFID"}), body=body, fault=fault,
            )  # fmt: skip
            said = exchange.envelope.data if exchange.envelope else b""
            return report([exchange], orjson.loads(bytes(said)) if bytes(said) else None)
        raise OcpiError(200, ocpi.INVALID, "a CPO knows the steps authorize, tokens, fetch_cdr, results")

    async def _fetch_cdr(self, session_id: str | None) -> Object:
        """GET on the `Location` of a posted CDR; `data.same`: what came back is byte for byte what left."""
        billed = self._billed.get(session_id or next(reversed(self._billed), ""))
        if billed is None or billed.location is None:
            raise OcpiError(200, ocpi.INVALID, "no CDR was posted, or its partner gave no Location")
        exchange = await self._desk.client.call_url(
            "GET", billed.location, "cdrs", "RECEIVER", to=billed.partner
        )
        back = bytes(exchange.envelope.data) if exchange.envelope else b""
        return report([exchange], {"same": back == billed.body})

    # --- small things ---

    async def _post(self, url: str, module: str, to: Party, result: Object) -> None:
        await self._desk.client.call_url("POST", url, module, "SENDER", to=to, body=orjson.dumps(result))

    def _charge_of(self, partner: Party, session_id: str) -> _Charge:
        charge = self._charges.get(session_id)
        if charge is None or charge.partner != partner:
            raise OcpiError(404, ocpi.INVALID, "unknown session")
        return charge

    def _evse(self, wish: Object) -> Object:
        """The EVSE that a command means: the one named, else the first free one of the location."""
        (identifier,) = member(wish, "location_id")
        location = _find(self._sites, "id", identifier)
        if location is None:
            raise OcpiError(200, ocpi.UNKNOWN_LOCATION, "unknown location")
        evses: list[Object] = location["evses"]
        if wish.get("evse_uid") is None:
            return next((one for one in evses if one["status"] == "AVAILABLE"), evses[0])
        evse = _find(evses, "uid", wish["evse_uid"])
        if evse is None:
            raise OcpiError(200, ocpi.UNKNOWN_LOCATION, "unknown EVSE")
        return evse

    def _evse_by_uid(self, uid: str) -> Object:
        return next(evse for site in self._sites for evse in site["evses"] if evse["uid"] == uid)

    def _holder(self, evse: Object) -> tuple[Party, str] | None:
        held = (key for key, uid in self._reservations.items() if uid == evse["uid"])
        return next(held, None)

    def _set_status(self, evse: Object, status: str) -> None:
        """A change of an EVSE is one of its location, too."""
        site = next(one for one in self._sites if evse in one["evses"])
        evse["status"] = status
        evse["last_updated"] = site["last_updated"] = ocpi.now()


def cdr(session: Object, site: Object, tariff: Object) -> bytes:
    """The charge detail record of a finished session, with the meter's readings inside as they are."""
    start, end = ocpi.moment(session["start_date_time"]), ocpi.moment(session["end_date_time"])
    evse = _find(site["evses"], "uid", session["evse_uid"]) or {}
    place = ("id", "name", "address", "city", "postal_code", "country", "coordinates")
    kwh = session["kwh"]
    record = {
        "country_code": session["country_code"],
        "party_id": session["party_id"],
        "id": f"C-{session['id']}",
        "start_date_time": session["start_date_time"],
        "end_date_time": session["end_date_time"],
        "session_id": session["id"],
        "cdr_token": session["cdr_token"],
        "auth_method": session["auth_method"],
        "cdr_location": {name: site[name] for name in place}
        | {
            "evse_uid": session["evse_uid"],
            "evse_id": evse["evse_id"],
            "connector_id": session["connector_id"],
            "connector_standard": "IEC_62196_T2",
            "connector_format": "SOCKET",
            "connector_power_type": "AC_3_PHASE",
        },
        "currency": session["currency"],
        "tariffs": [tariff],
        "charging_periods": session["charging_periods"] or [_empty_period(session)],
        "signed_data": None,
        "total_cost": {"excl_vat": _number(kwh * objects.PRICE_PER_KWH)},
        "total_energy": kwh,
        "total_time": _number((end - start).total_seconds() / 3600),
        "last_updated": session["last_updated"],
    }
    return orjson.dumps(record).replace(b'"signed_data":null', b'"signed_data":' + objects.SIGNED_DATA, 1)


def _empty_period(session: Object) -> Object:
    """A CDR has at least one period, also when the session was stopped before the meter moved."""
    return {
        "start_date_time": session["start_date_time"],
        "dimensions": [{"type": "ENERGY", "volume": 0}],
        "tariff_id": "ENERGY",
    }


def _share(profile: Object | None) -> float:
    """How much of its full power a session may draw under a charging profile."""
    periods = (profile or {}).get("charging_profile_period") or []
    if not periods or (profile or {}).get("charging_rate_unit") not in ("W", "A"):
        return 1.0
    full = 11_000 if profile and profile["charging_rate_unit"] == "W" else 16
    return min(float(periods[-1].get("limit", full)) / full, 1.0)


def _active(charge: _Charge) -> Object:
    """The profile in force (ActiveChargingProfile)."""
    full = {
        "charging_rate_unit": "W",
        "charging_profile_period": [{"start_period": 0, "limit": 11000}],
    }
    return {"start_date_time": ocpi.stamp(datetime.now(UTC)), "charging_profile": charge.profile or full}


def _number(value: float) -> float | int:
    """Four decimals as OCPI has it, whole numbers without a point: the same text in every rendering."""
    rounded = round(value, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def _response(result: str, then: Any = None) -> Answer:
    """CommandResponse and ChargingProfileResponse."""
    return Answer({"result": result, "timeout": RESULT_TIMEOUT_S}, then=then)


def _find(things: list[Object], name: str, value: object) -> Object | None:
    return next((one for one in things if one[name] == value), None)


def _only(message: Message, method: str) -> None:
    if message.method != method:
        raise OcpiError(405, ocpi.CLIENT_ERROR, f"only {method} here")
