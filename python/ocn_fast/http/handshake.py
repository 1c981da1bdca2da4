"""The registration of a platform: what it says of itself, what its API says when we call back, and the row.

Nothing is kept of a handshake that fails: the registration token stays good, an old registration goes on.
Order: the credentials object, the registry (the parties must be listed under this node), and only then the
two call-backs, with the peer's token B, to the URLs that it gave; the native client judges their addresses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import msgspec

from ocn_fast import logs
from ocn_fast.config import Settings
from ocn_fast.errors import OutboundError, StoreConflict
from ocn_fast.http import documents, urls
from ocn_fast.http.responses import Refusal
from ocn_fast.store import (
    Endpoint,
    Party,
    PartyTaken,
    Platform,
    Registered,
    Registration,
    RegistrationToken,
    Role,
    Store,
)
from ocn_fast.store.records import TokenEncoding
from ocn_fast.store.tokens import REPEAT_MS

if TYPE_CHECKING:
    from ocn_fast.node import NodeService

TOKEN_CHARACTERS = 64
MODULE_CHARACTERS = 64
ROLE_CHARACTERS = 16
_ROLES = ("SENDER", "RECEIVER")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a platform says of itself, checked in form."""

    token: str
    url: str
    roles: tuple[Role, ...]

    @property
    def parties(self) -> tuple[Party, ...]:
        """The parties of the roles, each once."""
        return tuple(dict.fromkeys(role.party for role in self.roles))


def read_credentials(document: Any, settings: Settings) -> Credentials:
    """The credentials object of a request. Unknown members are ignored. Raises OcpiError 2001."""
    if not isinstance(document, dict):
        raise Refusal.INVALID.error("the credentials object is not an object")
    token, url, roles = (document.get(name) for name in ("token", "url", "roles"))
    if not is_token(token):
        raise Refusal.INVALID.error("token: expected 1 to 64 printable ASCII characters without blanks")
    if not urls.is_usable(url):
        raise Refusal.INVALID.error("url: expected an absolute http(s) URL of at most 255 characters")
    if urls.lies_under(url, settings.node.url):
        raise Refusal.INVALID.error("url: this is the hub's own URL")
    if not isinstance(roles, list) or not 0 < len(roles) <= settings.handshake.roles:
        raise Refusal.INVALID.error(f"roles: expected 1 to {settings.handshake.roles} roles")
    found = tuple(_role(role) for role in roles)
    if len({(role.role, role.party) for role in found}) != len(found):
        raise Refusal.INVALID.error("roles: the same role of the same party is there twice")
    return Credentials(token, url, found)


def is_token(token: object) -> TypeGuard[str]:
    """Whether this can be a credentials token (`ocpi-hub.md` 4.5)."""
    return (
        isinstance(token, str)
        and 0 < len(token) <= TOKEN_CHARACTERS
        and all("!" <= character <= "~" for character in token)
    )


def read_party(document: dict[str, Any]) -> Party | None:
    """The party that an object names by `country_code` and `party_id`, in upper case; None without one."""
    ids = (document.get("country_code"), document.get("party_id"))
    for text, length in zip(ids, (2, 3), strict=True):
        if not isinstance(text, str) or len(text) != length or not (text.isascii() and text.isalnum()):
            return None
    return Party(str(ids[0]).upper(), str(ids[1]).upper())


def _role(document: Any) -> Role:
    if not isinstance(document, dict) or (party := read_party(document)) is None:
        raise Refusal.INVALID.error("roles: country_code must be 2 and party_id 3 letters or digits")
    role, details = document.get("role"), document.get("business_details")
    if not isinstance(role, str) or not 0 < len(role) <= ROLE_CHARACTERS or not role.isascii():
        raise Refusal.INVALID.error("roles: role is missing")
    if not isinstance(details, dict) or not isinstance(details.get("name"), str):
        raise Refusal.INVALID.error("roles: business_details must have a name")
    return Role(role.upper(), party, details)


class Handshakes:
    """Registers platforms: one handshake of a token A at a time, `handshake.concurrent` call-backs in all."""

    def __init__(self, settings: Settings, store: Store, node: NodeService) -> None:
        self._settings = settings
        self._store = store
        self._node = node
        self._running: dict[int, _Running] = {}
        self._count = 0

    async def register(
        self, token: RegistrationToken, encoding: TokenEncoding, version: str, body: bytes, document: Any
    ) -> Registered:
        """POST: spends a registration token. The same request again, at once or within ten minutes, gets the
        same answer. Raises OcpiError."""
        request = hashlib.sha256(version.encode() + b"\n" + body).hexdigest()
        if token.used_at is not None:
            return await self._repeated(token, request)
        running = self._running.get(token.id)
        if running is None:
            credentials = read_credentials(document, self._settings)
            work = self._register(token, encoding, version, request, credentials)
            running = self._start(token.id, request, work)
        elif running.request != request:
            raise Refusal.TOO_MANY_REQUESTS.error("another handshake with this token is under way")
        # Whoever waits may hang up; the handshake goes on to its end.
        return await asyncio.shield(running.task)

    async def update(
        self, platform: Platform, encoding: TokenEncoding, version: str, document: Any
    ) -> Registered:
        """PUT: replaces what is known of a platform. If it fails, everything stays. Raises OcpiError."""
        credentials = read_credentials(document, self._settings)
        await self._require_listed(credentials.parties)
        async with self._room():
            registration = await self._discover(credentials, encoding, version)
        self._judge_origins(platform, registration)
        try:
            done = await self._store.update_registration(platform, registration)
        except PartyTaken as error:
            raise _already_connected(error.party) from None
        except StoreConflict:
            if await self._store.platform(platform.id) is None:
                raise Refusal.NOT_REGISTERED.error() from None
            text = "another handshake of this platform came first"
            raise Refusal.TOO_MANY_REQUESTS.error(text) from None
        logs.get().info("platform updated", platform=platform.id, version=version)
        return done

    def _start(self, token_id: int, request: str, work: Coroutine[Any, Any, Registered]) -> _Running:
        running = _Running(request, asyncio.create_task(work))
        self._running[token_id] = running

        def ended(task: asyncio.Task[Registered]) -> None:
            del self._running[token_id]
            if not task.cancelled():
                # Taken note of: nobody may be waiting any more.
                task.exception()

        running.task.add_done_callback(ended)
        return running

    async def _register(
        self,
        token: RegistrationToken,
        encoding: TokenEncoding,
        version: str,
        request: str,
        credentials: Credentials,
    ) -> Registered:
        for party in credentials.parties:
            if token.parties and party not in token.parties:
                raise Refusal.INVALID.error(f"{_name(party)} is not one that this registration token is for!")
        await self._require_listed(credentials.parties)
        async with self._room():
            registration = await self._discover(credentials, encoding, version)
        try:
            done = await self._store.register(token.id, request, registration)
        except PartyTaken as error:
            raise _already_connected(error.party) from None
        except StoreConflict:
            raise Refusal.REGISTERED.error() from None
        logs.get().info("platform registered", platform=done.platform_id, version=version, token=token.id)
        return done

    async def _repeated(self, token: RegistrationToken, request: str) -> Registered:
        assert token.used_at is not None
        if time.time_ns() // 1_000_000 >= token.used_at + REPEAT_MS:
            raise Refusal.UNAUTHORIZED.error()
        repeated = await self._store.repeated_registration(token.id, request)
        if repeated is None:
            raise Refusal.REGISTERED.error()
        return repeated

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        if self._count >= self._settings.handshake.concurrent:
            raise Refusal.TOO_MANY_REQUESTS.error("too many handshakes are under way")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def _require_listed(self, parties: Iterable[Party]) -> None:
        """Refuses parties that the registry does not list under this node."""
        own = self._settings.node.url.rstrip("/")
        for party in parties:
            listed = await self._store.registered_party(party)
            here = (
                listed is not None
                and listed.operator.lower() == self._node.address.lower()
                and listed.domain is not None
                and listed.domain.rstrip("/") == own
            )
            if not here:
                text = f"{_name(party)} not listed in OCN Registry with my node info!"
                raise Refusal.INVALID.error(text)

    async def _discover(
        self, credentials: Credentials, encoding: TokenEncoding, version: str
    ) -> Registration:
        """Calls the platform back: its versions, then the details of this one. Raises OcpiError."""
        api = _PeerApi(self._node, self._settings, credentials.token, encoding)
        details_url = await api.details_url(credentials.url, version)
        endpoints = await api.endpoints(details_url)
        modules = {endpoint.module for endpoint in endpoints}
        if "credentials" not in modules or len(modules) == 1:
            raise Refusal.NO_MATCHING_ENDPOINTS.error(
                "expected a credentials endpoint and at least one of another module"
            )
        return Registration(
            version=version,
            versions_url=credentials.url,
            token_b=credentials.token,
            token_encoding=api.encoding,
            roles=credentials.roles,
            endpoints=endpoints,
        )

    def _judge_origins(self, platform: Platform, registration: Registration) -> None:
        """A stolen token could move a platform's traffic to a new host (`handshake.origin_change`)."""
        known = {urls.origin(url) for url in _urls(platform)}
        new = {urls.origin(url) for url in _urls(registration)} - known
        if not new:
            return
        logs.get().warning(
            "platform moves to another origin",
            platform=platform.id,
            origins=sorted(f"{scheme}://{host}:{port}" for scheme, host, port in new),
            decision=self._settings.handshake.origin_change,
        )
        if self._settings.handshake.origin_change == "confirm":
            raise Refusal.UNUSABLE_API.error(
                "the URLs lie on a new origin: the hub's operator must agree first"
            )


@dataclass(frozen=True, slots=True)
class _Running:
    request: str
    task: asyncio.Task[Registered]


class _Version(msgspec.Struct):
    version: str
    url: str


class _Endpoint(msgspec.Struct):
    identifier: str
    role: str
    url: Any


class _PeerApi:
    """A platform's own versions and details, read with its token B within one deadline."""

    def __init__(self, node: NodeService, settings: Settings, token: str, encoding: TokenEncoding) -> None:
        self.encoding: TokenEncoding = encoding
        self._node = node
        self._settings = settings
        self._token = token
        self._encoding_is_known = False
        self._ends = time.monotonic() + settings.handshake.deadline_ms / 1_000

    async def details_url(self, url: str, version: str) -> str:
        """Where the details of a version are. Versions that we do not know are passed over."""
        listed = await self._get(url, "versions")
        entries = _entries(listed, _Version, self._settings.handshake.versions, "versions")
        found = next((entry.url for entry in entries if entry.version == version), None)
        if found is None:
            raise Refusal.UNSUPPORTED_VERSION.error(f"expected version {version} in the list of versions")
        if not urls.is_usable(found):
            raise Refusal.INVALID.error(f"the URL of version {version} is malformed or too long")
        if urls.lies_under(found, self._settings.node.url):
            raise Refusal.INVALID.error(f"the URL of version {version} is the hub's own")
        return found

    async def endpoints(self, url: str) -> tuple[Endpoint, ...]:
        """The endpoints of a version. Of two for the same side of a module the first counts."""
        details = await self._get(url, "version details")
        listed = details.get("endpoints") if isinstance(details, dict) else None
        found: dict[tuple[str, str], Endpoint] = {}
        for entry in _entries(listed, _Endpoint, self._settings.handshake.endpoints, "endpoints"):
            endpoint = self._endpoint(entry)
            if endpoint is None:
                continue
            if found.setdefault((endpoint.module, endpoint.role), endpoint) is not endpoint:
                logs.get().warning("endpoint listed twice: the first counts", module=endpoint.module)
        return tuple(found.values())

    def _endpoint(self, entry: _Endpoint) -> Endpoint | None:
        module = entry.identifier.lower()
        known_form = 0 < len(module) <= MODULE_CHARACTERS and all(
            character.isascii() and (character.isalnum() or character in "-_.") for character in module
        )
        if entry.role not in _ROLES or not known_form:
            return None
        if not urls.is_usable(entry.url):
            raise Refusal.INVALID.error("the URL of an endpoint is malformed or longer than 255 characters")
        if urls.lies_under(entry.url, self._settings.node.url):
            raise Refusal.INVALID.error("the URL of an endpoint is the hub's own")
        return Endpoint(module, "SENDER" if entry.role == "SENDER" else "RECEIVER", entry.url)

    async def _get(self, url: str, what: str) -> Any:
        """The `data` of an answer. Raises OcpiError 3001 with a text of ours."""
        status, body = await self._call(url, what)
        if status == 401 and not self._encoding_is_known:
            # Some expect the token as it is, some in Base64 (`ocpi-hub.md` 1.2): each form gets one try.
            self.encoding = "plain" if self.encoding == "base64" else "base64"
            status, body = await self._call(url, what)
        self._encoding_is_known = True
        if not 200 <= status < 300:
            raise _failed(what, f"Returned HTTP status code {status}")
        try:
            document = documents.loads(body)
        except ValueError:
            raise _failed(what, "the answer is not valid JSON") from None
        code = document.get("status_code") if isinstance(document, dict) else None
        if not isinstance(code, int) or not 1000 <= code < 2000:
            raise _failed(what, "the answer is not an OCPI success")
        return document.get("data")

    async def _call(self, url: str, what: str) -> tuple[int, bytes]:
        left_ms = int((self._ends - time.monotonic()) * 1_000)
        if left_ms <= 0:
            raise _failed(what, "no answer in time")
        shown = self._token
        if self.encoding == "base64":
            shown = base64.b64encode(shown.encode()).decode()
        headers = [
            ("authorization", f"Token {shown}"),
            ("x-request-id", str(uuid.uuid4())),
            ("x-correlation-id", str(uuid.uuid4())),
        ]
        try:
            status, _, body = await self._node.fetch(
                "GET", url, headers, None, left_ms, self._settings.handshake.document_bytes
            )
        except OutboundError as error:
            raise _failed(what, error.text) from None
        return status, body


def _entries(listed: Any, kind: type[T], most: int, what: str) -> list[T]:
    """The entries of a list that have the form they need; others are of no use to us and passed over."""
    if not isinstance(listed, list):
        raise _failed(what, "expected a list")
    if len(listed) > most:
        raise _failed(what, f"expected at most {most} entries")
    found = []
    for entry in listed:
        try:
            found.append(msgspec.convert(entry, kind))
        except msgspec.ValidationError:
            continue
    return found


def _urls(platform: Platform | Registration) -> list[str]:
    return [platform.versions_url, *(endpoint.url for endpoint in platform.endpoints)]


def _failed(what: str, why: str) -> Exception:
    return Refusal.UNUSABLE_API.error(f"Failed to request {what}: {why}")


def _already_connected(party: Party) -> Exception:
    return Refusal.INVALID.error(f"{_name(party)} already connected to this node!")


def _name(party: Party) -> str:
    return f"Role with party_id={party.party_id} and country_code={party.country_code}"
