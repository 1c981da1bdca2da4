"""How large a request's head may be where Python answers; the relay counts for itself, in the native core."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ocn_fast.config import Http
from ocn_fast.http.responses import Refusal, refuse

_FIELD_EXTRA = len(": \r\n")


class BoundedHead:
    """Around what answers requests: `http.header_count` and `http.header_bytes` hold (`safety.md` A05)."""

    def __init__(self, app: ASGIApp, http: Http) -> None:
        self._app = app
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which has no head."""
        if scope["type"] != "http" or self._fits(scope):
            await self._app(scope, receive, send)
            return
        response = refuse(Request(scope), Refusal.HEAD_TOO_LARGE.error())
        response.headers["connection"] = "close"
        await response(scope, receive, send)

    def _fits(self, scope: Scope) -> bool:
        fields = scope["headers"]
        size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + _FIELD_EXTRA for name, value in fields)
        return len(fields) <= self._http.header_count and size <= self._http.header_bytes
