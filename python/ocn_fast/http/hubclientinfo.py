"""Hub client info: how the parties of the network are connected, for our platforms (`ocpi-hub.md` 5).

The list holds the platforms' own parties too, as the existing nodes' lists do, and of the others those that
the platform's rules let through. Each role of a party has an entry, the one that changed longest ago first.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast import moments
from ocn_fast.http.context import context_of
from ocn_fast.http.responses import Refusal, success
from ocn_fast.http.versions import VERSIONS
from ocn_fast.store import ClientInfo

GREATEST_OFFSET = 2**31 - 1
"""Whoever asks for more has miscounted."""
_FILTERS = ("date_from", "date_to")


async def client_infos(request: Request) -> Response:
    """GET: a page of the list."""
    version = request.path_params["version"]
    if version not in VERSIONS:
        raise Refusal.NO_SUCH_PATH.error()
    context = context_of(request)
    platform = await context.callers.platform(request)
    most = context.settings.client_info.page_rows
    since, until = _moment(request, "date_from"), _moment(request, "date_to")
    offset = _number(request, "offset", default=0, least=0)
    limit = min(_number(request, "limit", default=most, least=1), most)
    page, total = await context.store.client_infos_for(
        platform, since=since, until=until, offset=offset, limit=limit
    )
    headers = {"x-total-count": str(total), "x-limit": str(most)}
    if offset + len(page) < total and page:
        rest = {name: request.query_params[name] for name in _FILTERS if name in request.query_params}
        query = urlencode(rest | {"offset": str(offset + len(page)), "limit": str(limit)})
        base = context.settings.node.url
        headers["link"] = f'<{base}/ocpi/{version}/hubclientinfo?{query}>; rel="next"'
    return success(request, [shown(info) for info in page], headers=headers)


def shown(info: ClientInfo) -> dict[str, Any]:
    """A client info as it goes out, in the order of the existing nodes."""
    return {
        "party_id": info.party.party_id,
        "country_code": info.party.country_code,
        "role": info.role,
        "status": info.status,
        "last_updated": moments.write(info.last_updated),
    }


def _moment(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    moment = moments.read(text)
    if moment is None:
        raise Refusal.MALFORMED.error(f"{name}: expected a time such as 2026-01-31T12:00:00Z")
    return moment


def _number(request: Request, name: str, *, default: int, least: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(GREATEST_OFFSET))):
        raise Refusal.MALFORMED.error(f"{name}: expected a number")
    number = int(text)
    if not least <= number <= GREATEST_OFFSET:
        raise Refusal.MALFORMED.error(f"{name}: expected a number from {least}")
    return number


ROUTES = [Route("/ocpi/{version}/hubclientinfo", client_infos, methods=["GET"])]
