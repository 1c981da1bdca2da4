"""The operator's API: registration tokens and platforms. Behind the admin key and `admin.networks`, as a
whole.

Whatever is mounted below `AdminGuard` is protected by it; no route protects itself. Answers are plain JSON,
errors OCPI envelopes with an HTTP status. A token is shown once, when it is made; each change leaves an
audit line that names who made it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ocn_fast import logs, moments
from ocn_fast.config import Settings
from ocn_fast.http.bodies import read_body, read_json
from ocn_fast.http.callers import candidates
from ocn_fast.http.context import context_of
from ocn_fast.http.handshake import read_party
from ocn_fast.http.responses import Refusal, document
from ocn_fast.http.sources import Failures, Networks, source_of
from ocn_fast.store import Platform
from ocn_fast.store.records import Status

DIGEST_CHARACTERS = 4
"""How much of a token's digest is shown, to tell tokens apart."""


GREATEST_ID = 2**63 - 1
"""Greater numbers are none that a database can hold."""


class OperatorNetworks:
    """Lets requests from `admin.networks` through; for all others there is nothing here."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._proxies = Networks(settings.http.trusted_proxies)
        self._networks = Networks(settings.admin.networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if source_of(Request(scope), self._proxies) not in self._networks:
            raise Refusal.NO_SUCH_PATH.error()
        await self._app(scope, receive, send)


class AdminGuard:
    """Lets holders of the admin key through. Past `admin.failures_per_min` wrong keys a source is refused,
    with the right one too.
    """

    def __init__(self, app: ASGIApp, settings: Settings, key: str) -> None:
        self._app = app
        self._key = _digest(key)
        self._proxies = Networks(settings.http.trusted_proxies)
        self._failures = Failures(settings.admin.failures_per_min)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        source = source_of(request, self._proxies)
        if self._failures.exceeded(source):
            raise Refusal.TOO_MANY_REQUESTS.error()
        shown = candidates(request.headers.get("authorization", ""))
        if not any(hmac.compare_digest(_digest(text), self._key) for text in shown):
            self._failures.add(source)
            logs.get().warning("wrong admin key", source=str(source))
            raise Refusal.UNAUTHORIZED.error()
        scope.setdefault("state", {})["operator"] = str(source)
        await self._app(scope, receive, send)


async def create_registration_token(request: Request) -> Response:
    """POST /registration-tokens: a token A for the parties of the body. The only time that it is shown."""
    body = await read_json(request)
    listed = body.get("parties") if isinstance(body, dict) else None
    context = context_of(request)
    if not isinstance(listed, list) or not 0 < len(listed) <= context.settings.handshake.roles:
        raise Refusal.MALFORMED.error("parties: expected a list of parties")
    parties = [read_party(entry) if isinstance(entry, dict) else None for entry in listed]
    known = [party for party in parties if party is not None]
    if len(known) != len(parties):
        raise Refusal.MALFORMED.error("parties: country_code must be 2 and party_id 3 letters or digits")
    made = await context.store.create_registration_token(known)
    _audit(request, "registration token made", token=made.id)
    return document(
        {
            "id": made.id,
            "token": made.token,
            "versions": f"{context.settings.node.url}/ocpi/versions",
            "expires_at": _time(made.expires_at),
        },
        http_status=201,
    )


async def list_platforms(request: Request) -> Response:
    """GET /platforms: all of them."""
    return document([_shown(platform) for platform in await context_of(request).store.platforms()])


async def show_platform(request: Request) -> Response:
    """GET /platforms/{id}."""
    return document(_shown(await _platform(request)))


async def delete_platform(request: Request) -> Response:
    """DELETE /platforms/{id}: it goes with its tokens, rules and links; a return needs a new token A."""
    platform_id = _id(request)
    if not await context_of(request).store.delete_platform(platform_id):
        raise _no_platform()
    _audit(request, "platform deleted", platform=platform_id)
    return Response(status_code=204)


async def suspend(request: Request) -> Response:
    """POST /platforms/{id}/suspend: no message from it or to it passes."""
    return await _set_status(request, "SUSPENDED")


async def resume(request: Request) -> Response:
    """POST /platforms/{id}/resume."""
    return await _set_status(request, "CONNECTED")


async def rotate(request: Request) -> Response:
    """POST /platforms/{id}/rotate: all its tokens end now; the new one is shown this once."""
    platform_id = _id(request)
    token = await context_of(request).store.rotate_token(platform_id)
    if token is None:
        raise _no_platform()
    _audit(request, "platform token rotated", platform=platform_id)
    return document({"id": platform_id, "token": token})


async def sign_for_party(request: Request) -> Response:
    """PUT /platforms/{id}/sign-for-party: whether the node signs for parties whose software cannot."""
    body = await read_json(request)
    enabled = body.get("enabled") if isinstance(body, dict) else None
    if not isinstance(enabled, bool):
        raise Refusal.MALFORMED.error("enabled: expected true or false")
    platform_id = _id(request)
    if not await context_of(request).store.set_sign_for_party(platform_id, enabled):
        raise _no_platform()
    _audit(request, "sign-for-party set", platform=platform_id, enabled=enabled)
    return document(_shown(await _platform(request)))


async def explain(request: Request) -> Response:
    """POST /explain: where a message would go, and why."""
    try:
        explanation = context_of(request).node.explain(await read_body(request))
    except ValueError as error:
        raise Refusal.MALFORMED.error(f"not a query that can be explained: {error}") from None
    return Response(explanation, media_type="application/json")


async def _set_status(request: Request, status: Status) -> Response:
    platform_id = _id(request)
    if not await context_of(request).store.set_status(platform_id, status):
        raise _no_platform()
    _audit(request, "platform status set", platform=platform_id, status=status)
    return document(_shown(await _platform(request)))


async def _platform(request: Request) -> Platform:
    platform = await context_of(request).store.platform(_id(request))
    if platform is None:
        raise _no_platform()
    return platform


def _id(request: Request) -> int:
    platform_id: int = request.path_params["id"]
    if platform_id > GREATEST_ID:
        raise _no_platform()
    return platform_id


def _no_platform() -> Exception:
    return Refusal.NO_SUCH_PATH.error("no platform has this number")


def _shown(platform: Platform) -> dict[str, Any]:
    """A platform without anything secret."""
    return {
        "id": platform.id,
        "status": platform.status,
        "version": platform.version,
        "versions_url": platform.versions_url,
        "parties": [
            {
                "country_code": role.party.country_code,
                "party_id": role.party.party_id,
                "role": role.role,
                "name": role.business_details.get("name"),
            }
            for role in platform.roles
        ],
        "endpoints": [
            {"identifier": endpoint.module, "role": endpoint.role, "url": endpoint.url}
            for endpoint in platform.endpoints
        ],
        "tokens": [
            {
                "digest_ends": token.digest[-DIGEST_CHARACTERS:],
                "created_at": _time(token.created_at),
                "expires_at": _time(token.expires_at),
            }
            for token in platform.tokens
        ],
        "token_encoding": platform.token_encoding,
        "rules": {
            "signatures": platform.rules.signatures,
            "mode": platform.rules.mode,
            "entries": [
                {
                    "country_code": rule.party.country_code,
                    "party_id": rule.party.party_id,
                    "modules": list(rule.modules),
                }
                for rule in platform.rules.entries
            ],
        },
        "sign_for_party": platform.sign_for_party,
        "registered_at": _time(platform.registered_at),
        "last_seen": _time(platform.last_seen),
    }


def _time(moment: int | None) -> str | None:
    return None if moment is None else moments.write(moment)


def _audit(request: Request, what: str, **details: Any) -> None:
    logs.get().info(what, audit=True, operator=request.state.operator, **details)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


ROUTER = Router(
    [
        Route("/registration-tokens", create_registration_token, methods=["POST"]),
        Route("/platforms", list_platforms, methods=["GET"]),
        Route("/platforms/{id:int}", show_platform, methods=["GET"]),
        Route("/platforms/{id:int}", delete_platform, methods=["DELETE"]),
        Route("/platforms/{id:int}/suspend", suspend, methods=["POST"]),
        Route("/platforms/{id:int}/resume", resume, methods=["POST"]),
        Route("/platforms/{id:int}/rotate", rotate, methods=["POST"]),
        Route("/platforms/{id:int}/sign-for-party", sign_for_party, methods=["PUT"]),
        Route("/explain", explain, methods=["POST"]),
    ],
    redirect_slashes=False,
)
