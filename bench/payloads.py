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


def start_session() -> dict[str, Any]:
    """A START_SESSION command."""
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
        "response_url": "https://msp.example/ocpi/2.2.1/commands/START_SESSION/7b0d2f7e",
        "token": token,
        "location_id": "LOC-0815",
        "evse_uid": "EVSE-0815-1",
        "connector_id": "1",
    }


def cdr() -> dict[str, Any]:
    """A CDR with eight charging periods and signed meter data."""
    periods = [
        {
            "start_date_time": f"2026-03-01T08:{30 + minute}:00Z",
            "dimensions": [
                {"type": "ENERGY", "volume": 1.25 + minute},
                {"type": "TIME", "volume": 0.0833},
            ],
            "tariff_id": "TARIFF-11",
        }
        for minute in range(0, 24, 3)
    ]
    location = {
        "id": "LOC-0815",
        "name": "Parkhaus am Markt",
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
    tariff = {
        "country_code": "DE",
        "party_id": "CPO",
        "id": "TARIFF-11",
        "currency": "EUR",
        "elements": [
            {"price_components": [{"type": "ENERGY", "price": 0.39, "vat": 19.0, "step_size": 1}]},
            {"price_components": [{"type": "PARKING_TIME", "price": 2.4, "vat": 19.0, "step_size": 300}]},
        ],
        "last_updated": _STAMP,
    }
    signed_data = {
        "encoding_method": "OCMF",
        "encoding_method_version": 1,
        "public_key": "04" + "5a3c" * 32,
        "signed_values": [
            {"nature": nature, "plain_data": f"OCMF|{nature}|" + "0.000 kWh;" * 8, "signed_data": "9f8e" * 48}
            for nature in ("Start", "End")
        ],
        "url": "https://cpo.example/transparency",
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
        "tariffs": [tariff],
        "charging_periods": periods,
        "signed_data": signed_data,
        "total_cost": {"excl_vat": 9.75, "incl_vat": 11.6},
        "total_energy": 25.0,
        "total_time": 0.4,
        "last_updated": _STAMP,
    }


def location() -> dict[str, Any]:
    """A location with four charge points of two connectors each."""
    evses = [
        {
            "uid": f"EVSE-0815-{number}",
            "evse_id": f"DE*CPO*E0815*{number}",
            "status": "AVAILABLE",
            "capabilities": ["RFID_READER", "REMOTE_START_STOP_CAPABLE", "RESERVABLE"],
            "connectors": [
                {
                    "id": str(connector),
                    "standard": "IEC_62196_T2",
                    "format": "SOCKET",
                    "power_type": "AC_3_PHASE",
                    "max_voltage": 230,
                    "max_amperage": 32,
                    "max_electric_power": 22080,
                    "tariff_ids": ["TARIFF-11"],
                    "last_updated": _STAMP,
                }
                for connector in (1, 2)
            ],
            "physical_reference": str(number),
            "last_updated": _STAMP,
        }
        for number in range(1, 5)
    ]
    return {
        "country_code": "DE",
        "party_id": "CPO",
        "id": "LOC-0815",
        "publish": True,
        "name": "Parkhaus am Markt",
        "address": "Marktplatz 1",
        "city": "Musterstadt",
        "postal_code": "12345",
        "country": "DEU",
        "coordinates": {"latitude": "52.5200", "longitude": "13.4050"},
        "evses": evses,
        "directions": [{"language": "de", "text": "Einfahrt an der Rückseite, Ebene 2"}],
        "operator": {"name": "Example Charging", "website": "https://cpo.example"},
        "facilities": ["PARKING_LOT", "SHOPPING"],
        "time_zone": "Europe/Berlin",
        "opening_times": {"twentyfourseven": True},
        "charging_when_closed": True,
        "energy_mix": {"is_green_energy": True, "supplier_name": "Example Energy"},
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
