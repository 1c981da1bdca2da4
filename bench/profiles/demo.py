"""The parties of a demo that was left running, as its folder tells: ids, keys, nodes, tokens."""

from __future__ import annotations

import base64
import json
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ocn_fast import notary

_FOLDERS = "ocn-fast-demo-*"


class NoDemo(Exception):
    """There is no demo to send messages to, or not one that this profile needs."""


@dataclass(frozen=True)
class Party:
    """One party, able to speak in its own name."""

    country_code: str
    party_id: str
    key: bytes
    token: str
    endpoints: dict[tuple[str, str], str]
    """URL by module and role of the interface."""
    own_url: str
    control: tuple[str, str]
    """URL of its process, and the key of its control API."""

    @property
    def name(self) -> str:
        return f"{self.country_code}/{self.party_id}"

    @property
    def node(self) -> str:
        """Origin of the node that it uses."""
        return _origin(next(iter(self.endpoints.values())))

    @property
    def is_cpo(self) -> bool:
        """Whether it pushes sessions, rather than takes them."""
        return self.party_id == "CPO"

    def request(
        self,
        to: Party,
        method: str,
        module: str,
        interface: str,
        path: str = "",
        query: str = "",
        body: Any = None,
    ) -> Request:
        """A signed message to another party."""
        content = json.dumps(body, separators=(",", ":")).encode() if body is not None else b""
        headers = {
            "authorization": "Token " + base64.b64encode(self.token.encode()).decode(),
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": str(uuid.uuid4()),
            "ocpi-from-country-code": self.country_code,
            "ocpi-from-party-id": self.party_id,
            "ocpi-to-country-code": to.country_code,
            "ocpi-to-party-id": to.party_id,
        }
        if content:
            headers["content-type"] = "application/json"
        signed = notary.sign(notary.request_values(headers, query, content), self.key)
        headers["ocn-signature"] = signed.serialize()
        url = self.endpoints[module, interface] + path + (f"?{query}" if query else "")
        return Request(method, url, headers, content)


@dataclass(frozen=True)
class Request:
    """What goes over the wire."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


def youngest() -> Path:
    """The folder of the demo that was started last. Raises NoDemo."""
    folders = sorted(Path(tempfile.gettempdir()).glob(_FOLDERS), key=lambda one: one.stat().st_mtime)
    if not folders:
        raise NoDemo("no demo is running: make demo KEEP=1")
    return folders[-1]


def parties(folder: Path) -> list[Party]:
    """The registered parties of a demo. Raises NoDemo unless there are a CPO and an eMSP among them."""
    found = [_read(home) for home in sorted(folder.iterdir()) if (home / "state.json").is_file()]
    registered = [party for party in found if party is not None]
    if len({party.is_cpo for party in registered}) < 2:
        raise NoDemo(f"{folder} has no CPO and eMSP that are registered: is its story told to the end?")
    return registered


def _read(home: Path) -> Party | None:
    """The party of a folder; None where it is not registered, or lets somebody else sign."""
    state = json.loads((home / "state.json").read_bytes())
    key, ready = home / "party.key", home / "ready.json"
    if state["token_c"] is None or not key.is_file() or not ready.is_file():
        return None
    told = json.loads(ready.read_bytes())
    country_code, party_id = told["party"].split("/")
    endpoints = {(one["identifier"], one["role"]): one["url"] for one in state["endpoints"]}
    return Party(
        country_code,
        party_id,
        bytes.fromhex(key.read_text()),
        state["token_c"],
        endpoints,
        told["url"],
        (told["url"], told["control_key"]),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def pairs(parties: Sequence[Party]) -> list[tuple[Party, Party]]:
    """The CPO with each eMSP, those first that use another node."""
    (cpo, *_), msps = (
        [party for party in parties if party.is_cpo],
        [party for party in parties if party.party_id == "MSP"],
    )
    return sorted(((cpo, msp) for msp in msps), key=lambda pair: pair[0].node == pair[1].node)
