"""What nodes ask of each other without a token: who this node is, what the registry says, client infos.

Everything below `/ocn/` but the relay itself. The queries answer as the existing nodes do (`ocn-node.md` 2.4)
from a copy in memory; a client info counts by the signature of its party's operator (`ocn-node.md` 2.5, 6).
All of it is open, so one source may ask `http.open_rate` times a second.
"""

from __future__ import annotations

import re
import time
from importlib import metadata
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ocn_fast import logs, moments
from ocn_fast.config import Settings
from ocn_fast.http.bodies import parse_json, read_body
from ocn_fast.http.context import context_of
from ocn_fast.http.directory import ListName
from ocn_fast.http.handshake import read_party
from ocn_fast.http.responses import Refusal, document
from ocn_fast.http.sources import Networks, Rate, source_of
from ocn_fast.registry.enums import ROLES
from ocn_fast.store import ClientInfo
from ocn_fast.store.records import Status

RELAY = "ocn-relay/3"
"""The protocol that this node speaks to others."""

_NOT_REGISTERED = "Party not registered on OCN"
_SIGNATURE = re.compile("(?:0x)?(?P<rsv>[0-9a-fA-F]{130})")
_STATUSES = get_args(Status)


class OpenRate:
    """Lets each source through `http.open_rate` times a second; telling counts apart from asking."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._proxies = Networks(settings.http.trusted_proxies)
        self._asking = Rate(settings.http.open_rate)
        self._telling = Rate(settings.http.open_rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate = self._telling if scope["method"] == "PUT" else self._asking
        if not rate.take(source_of(Request(scope), self._proxies)):
            raise Refusal.TOO_MANY_REQUESTS.error()
        await self._app(scope, receive, send)


async def node_info(request: Request) -> Response:
    """GET /ocn/registry/node-info: URL and address of this node, and what it speaks."""
    context = context_of(request)
    info: dict[str, Any] = {
        "url": context.settings.node.url,
        "address": context.node.address.lower(),
        "relay": [RELAY],
    }
    if context.settings.node.show_software:
        info["software"] = _software()
    return document(info)


async def node_of_party(request: Request) -> Response:
    """GET /ocn/registry/node/{cc}/{pid}: the node of a party, as v1 nodes answer."""
    party = read_party(request.path_params)
    found = None if party is None else await context_of(request).directory.find(party)
    if found is None or not found[1]:
        return PlainTextResponse(_NOT_REGISTERED)
    address, domain = found
    return document({"url": domain, "address": address})


async def operators(request: Request) -> Response:
    """GET /ocn/registry/operators: all nodes, as v2 nodes answer."""
    return await _list(request, "operators")


async def parties(request: Request) -> Response:
    """GET /ocn/registry/all-parties, and `nodes`, which despite its name is the same."""
    return await _list(request, "parties")


async def own_parties(request: Request) -> Response:
    """GET /ocn/registry/my-parties: those that name this node as their operator."""
    return await _list(request, "own")


async def own_emsp_parties(request: Request) -> Response:
    """GET /ocn/registry/my-parties/emsp: those of them that are an eMSP."""
    return await _list(request, "own_emsp")


async def put_client_info(request: Request) -> Response:
    """PUT /ocn/client-info: how a party is connected, signed by the operator of its node.

    Nothing of it is passed on. Costs no SQL before the signer has been found to be that operator.
    """
    context = context_of(request)
    header = request.headers.get("ocn-signature")
    if header is None:
        raise Refusal.NO_NODE_SIGNATURE.error()
    signature = _SIGNATURE.fullmatch(header.strip())
    if signature is None:
        raise Refusal.NODE_SIGNATURE.error()
    body = await read_body(request)
    try:
        signer = context.node.signatory(body, f"0x{signature['rsv'].lower()}")
    except ValueError:
        raise Refusal.NODE_SIGNATURE.error() from None
    info = _client_info(parse_json(body))
    if info.last_updated > time.time_ns() // 1_000_000 + context.settings.node.clock_skew_s * 1_000:
        raise Refusal.MALFORMED.error("last_updated lies in the future")
    found = await context.directory.find(info.party)
    name = f"{info.party.country_code}/{info.party.party_id}"
    if found is None:
        raise Refusal.MALFORMED.error(f"{name} is not registered on OCN")
    if found[0] != signer.lower():
        logs.get().warning("client info refused", party=name, operator=found[0], signer=signer)
        raise Refusal.MALFORMED.error(
            f"Invalid OCN-Signature header. Client registered with operator {found[0]} but update signed by "
            f"{signer.lower()}."
        )
    if signer == context.node.address:
        # An echo of what we said ourselves: our platforms know better.
        raise Refusal.MALFORMED.error(f"{name} is a party of this node")
    if await context.store.receive_client_info(info, signer) == "older":
        raise Refusal.MALFORMED.error("a later client info of this party is known")
    return Response()


def _client_info(document: Any) -> ClientInfo:
    """The client info of a body; members that OCPI does not know are passed over. Raises OcpiError 400."""
    party = read_party(document) if isinstance(document, dict) else None
    if party is None:
        raise Refusal.MALFORMED.error("country_code must be 2 and party_id 3 letters or digits")
    role, status = document.get("role"), document.get("status")
    if role not in ROLES:
        raise Refusal.MALFORMED.error("role: expected one of " + ", ".join(ROLES))
    if status not in _STATUSES:
        raise Refusal.MALFORMED.error("status: expected one of " + ", ".join(_STATUSES))
    last_updated = moments.read(document.get("last_updated"))
    if last_updated is None:
        raise Refusal.MALFORMED.error("last_updated: expected a time such as 2026-01-31T12:00:00Z")
    return ClientInfo(party, role, status, last_updated)


def _software() -> str:
    try:
        return f"ocn-fast {metadata.version('ocn-fast')}"
    except metadata.PackageNotFoundError:
        # Run from a source tree: there is no version to tell.
        return "ocn-fast"


async def _list(request: Request, name: ListName) -> Response:
    context = context_of(request)
    listed = await context.directory.list(name)
    headers = {
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-total-count": str(listed.total),
        "x-limit": str(context.settings.registry.list_rows),
    }
    return Response(listed.body, headers=headers, media_type="application/json")


ROUTER = Router(
    [
        Route("/registry/node-info", node_info, methods=["GET"]),
        Route("/registry/node/{country_code}/{party_id}", node_of_party, methods=["GET"]),
        Route("/registry/operators", operators, methods=["GET"]),
        Route("/registry/nodes", parties, methods=["GET"]),
        Route("/registry/all-parties", parties, methods=["GET"]),
        Route("/registry/my-parties", own_parties, methods=["GET"]),
        Route("/registry/my-parties/emsp", own_emsp_parties, methods=["GET"]),
        Route("/client-info", put_client_info, methods=["PUT"]),
    ],
    redirect_slashes=False,
)
