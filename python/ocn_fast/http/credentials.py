"""Credentials (`ocpi-hub.md` 4.3 to 4.7): a platform registers, changes, leaves."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast import logs
from ocn_fast.http.bodies import parse_json, read_body
from ocn_fast.http.callers import Authenticated
from ocn_fast.http.context import context_of
from ocn_fast.http.responses import Refusal, success
from ocn_fast.http.versions import VERSIONS

NAME = "Open Charging Network Node"


async def credentials(request: Request) -> Response:
    """All methods of `/ocpi/{version}/credentials`."""
    version = request.path_params["version"]
    if version not in VERSIONS:
        raise Refusal.NO_SUCH_PATH.error()
    caller = await context_of(request).callers.authenticate(request)
    match request.method:
        case "POST":
            return await _register(request, caller, version)
        case "PUT":
            return await _update(request, caller, version)
        case "DELETE":
            return await _leave(request, caller)
        case _:
            _require_unused(request, caller)
            return success(request, _own(request, caller.token))


async def _register(request: Request, caller: Authenticated, version: str) -> Response:
    if caller.registration is None:
        raise Refusal.REGISTERED.error()
    body = await read_body(request)
    done = await context_of(request).handshakes.register(
        caller.registration, caller.encoding, version, body, parse_json(body)
    )
    return success(request, _own(request, done.token_c))


async def _update(request: Request, caller: Authenticated, version: str) -> Response:
    if caller.platform is None:
        _require_unused(request, caller)
        raise Refusal.NOT_REGISTERED.error()
    document = parse_json(await read_body(request))
    done = await context_of(request).handshakes.update(caller.platform, caller.encoding, version, document)
    return success(request, _own(request, done.token_c))


async def _leave(request: Request, caller: Authenticated) -> Response:
    if caller.platform is None:
        _require_unused(request, caller)
        raise Refusal.NOT_REGISTERED.error()
    if not await context_of(request).store.delete_platform(caller.platform.id):
        raise Refusal.NOT_REGISTERED.error()
    logs.get().info("platform left", platform=caller.platform.id)
    return success(request)


def _require_unused(request: Request, caller: Authenticated) -> None:
    """A registration token that has done its work is good for nothing but a repetition of its POST."""
    if caller.registration is not None and caller.registration.used_at is not None:
        request.state.authenticated = False
        raise Refusal.UNAUTHORIZED.error()


def _own(request: Request, token: str) -> dict[str, Any]:
    """The hub's credentials object for whoever has, or has just got, this token."""
    node = context_of(request).settings.node
    return {
        "token": token,
        "url": f"{node.url}/ocpi/versions",
        "roles": [
            {
                "role": "HUB",
                "business_details": {"name": NAME},
                "party_id": node.party_id,
                "country_code": node.country_code,
            }
        ],
    }


ROUTES = [Route("/ocpi/{version}/credentials", credentials, methods=["GET", "POST", "PUT", "DELETE"])]
