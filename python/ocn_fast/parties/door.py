"""Calls that come in: versions, credentials, functional modules with signatures, and the local control API.

A functional call is authenticated by token B, its body is read, its signature judged, then the role answers;
the answer is signed, written down and sent. What the role wants to do later starts after that.
"""

from __future__ import annotations

import hmac
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec
import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast import notary
from ocn_fast.errors import NotaryError, OcnError, OcpiError
from ocn_fast.parties import ocpi
from ocn_fast.parties.book import Book
from ocn_fast.parties.client import Client, why
from ocn_fast.parties.journal import Entry, Journal
from ocn_fast.parties.ocpi import Object, Party
from ocn_fast.parties.registration import Registration
from ocn_fast.parties.signing import Container, Seal, Signable, Signer
from ocn_fast.parties.state import StateFile

BODY_BYTES = 8 * 1024 * 1024
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Message:
    """A functional request whose sender is known and whose signature holds."""

    method: str
    module: str
    interface: str
    segments: tuple[str, ...]
    """Of the path behind the endpoint, decoded."""
    query: Mapping[str, str]
    body: bytes
    sender: Party


@dataclass
class Answer:
    """What a role says to a message."""

    data: object = None
    """As `ocpi.envelope` takes it."""
    code: int = ocpi.SUCCESS
    http: int = 200
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], Awaitable[None]] | None = None
    """Starts once the answer is out."""


class Role(Protocol):
    """What a CPO or an eMSP knows and does."""

    ocpi_role: str
    interfaces: frozenset[tuple[str, str]]
    """Module and interface role of what it serves; these are in the version details."""

    async def answer(self, message: Message) -> Answer:
        """Raises `OcpiError` for what it refuses."""
        ...

    async def do(self, step: str, wishes: Mapping[str, Any]) -> Object:
        """Performs one of its steps and says what came of it. Raises `OcpiError`."""
        ...


@dataclass(frozen=True)
class Manners:
    """How this party behaves."""

    fail_rate: float = 0.0
    """Share of functional calls answered with 3000."""
    unsigned_allowed: bool = False


class Door:
    """The web application of one party."""

    def __init__(
        self,
        *,
        base_url: str,
        role: Role,
        store: StateFile,
        registration: Registration,
        client: Client,
        signer: Signer,
        book: Book,
        journal: Journal,
        manners: Manners,
        control_key: str,
    ) -> None:
        self._base = base_url
        self._role = role
        self._store = store
        self._registration = registration
        self._client = client
        self._signer = signer
        self._book = book
        self._journal = journal
        self._manners = manners
        self._control_key = control_key
        self._own = registration.myself.party

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        version = f"/ocpi/{ocpi.VERSION}"
        routes = [
            Route("/ocpi/versions", self._configured(self._versions)),
            Route(version, self._configured(self._details)),
            Route(f"{version}/credentials", self._configured(self._credentials), methods=methods),
            Route(version + "/{interface}/{module}{rest:path}", self._functional, methods=methods),
            Route("/ocpi/custom/{interface}/{module}{rest:path}", self._functional, methods=methods),
            Route("/_party", self._controlled(self._show)),
            Route("/_party/journal", self._controlled(self._read)),
            Route("/_party/do", self._controlled(self._do), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={404: _nowhere, 405: _nowhere})

    # --- configuration modules: authenticated, never signed ---

    def _configured(
        self, answer: Callable[[Request, str], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                token = self._authenticate(request, configuration=True)
                return await answer(request, token)
            except OcpiError as error:
                return _refused(request, error)

        return endpoint

    async def _versions(self, request: Request, _token: str) -> Response:
        versions = [{"version": ocpi.VERSION, "url": f"{self._base}/ocpi/{ocpi.VERSION}"}]
        return _plain(request, 200, ocpi.envelope(ocpi.SUCCESS, versions))

    async def _details(self, request: Request, _token: str) -> Response:
        root = f"{self._base}/ocpi/{ocpi.VERSION}"
        endpoints = [{"identifier": "credentials", "role": "SENDER", "url": f"{root}/credentials"}]
        for module, interface in sorted(self._role.interfaces):
            # Custom ids begin with the party's own and a hyphen, which no module of OCPI has.
            place = "custom" if "-" in module else ocpi.VERSION
            url = f"{self._base}/ocpi/{place}/{interface.lower()}/{module}"
            endpoints.append({"identifier": module, "role": interface, "url": url})
        data = {"version": ocpi.VERSION, "endpoints": endpoints}
        return _plain(request, 200, ocpi.envelope(ocpi.SUCCESS, data))

    async def _credentials(self, request: Request, token: str) -> Response:
        data: Object | None = None
        if request.method == "GET":
            data = self._registration.myself.credentials(token)
        elif request.method in ("POST", "PUT"):
            body = await _body(request)
            data = await self._registration.adopt(body, registered=request.method == "PUT")
        elif request.method == "DELETE":
            self._registration.ended()
        else:
            raise OcpiError(405, ocpi.CLIENT_ERROR, "credentials know GET, POST, PUT and DELETE")
        return _plain(request, 200, ocpi.envelope(ocpi.SUCCESS, data))

    def _authenticate(self, request: Request, *, configuration: bool = False) -> str:
        """The node's token. Raises `OcpiError` 401 for any other; token A opens configuration modules only.

        The first message with a new token ends the old one.
        """
        header = request.headers.get("authorization")
        state = self._store.state
        for age, token in enumerate(state.tokens_b):
            if ocpi.is_token(header, token):
                if age == 0 and len(state.tokens_b) > 1 and not configuration:
                    del state.tokens_b[1:]
                    self._store.save()
                return token
        if configuration and state.token_a is not None and ocpi.is_token(header, state.token_a):
            return state.token_a
        raise OcpiError(401, ocpi.CLIENT_ERROR, "unknown token")

    # --- functional modules ---

    async def _functional(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            self._authenticate(request)
            body = await _body(request)
        except OcpiError as error:
            return _refused(request, error)
        raw_path = request.scope["raw_path"].decode("ascii", "replace")
        query = request.scope["query_string"].decode("ascii", "replace")
        entry = Entry(
            "received",
            request.method,
            f"{raw_path}?{query}" if query else raw_path,
            module=request.path_params["module"],
            interface=request.path_params["interface"].upper(),
            correlation_id=request.headers.get("x-correlation-id", ""),
            request_id=request.headers.get("x-request-id", ""),
            digest=ocpi.digest(body),
        )
        try:
            sender = self._parties(request, entry)
            await self._verify(request, entry, sender, query, body)
            segments = tuple(unquote(one) for one in raw_path.split("/")[5:] if one)
            pairs = dict(parse_qsl(query, keep_blank_values=True))
            message = Message(request.method, entry.module, entry.interface, segments, pairs, body, sender)
            answer = await self._ask(message)
        except OcpiError as error:
            answer = Answer(code=error.status_code, http=error.http_status, message=error.message)
        entry.http, entry.ocpi, entry.message = answer.http, answer.code, answer.message or ""
        response = await self._sign(request, entry, answer)
        entry.ms = round((time.perf_counter() - started) * 1000, 1)
        await self._journal.add(entry)
        return response

    async def _ask(self, message: Message) -> Answer:
        if (message.module, message.interface) not in self._role.interfaces:
            raise OcpiError(404, ocpi.CLIENT_ERROR, "this party does not serve that module")
        if random.random() < self._manners.fail_rate:  # noqa: S311 - no secret depends on it
            raise OcpiError(200, ocpi.SERVER_ERROR, "failed on purpose (--fail)")
        return await self._role.answer(message)

    def _parties(self, request: Request, entry: Entry) -> Party:
        """The sender, from headers that must all be there and name us as the receiver."""
        names = ["from-country-code", "from-party-id", "to-country-code", "to-party-id"]
        values = [request.headers.get(f"ocpi-{name}", "") for name in names]
        sender, receiver = Party.of(*values[:2]), Party.of(*values[2:])
        entry.peer = str(sender)
        if receiver != self._own:
            raise OcpiError(200, ocpi.INVALID, f"this is {self._own}, not {receiver}")
        if not entry.correlation_id or not entry.request_id:
            raise OcpiError(200, ocpi.INVALID, "X-Request-ID and X-Correlation-ID are missing")
        return sender

    async def _verify(self, request: Request, entry: Entry, sender: Party, query: str, body: bytes) -> None:
        signature = request.headers.get("ocn-signature")
        if signature is None:
            entry.verdict = "unsigned"
            if not self._manners.unsigned_allowed:
                raise OcpiError(200, ocpi.INVALID, "Missing OCN Signature")
            return
        # Base64 of a gzip header; everything else is Brotli.
        self._client.container = container = "gzip" if signature.startswith("H4sI") else "brotli"
        request.state.container = container
        try:
            signed = Signable.of_request(request.headers.items(), query, body)
            seal = await self._signer.verify(signature, signed)
            entry.signer = await self._book.judge(seal, sender)
        except NotaryError as error:
            entry.verdict, entry.reason = "invalid", why(error)
            raise OcpiError(200, ocpi.INVALID, f"Invalid signature: {entry.reason}") from None
        entry.verdict, entry.rewrites = "valid", len(seal.chain) - 1
        entry.origin_digest = ocpi.digest(_restored(body, seal))
        if entry.module == "cdrs":
            entry.signed_data = ocpi.signed_data_digest(body)

    async def _sign(self, request: Request, entry: Entry, answer: Answer) -> Response:
        body = ocpi.envelope(answer.code, answer.data, answer.message)
        entry.answer_digest = ocpi.digest(body)
        headers = dict(answer.headers)
        container: Container = getattr(request.state, "container", "brotli")
        signature = await self._signer.sign(Signable.of_response(headers.items(), body), container)
        body = notary.attach(body, signature)
        task = BackgroundTask(_begin, answer.then) if answer.then is not None else None
        return Response(
            body, answer.http, headers | _echo(request) | _swapped(request), background=task,
            media_type="application/json",
        )  # fmt: skip

    # --- control: for whoever started this process ---

    def _controlled(
        self, answer: Callable[[Request], Awaitable[object]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            given = (request.headers.get("authorization") or "").removeprefix("Token ")
            if not hmac.compare_digest(given.encode(), self._control_key.encode()):
                return _json({"error": "the control key is in the ready file"}, 401)
            try:
                return _json(await answer(request))
            except OcpiError as error:
                return _json({"error": error.message, "code": error.status_code}, 422)
            except (OcnError, KeyError, TypeError, ValueError) as error:
                return _json({"error": f"{type(error).__name__}: {error}"}, 422)

        return endpoint

    async def _show(self, request: Request) -> object:
        state = self._store.state
        return {
            "party": str(self._own),
            "role": self._role.ocpi_role,
            "address": self._signer.address,
            "node": state.versions_url,
            "registered": state.registered,
        }

    async def _read(self, request: Request) -> object:
        """Query: `after` (number), `kind`, `correlation_id`, `module`, `method`, `wait` (seconds)."""
        asked = request.query_params
        names = ("kind", "correlation_id", "module", "method")
        filters = {name: asked[name] for name in names if name in asked}
        after = int(asked.get("after", "0"))
        seconds = min(float(asked.get("wait", "0")), LONGEST_WAIT_S)

        def wanted(entry: Entry) -> bool:
            return all(getattr(entry, name) == value for name, value in filters.items())

        return await self._journal.wait(after, wanted, seconds)

    async def _do(self, request: Request) -> object:
        """Body: `{"step": name, …}`; the rest are the step's wishes."""
        wishes = ocpi.parse_object(await _body(request))
        step = str(wishes.pop("step", ""))
        if step == "renew":
            await self._registration.renew()
            return {}
        if step == "leave":
            await self._registration.leave()
            return {}
        if step == "move":
            await self._registration.move(str(wishes["versions_url"]), str(wishes["token"]))
            return {}
        return await self._role.do(step, wishes)


async def _begin(then: Callable[[], Awaitable[None]]) -> None:
    await then()


async def _body(request: Request) -> bytes:
    """Raises `OcpiError` 413/2001 past the limit, 400/2001 if it does not come whole."""
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > BODY_BYTES:
                raise OcpiError(413, ocpi.INVALID, "the body is too large")
    except ClientDisconnect:
        raise OcpiError(400, ocpi.INVALID, "the body is not whole") from None
    return bytes(content)


def _restored(body: bytes, seal: Seal) -> bytes:
    """The body with the values of rewritten leaves put back, byte for byte what the origin signed."""
    for path, value in seal.before.items():
        found = re.fullmatch(r"\$\['body'\]\['([^']*)'\]", path)
        if found is None:
            continue
        current = orjson.dumps(orjson.loads(body)[found[1]])
        body = body.replace(current, orjson.dumps(value), 1)
    return body


def _echo(request: Request) -> dict[str, str]:
    names = ("x-request-id", "x-correlation-id")
    return {name: request.headers[name] for name in names if name in request.headers}


def _swapped(request: Request) -> dict[str, str]:
    """Routing headers of the answer: from us to whoever asked."""
    pairs = [("from", "to"), ("to", "from")]
    return {
        f"ocpi-{mine}-{part}": request.headers[f"ocpi-{theirs}-{part}"]
        for mine, theirs in pairs
        for part in ("country-code", "party-id")
        if f"ocpi-{theirs}-{part}" in request.headers
    }


def _plain(request: Request, http: int, body: bytes) -> Response:
    return Response(body, http, _echo(request), media_type="application/json")


def _refused(request: Request, error: OcpiError) -> Response:
    return _plain(request, error.http_status, ocpi.envelope(error.status_code, None, error.message))


async def _nowhere(request: Request, error: Exception) -> Response:
    http = getattr(error, "status_code", 404)
    return _plain(request, http, ocpi.envelope(ocpi.CLIENT_ERROR, None, "there is nothing here"))


def _json(content: object, http: int = 200) -> Response:
    return Response(msgspec.json.encode(content), http, media_type="application/json")
