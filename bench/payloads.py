"""Messages of ours to measure with: OCPI 2.2.1 objects with made-up content."""

from __future__ import annotations

import json
from typing import Any

_STAMP = "2026-03-01T08:30:00Z"
_TOKEN = {
    "country_code": "DE",
    "party_id": "MSP",
    "uid": "04E7A1B2C3D480",
    "type": "RFID",
    "contract_id": "DE-MSP-C00012345-7",
}
_CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "SOCKET",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "max_electric_power": 22080,
    "tariff_ids": ["TARIFF-11"],
    "last_updated": _STAMP,
}


def start_session(response_url: str = "https://msp.example/START_SESSION/7b0d2f7e") -> dict[str, Any]:
    """A START_SESSION command; its result goes to `response_url`."""
    token = {
        **_TOKEN,
        "visual_number": "0001-2345-7",
        "issuer": "Example Mobility",
        "valid": True,
        "whitelist": "ALLOWED_OFFLINE",
        "language": "de",
        "last_updated": _STAMP,
    }
    return {
        "response_url": response_url,
        "token": token,
        "location_id": "LOC-0815",
        "evse_uid": "EVSE-0815-1",
        "connector_id": "1",
    }


def cdr() -> dict[str, Any]:
    """A CDR of the usual size: two charging periods, one tariff."""
    periods = [
        {
            "start_date_time": f"2026-03-01T08:{minute}:00Z",
            "dimensions": [{"type": "ENERGY", "volume": volume}],
            "tariff_id": "TARIFF-11",
        }
        for minute, volume in ((30, 11.25), (45, 13.75))
    ]
    location = {
        "id": "LOC-0815",
        "address": "Marktplatz 1",
        "city": "Musterstadt",
        "postal_code": "12345",
        "country": "DEU",
        "coordinates": {"latitude": "52.5200", "longitude": "13.4050"},
        "evse_uid": "EVSE-0815-1",
        "evse_id": "DE*CPO*E0815*1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET",
        "connector_power_type": "AC_3_PHASE",
    }
    return {
        "country_code": "DE",
        "party_id": "CPO",
        "id": "CDR-20260301-000815",
        "start_date_time": "2026-03-01T08:30:00Z",
        "end_date_time": "2026-03-01T08:54:00Z",
        "session_id": "SESSION-0815",
        "cdr_token": _TOKEN,
        "auth_method": "COMMAND",
        "cdr_location": location,
        "currency": "EUR",
        "charging_periods": periods,
        "total_cost": {"excl_vat": 9.75, "incl_vat": 11.6},
        "total_energy": 25,
        "total_time": 0.4,
        "last_updated": _STAMP,
    }


def location(evses: int, number: int = 815) -> dict[str, Any]:
    """A location with so many charge points of one connector each."""
    identifier = f"LOC-{number:06}"
    return {
        "country_code": "DE",
        "party_id": "CPO",
        "id": identifier,
        "publish": True,
        "name": "Parkhaus am Markt",
        "address": "Marktplatz 1",
        "city": "Musterstadt",
        "postal_code": "12345",
        "country": "DEU",
        "coordinates": {"latitude": "52.5200", "longitude": "13.4050"},
        "evses": [_evse(identifier, place) for place in range(1, evses + 1)],
        "directions": [{"language": "de", "text": "Einfahrt an der Rückseite, Ebene 2"}],
        "operator": {"name": "Example Charging", "website": "https://cpo.example"},
        "facilities": ["PARKING_LOT", "SHOPPING"],
        "time_zone": "Europe/Berlin",
        "opening_times": {"twentyfourseven": True},
        "last_updated": _STAMP,
    }


def connector(number: int) -> dict[str, Any]:
    """A connector as it is put by itself; no two numbers give the same bytes."""
    return {
        **_CONNECTOR,
        "max_electric_power": 1_000_000 + number,
        "terms_and_conditions": "https://cpo.example/terms/de",
    }


def _evse(location_id: str, place: int) -> dict[str, Any]:
    return {
        "uid": f"{location_id}-{place}",
        "evse_id": f"DE*CPO*E{location_id[4:]}*{place}",
        "status": "AVAILABLE",
        "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE", "RESERVABLE"],
        "connectors": [_CONNECTOR],
        "floor_level": str(place // 20),
        "physical_reference": str(place),
        "coordinates": {"latitude": f"52.52{place:04}", "longitude": "13.4050"},
        "last_updated": _STAMP,
    }


def session(number: int) -> dict[str, Any]:
    """The session that is put again and again; no two numbers give the same bytes."""
    return {
        "country_code": "DE",
        "party_id": "CPO",
        "id": session_id(number),
        "start_date_time": "2026-03-01T08:30:00Z",
        "kwh": round(number / 997, 4),
        "cdr_token": _TOKEN,
        "auth_method": "COMMAND",
        "location_id": "LOC-0815",
        "evse_uid": f"EVSE-0815-{number % 4 + 1}",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [
            {
                "start_date_time": f"2026-03-01T08:{30 + step}:00Z",
                "dimensions": [
                    {"type": "ENERGY", "volume": round(step + number / 1009, 3)},
                    {"type": "CURRENT", "volume": 31.5},
                ],
            }
            for step in range(5)
        ],
        "total_cost": {"excl_vat": 4.75, "incl_vat": 5.65},
        "status": "ACTIVE",
        "last_updated": _STAMP,
    }


def session_id(number: int) -> str:
    return f"SESSION-{number:08}"


def encode(document: Any) -> bytes:
    """The bytes on the wire."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
