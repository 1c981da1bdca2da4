"""What the parties start with: five sites, two tariffs and three tokens, invented and always the same."""

from __future__ import annotations

from ocn_fast.parties.ocpi import Object, Party

SINCE = "2026-01-01T00:00:00.000Z"

_SITES = [
    ("LOC1", "Town hall", "Marktplatz 1", "Fulda", "36037", ("50.5509", "9.6757")),
    ("LOC2", "Central station", "Am Bahnhof 3", "Fulda", "36043", ("50.5545", "9.6846")),
    ("LOC3", "Swimming pool", "Badeweg 12", "Kassel", "34117", ("51.3127", "9.4797")),
    ("LOC4", "Car park Nord", "Nordring 40", "Kassel", "34127", ("51.3268", "9.5012")),
    ("LOC5", "Museum", "Schlossallee 8", "Marburg", "35037", ("50.8102", "8.7667")),
]


def locations(party: Party) -> list[Object]:
    """Five locations of two EVSEs each, one AC connector per EVSE."""
    return [
        {
            "country_code": party.country_code,
            "party_id": party.party_id,
            "id": identifier,
            "publish": True,
            "name": name,
            "address": address,
            "city": city,
            "postal_code": postal_code,
            "country": "DEU",
            "coordinates": {"latitude": latitude, "longitude": longitude},
            "evses": [_evse(party, identifier, number) for number in (1, 2)],
            "time_zone": "Europe/Berlin",
            "last_updated": SINCE,
        }
        for identifier, name, address, city, postal_code, (latitude, longitude) in _SITES
    ]


def _evse(party: Party, location: str, number: int) -> Object:
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 400,
        "max_amperage": 16,
        "max_electric_power": 11000,
        "tariff_ids": ["ENERGY"],
        "last_updated": SINCE,
    }
    return {
        "uid": f"{location}-{number}",
        "evse_id": f"{party.country_code}*{party.party_id}*E{location}{number}",
        "status": "AVAILABLE",
        "capabilities": ["RESERVABLE", "REMOTE_START_STOP_CAPABLE", "CHARGING_PROFILE_CAPABLE"],
        "connectors": [connector],
        "last_updated": SINCE,
    }


def tariffs(party: Party) -> list[Object]:
    """A price for energy, which the sessions use, and one for parking time."""

    def tariff(identifier: str, kind: str, price: float, step: int) -> Object:
        component = {"type": kind, "price": price, "vat": 19, "step_size": step}
        return {
            "country_code": party.country_code,
            "party_id": party.party_id,
            "id": identifier,
            "currency": "EUR",
            "elements": [{"price_components": [component]}],
            "last_updated": SINCE,
        }

    return [tariff("ENERGY", "ENERGY", 0.4, 1), tariff("PARKING", "PARKING_TIME", 2, 900)]


PRICE_PER_KWH = 0.4
"""Of the tariff `ENERGY`, without VAT."""


def tokens(party: Party) -> list[Object]:
    """A driver's card, a blocked one, and one whose contract must know where the driver stands."""

    def token(uid: str, number: int, *, valid: bool = True, whitelist: str = "NEVER") -> Object:
        return {
            "country_code": party.country_code,
            "party_id": party.party_id,
            "uid": uid,
            "type": "RFID",
            "contract_id": f"{party.country_code}-{party.party_id}-C{number:08d}-X",
            "issuer": f"Mobility {party.party_id}",
            "valid": valid,
            "whitelist": whitelist,
            "last_updated": SINCE,
        }

    return [
        token(KNOWN_TOKEN, 1, whitelist="ALLOWED"),
        token(BLOCKED_TOKEN, 2, valid=False),
        token(SITE_BOUND_TOKEN, 3),
    ]


KNOWN_TOKEN = "04A1B2C3D4E501"  # noqa: S105 - the number on a driver's card, no secret
BLOCKED_TOKEN = "04A1B2C3D4E502"  # noqa: S105
SITE_BOUND_TOKEN = "04A1B2C3D4E503"  # noqa: S105

SIGNED_DATA = (
    rb'{"encoding_method":"OCMF","encoding_method_version":1,'
    rb'"public_key":"3059301306072A8648CE3D020106082A8648CE3D03010703420004\/u00e9",'
    rb'"signed_values":[{"nature":"Start","plain_data":"0.000 kWh","signed_data":'
    rb'"OCMF|{\"FV\":\"1.0\",\"GI\":\"Z\u00e4hler 7\",\"RD\":[{\"RV\":0.000,\"RU\":\"kWh\"}]}|'
    rb'{\"SA\":\"ECDSA-secp256r1-SHA256\",\"SD\":\"3045\/0221==\"}"},'
    rb'{"nature":"End","plain_data":"1.500 kWh","signed_data":'
    rb'"OCMF|{\"FV\":\"1.0\",\"GI\":\"Z\u00e4hler 7\",\"RD\":[{\"RV\":1.500,\"RU\":\"kWh\"}]}|'
    rb'{\"SA\":\"ECDSA-secp256r1-SHA256\",\"SD\":\"3046\/0222==\"}"}]}'
)
"""A meter's readings as a CDR carries them, with escapes that a JSON printer would write otherwise."""
