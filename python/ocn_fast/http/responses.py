"""Answers that the Python side makes itself: OCPI envelopes, and the one table of its errors.

Relayed messages never come here; the native core answers them in the same form. Every error says in
`OCN-Delivery` that nothing was forwarded, since nothing here ever is. Texts come from this package only.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ocn_fast import logs
from ocn_fast.errors import OcpiError, StoreError
from ocn_fast.http.context import context_of

SUCCESS = 1000
RETRY_AFTER_S = 1
_CONFIGURATION = ("/versions", "/credentials", "/hubclientinfo", "/ocnrules")
_GZIP = "H4sI"
"""How every gzip stream begins in Base64: tells the two containers of signatures apart."""


class Refusal(Enum):
    """Every kind of error answer: HTTP status, OCPI status, and the text where no better one is given
    (`ocpi-hub.md` 2.9 and 3.2)."""

    MALFORMED = (400, 2001, "the body is not valid JSON")
    UNAUTHORIZED = (401, 2001, "Invalid authorization token")
    NO_SUCH_PATH = (404, 2000, "nothing is served under this path")
    NO_SUCH_METHOD = (405, 2000, "method not supported here")
    REGISTERED = (405, 2000, "already registered: use PUT to update credentials")
    NOT_REGISTERED = (405, 2000, "not registered: use POST first")
    BODY_CUT_OFF = (408, 2001, "the body did not arrive in time")
    BODY_TOO_LARGE = (413, 2001, "body is larger than allowed")
    HEAD_TOO_LARGE = (431, 2001, "header fields are too many or too large")
    CONTENT_CODING = (415, 2001, "content codings are not accepted")
    TOO_MANY_REQUESTS = (429, 2000, "too many requests")
    INVALID = (200, 2001, "a parameter is missing or wrong")
    FORBIDDEN = (200, 2000, "not possible now")
    UNUSABLE_API = (200, 3001, "unable to use the client's API")
    UNSUPPORTED_VERSION = (200, 3002, "the client's API does not offer this version")
    NO_MATCHING_ENDPOINTS = (200, 3003, "the client's API lacks required endpoints")
    NO_NODE_SIGNATURE = (400, 2001, "Missing OCN Signature")
    NODE_SIGNATURE = (200, 4003, "Could not verify OCN-Signature of request")
    INTERNAL = (500, 3000, "internal error")
    UNAVAILABLE = (503, 3000, "the hub cannot look this up now")

    def error(self, text: str | None = None) -> OcpiError:
        """This refusal as an exception, for the handler below."""
        http_status, status_code, default = self.value
        return OcpiError(http_status, status_code, text or default)


def envelope(status_code: int, *, data: Any = None, message: str | None = None) -> bytes:
    """An OCPI response body; absent members are left out."""
    members: dict[str, Any] = {"status_code": status_code}
    if message is not None:
        members["status_message"] = message
    if data is not None:
        members["data"] = data
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    members["timestamp"] = now.removesuffix("+00:00") + "Z"
    return orjson.dumps(members)


def success(
    request: Request, data: Any = None, *, http_status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """The answer to a configuration module's request that worked."""
    body = _signed(request, envelope(SUCCESS, data=data))
    return _response(request, body, http_status, headers)


def document(data: Any, *, http_status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Plain JSON, for the operator's own pages."""
    fixed = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
    return Response(orjson.dumps(data), http_status, fixed | (headers or {}), "application/json")


def refuse(request: Request, error: OcpiError) -> Response:
    """The answer for an error of ours."""
    message = error.message
    if error.status_code in (3000, 4000):
        # What became of the message must be readable from the text too (`safety.md` section 0).
        message += {"no": " [not delivered]", "maybe": " [may have been delivered]"}.get(
            error.delivery, " [answered by the receiver]"
        )
    body = envelope(error.status_code, message=message)
    if error.http_status != Refusal.UNAUTHORIZED.value[0]:
        body = _signed(request, body)
    headers: dict[str, str] = {"ocn-delivery": error.delivery}
    if error.http_status in (429, 503):
        headers["retry-after"] = str(RETRY_AFTER_S)
    if not request.url.path.rstrip("/").endswith(_CONFIGURATION):
        # Configuration modules have no routing headers (`ocpi-hub.md` 1.6); other answers say who made them.
        node = context_of(request).settings.node
        headers |= {"ocpi-from-country-code": node.country_code, "ocpi-from-party-id": node.party_id}
    return _response(request, body, error.http_status, headers)


async def on_ocpi_error(request: Request, error: Exception) -> Response:
    """Handler of OcpiError."""
    assert isinstance(error, OcpiError)
    return refuse(request, error)


async def on_store_error(request: Request, error: Exception) -> Response:
    """Handler of StoreError: nobody is called unknown because the database does not answer."""
    assert isinstance(error, StoreError)
    logs.get().error("the database did not do what was asked", text=str(error))
    return refuse(request, Refusal.UNAVAILABLE.error())


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handler of what routing refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    kind = Refusal.NO_SUCH_METHOD if error.status_code == 405 else Refusal.NO_SUCH_PATH
    response = refuse(request, kind.error())
    response.headers.update(error.headers or {})
    return response


async def on_defect(request: Request, error: Exception) -> Response:
    """Handler of everything else: a defect of ours. The requester learns nothing of it."""
    logs.get().error("a request failed by a defect", path=request.url.path, kind=type(error).__name__)
    return refuse(request, Refusal.INTERNAL.error())


def _response(
    request: Request, body: bytes, http_status: int, headers: dict[str, str] | None = None
) -> Response:
    fixed = {
        "x-content-type-options": "nosniff",
        "x-request-id": _id(request, "x-request-id"),
        "x-correlation-id": _id(request, "x-correlation-id"),
    }
    return Response(body, http_status, fixed | (headers or {}), "application/json")


def _id(request: Request, name: str) -> str:
    """The message id of the request; a new one where it is missing or could not stand in a header."""
    text = request.headers.get(name, "")
    most = context_of(request).settings.limits.id_bytes
    usable = 0 < len(text) <= most and all("!" <= character <= "~" for character in text)
    return text if usable else str(uuid.uuid4())


def _signed(request: Request, body: bytes) -> bytes:
    """The body with the node's signature, for a known requester who signed himself, in his own container."""
    signature = request.headers.get("ocn-signature")
    if signature is None or not getattr(request.state, "authenticated", False):
        return body
    container: Literal["brotli", "gzip"] = "gzip" if signature.startswith(_GZIP) else "brotli"
    return context_of(request).node.sign_answer(body, container)
