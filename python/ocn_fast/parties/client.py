"""Calls of a party to its node: functional ones signed and their answers verified, configuration ones plain.

Every functional call is one entry of the journal, whatever became of it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx

from ocn_fast import notary
from ocn_fast.errors import NotaryError, OcpiError
from ocn_fast.parties import ocpi
from ocn_fast.parties.book import Book
from ocn_fast.parties.journal import Entry, Journal
from ocn_fast.parties.ocpi import Envelope, Party
from ocn_fast.parties.signing import Container, Signable, Signer
from ocn_fast.parties.state import State, new_token

ANSWER_BYTES = 16 * 1024 * 1024
"""A larger answer than this is not read."""


class Fault(StrEnum):
    """What a party can be asked to do wrong in one call, to see that it is refused."""

    TAMPER_FIELD = "tamper-field"
    UNSIGNED = "unsigned"
    WRONG_TOKEN = "wrong-token"  # noqa: S105 - the name of a fault, no secret
    WRONG_FROM = "wrong-from"


@dataclass(frozen=True)
class Exchange:
    """One call and what came back."""

    entry: Entry
    headers: httpx.Headers
    body: bytes
    envelope: Envelope | None

    @property
    def ok(self) -> bool:
        """Answered with success, by somebody whose signature counts."""
        return self.entry.ocpi == ocpi.SUCCESS and self.entry.verdict == "valid"


class Client:
    """The outgoing side of one party."""

    def __init__(self, party: Party, state: State, signer: Signer, book: Book, journal: Journal) -> None:
        self._party = party
        self._state = state
        self._signer = signer
        self._book = book
        self._journal = journal
        # No proxies from the environment and no redirects: the token goes to the node and nowhere else.
        self.http = httpx.AsyncClient(
            trust_env=False, timeout=httpx.Timeout(30, connect=5), headers={"accept-encoding": "identity"}
        )
        self.container: Container = "brotli"
        """Which container the node writes; it gets the same back."""

    async def close(self) -> None:
        await self.http.aclose()

    async def configure(
        self, method: str, url: str, token: str, body: bytes | None = None
    ) -> tuple[int, Envelope]:
        """A call on versions or credentials: no routing headers, no signature.

        Raises `OcpiError` 3001 if the answer is no envelope or there is none.
        """
        headers = {
            "authorization": ocpi.authorization(token),
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": str(uuid.uuid4()),
        }
        if body is not None:
            headers["content-type"] = "application/json"
        started = time.perf_counter()
        entry = Entry("sent", method, httpx.URL(url).raw_path.decode(), module=url.rstrip("/").split("/")[-1])
        entry.correlation_id = headers["x-correlation-id"]
        try:
            answer = await self.http.request(method, url, headers=headers, content=body)
            envelope = ocpi.read_envelope(answer.content)
            entry.http = answer.status_code
            entry.ocpi = envelope.status_code if envelope else 0
            entry.message = (envelope and envelope.status_message) or ""
        except httpx.HTTPError as error:
            entry.reason = type(error).__name__
            raise OcpiError(200, ocpi.UNUSABLE_API, f"{url} did not answer: {entry.reason}") from None
        finally:
            entry.ms = _since(started)
            await self._journal.add(entry)
        if envelope is None:
            raise OcpiError(200, ocpi.UNUSABLE_API, f"HTTP {answer.status_code} without envelope from {url}")
        return answer.status_code, envelope

    async def call(
        self,
        method: str,
        module: str,
        interface: str,
        *segments: str,
        to: Party,
        query: str = "",
        body: bytes | None = None,
        fault: Fault | None = None,
    ) -> Exchange:
        """A functional call to another party, by the node's endpoint for that module and interface role."""
        url = ocpi.join(self._endpoint(module, interface), *segments)
        return await self.call_url(
            method, f"{url}?{query}" if query else url, module, interface, to=to, body=body, fault=fault
        )

    async def call_url(
        self,
        method: str,
        url: str,
        module: str,
        interface: str,
        *,
        to: Party,
        body: bytes | None = None,
        fault: Fault | None = None,
    ) -> Exchange:
        """The same on a URL that the node gave: a `Link`, a `Location`, a `response_url`.

        Raises `OcpiError` 2001 for a URL that is not the node's: our token is for nobody else.
        """
        if ocpi.origin(url) != ocpi.origin(self._state.versions_url or ""):
            raise OcpiError(200, ocpi.INVALID, "the URL is not on the origin of our node")
        request = self.http.build_request(method, url, content=body, headers=self._head(to, body, fault))
        entry = Entry(
            "sent",
            method,
            request.url.raw_path.decode(),
            module=module,
            interface=interface,
            peer=str(to),
            correlation_id=request.headers["x-correlation-id"],
            request_id=request.headers["x-request-id"],
        )
        if fault is not Fault.UNSIGNED:
            signed = Signable.of_request(request.headers.multi_items(), request.url.query.decode(), body)
            request.headers["ocn-signature"] = await self._signer.sign(signed, self.container)
        if fault is Fault.TAMPER_FIELD:
            body = _tampered(body)
            request = self.http.build_request(method, url, content=body, headers=_but_length(request.headers))
        entry.digest = ocpi.digest(body or b"")
        if module == "cdrs" and body is not None:
            entry.signed_data = ocpi.signed_data_digest(body)
        started = time.perf_counter()
        try:
            answer = await self.http.send(request, stream=True)
            content = await _bounded(answer)
        except (httpx.HTTPError, OcpiError) as error:
            entry.reason = str(error) or type(error).__name__
            entry.ms = _since(started)
            await self._journal.add(entry)
            return Exchange(entry, httpx.Headers(), b"", None)
        entry.ms = _since(started)
        envelope = ocpi.read_envelope(content)
        entry.http = answer.status_code
        entry.ocpi = envelope.status_code if envelope else 0
        entry.message = (envelope and envelope.status_message) or ""
        entry.delivery = answer.headers.get("ocn-delivery", "")
        if module == "cdrs" and method == "GET" and envelope is not None:
            entry.signed_data = ocpi.signed_data_digest(bytes(envelope.data))
        await self._judge(entry, answer.headers, content, to)
        await self._journal.add(entry)
        return Exchange(entry, answer.headers, content, envelope)

    def _endpoint(self, module: str, interface: str) -> str:
        known = self._state.endpoint(module, interface)
        if known is not None:
            return known
        if self._state.versions_url is None:
            raise OcpiError(200, ocpi.NO_ENDPOINTS, "not registered at a node")
        # Custom modules are not in the details of a node: one pair of paths serves them all.
        root = self._state.versions_url.rstrip("/").removesuffix("/versions")
        return ocpi.join(root, "custom", interface.lower(), module)

    def _head(self, to: Party, body: bytes | None, fault: Fault | None) -> dict[str, str]:
        sender = Party("ZZ", "ZZZ") if fault is Fault.WRONG_FROM else self._party
        token = new_token() if fault is Fault.WRONG_TOKEN else self._state.token_c or ""
        headers = {
            "authorization": ocpi.authorization(token),
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": str(uuid.uuid4()),
            "ocpi-from-country-code": sender.country_code,
            "ocpi-from-party-id": sender.party_id,
            "ocpi-to-country-code": to.country_code,
            "ocpi-to-party-id": to.party_id,
        }
        return headers if body is None else headers | {"content-type": "application/json"}

    async def _judge(self, entry: Entry, headers: httpx.Headers, body: bytes, to: Party) -> None:
        """Fills in what the answer's signature is worth."""
        try:
            content, signature = notary.detach(body)
            entry.answer_digest = ocpi.digest(content)
            if signature is None:
                entry.verdict = "unsigned"
                return
            signed = Signable.of_response(headers.multi_items(), content)
            seal = await self._signer.verify(signature, signed)
            made_by_hub = "ocn-delivery" in headers
            judged = await (
                self._book.judge_hub(seal, self._party) if made_by_hub else self._book.judge(seal, to)
            )
            entry.verdict, entry.signer, entry.rewrites = "valid", judged, len(seal.chain) - 1
        except NotaryError as error:
            entry.verdict, entry.reason = "invalid", why(error)


def why(error: NotaryError) -> str:
    """Reason code and place of a refused signature."""
    return f"{error.reason} at {error.path}" if error.path else error.reason


async def _bounded(answer: httpx.Response) -> bytes:
    """The body, whole. Raises `OcpiError` 3001 past `ANSWER_BYTES`."""
    content = bytearray()
    try:
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > ANSWER_BYTES:
                raise OcpiError(200, ocpi.UNUSABLE_API, "the answer is too large")
    finally:
        await answer.aclose()
    return bytes(content)


def _tampered(body: bytes | None) -> bytes:
    """One text longer by a character: what somebody on the way could do."""
    if not body or b'":"' not in body:
        raise OcpiError(200, ocpi.INVALID, "there is no text in this message to tamper with")
    at = body.rindex(b'":"') + 3
    return body[:at] + b"0" + body[at:]


def _but_length(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
