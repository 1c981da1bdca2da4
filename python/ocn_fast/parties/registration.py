"""Credentials in both directions: this party registers at a node, and a node may renew or end it here.

The order is OCPI's (credentials, registration): nothing is kept of a handshake that failed, and an old
token of the node lives until the new one was used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec
import orjson

from ocn_fast.errors import OcpiError
from ocn_fast.parties import ocpi
from ocn_fast.parties.client import Client
from ocn_fast.parties.ocpi import Object, Party
from ocn_fast.parties.state import Endpoint, StateFile, new_token

T = TypeVar("T")


class _Version(msgspec.Struct):
    version: str
    url: str


class _Details(msgspec.Struct):
    version: str
    endpoints: list[Endpoint]


class _Credentials(msgspec.Struct):
    token: str
    url: str


@dataclass(frozen=True)
class Myself:
    """What this party says of itself in a credentials object."""

    party: Party
    role: str
    name: str
    versions_url: str

    def credentials(self, token: str) -> Object:
        """The credentials object with a token for the other side."""
        role = {
            "role": self.role,
            "business_details": {"name": self.name},
            "party_id": self.party.party_id,
            "country_code": self.party.country_code,
        }
        return {"token": token, "url": self.versions_url, "roles": [role]}


class Registration:
    """The handshakes of one party with its one node."""

    def __init__(self, myself: Myself, store: StateFile, client: Client) -> None:
        self.myself = myself
        self._store = store
        self._client = client

    async def register(self, versions_url: str, token_a: str) -> None:
        """POST with token A. Raises `OcpiError` with the node's code and text if it does not work."""
        await self._handshake("POST", versions_url, token_a)

    async def renew(self) -> None:
        """PUT with the current token: new tokens both ways, and our URLs told anew. Raises `OcpiError`."""
        state = self._store.state
        if state.versions_url is None or state.token_c is None:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "not registered")
        await self._handshake("PUT", state.versions_url, state.token_c)

    async def move(self, versions_url: str, token_a: str) -> None:
        """DELETE at the old node, POST at another one. Raises `OcpiError`; between the two it has none."""
        await self.leave()
        await self.register(versions_url, token_a)

    async def leave(self) -> None:
        """DELETE: both tokens are void afterwards. Raises `OcpiError`."""
        state = self._store.state
        if state.token_c is None:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "not registered")
        url = _credentials_url(state.endpoints)
        _succeeded(await self._client.configure("DELETE", url, state.token_c))
        self._forget()

    async def adopt(self, body: bytes, *, registered: bool) -> Object:
        """The node's POST (`registered` false) or PUT here. Returns our credentials object for it.

        Raises `OcpiError`: 405 if it is registered already, or not yet; 3001 if its API cannot be used.
        """
        state = self._store.state
        if state.registered != registered:
            text = "already registered" if state.registered else "not registered"
            raise OcpiError(405, ocpi.CLIENT_ERROR, text)
        theirs = _decode(body, _Credentials)
        endpoints = await self._details(theirs.url, theirs.token)
        ours = new_token()
        state.tokens_b = [ours, *state.tokens_b[:1]]
        state.token_a = None
        state.token_c, state.versions_url, state.endpoints = theirs.token, theirs.url, endpoints
        state.own_url = self.myself.versions_url
        self._store.save()
        return self.myself.credentials(ours)

    def ended(self) -> None:
        """The node's DELETE here. Raises `OcpiError` 405 if there is nothing to end."""
        if not self._store.state.registered:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "not registered")
        self._forget()

    async def _handshake(self, method: str, versions_url: str, token: str) -> None:
        state = self._store.state
        before = msgspec.json.encode(state)
        try:
            endpoints = await self._details(versions_url, token)
            url = _credentials_url(endpoints)
            ours = new_token()
            # Before the call, not after it: the node calls back with this token while it still runs.
            state.tokens_b = [ours, *state.tokens_b[:1]]
            self._store.save()
            body = orjson.dumps(self.myself.credentials(ours))
            answer = _succeeded(await self._client.configure(method, url, token, body))
            state.token_c = _decode(answer, _Credentials).token
            state.versions_url, state.endpoints = versions_url, endpoints
            state.own_url = self.myself.versions_url
        except BaseException:
            self._store.state.tokens_b = msgspec.json.decode(before, type=type(state)).tokens_b
            raise
        finally:
            self._store.save()

    async def _details(self, versions_url: str, token: str) -> list[Endpoint]:
        """The node's endpoints in our version."""
        answer = _succeeded(await self._client.configure("GET", versions_url, token))
        versions = _decode(answer, list[_Version])
        url = next((one.url for one in versions if one.version == ocpi.VERSION), None)
        if url is None:
            raise OcpiError(200, ocpi.UNSUPPORTED_VERSION, f"the node does not speak {ocpi.VERSION}")
        return _decode(_succeeded(await self._client.configure("GET", url, token)), _Details).endpoints

    def _forget(self) -> None:
        state = self._store.state
        state.tokens_b, state.token_c, state.endpoints = [], None, []
        state.versions_url = state.own_url = None
        self._store.save()


def _credentials_url(endpoints: list[Endpoint]) -> str:
    """Whatever its role, which means nothing here (version details). Raises `OcpiError` 3003."""
    url = next((one.url for one in endpoints if one.identifier == "credentials"), None)
    if url is None:
        raise OcpiError(200, ocpi.NO_ENDPOINTS, "the node lists no credentials endpoint")
    return url


def _succeeded(answer: tuple[int, ocpi.Envelope]) -> bytes:
    """The `data` of a success. Raises `OcpiError` with what the other side said."""
    http, envelope = answer
    if envelope.status_code != ocpi.SUCCESS:
        text = envelope.status_message or "no reason given"
        said = f"the node answered {http}/{envelope.status_code}: {text}"
        raise OcpiError(http, envelope.status_code, said)
    return bytes(envelope.data)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OcpiError(200, ocpi.INVALID, f"not what OCPI says: {error}") from None
