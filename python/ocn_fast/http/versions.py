"""Versions and version details (`ocpi-hub.md` 4.1, 4.2): what this hub offers, and where."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast.http.context import context_of
from ocn_fast.http.responses import Refusal, success

VERSIONS = ("2.2", "2.2.1")
RELAYED_MODULES = ("cdrs", "chargingprofiles", "commands", "locations", "sessions", "tariffs", "tokens")


async def versions(request: Request) -> Response:
    """The list of versions, for a registration token not yet used or a platform's token."""
    await _authenticate(request)
    base = context_of(request).settings.node.url
    return success(request, [{"version": version, "url": f"{base}/ocpi/{version}"} for version in VERSIONS])


async def details(request: Request) -> Response:
    """The endpoints of one version: only what works."""
    await _authenticate(request)
    version = request.path_params["version"]
    if version not in VERSIONS:
        raise Refusal.NO_SUCH_PATH.error()
    base = context_of(request).settings.node.url
    endpoints = [
        {"identifier": "credentials", "role": "SENDER", "url": f"{base}/ocpi/{version}/credentials"},
        {"identifier": "hubclientinfo", "role": "SENDER", "url": f"{base}/ocpi/{version}/hubclientinfo"},
        *(
            {"identifier": module, "role": role, "url": f"{base}/ocpi/{role.lower()}/{version}/{module}"}
            for module in RELAYED_MODULES
            for role in ("SENDER", "RECEIVER")
        ),
        {"identifier": "ocnrules", "role": "RECEIVER", "url": f"{base}/ocpi/receiver/{version}/ocnrules"},
    ]
    return success(request, {"version": version, "endpoints": endpoints})


async def _authenticate(request: Request) -> None:
    caller = await context_of(request).callers.authenticate(request)
    if caller.registration is not None and caller.registration.used_at is not None:
        request.state.authenticated = False
        raise Refusal.UNAUTHORIZED.error()


ROUTES = [
    Route("/ocpi/versions", versions, methods=["GET"]),
    Route("/ocpi/{version}", details, methods=["GET"]),
]
