"""Bodies of requests that the Python side answers: bounded in size and time, then JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from ocn_fast.http import documents
from ocn_fast.http.context import context_of
from ocn_fast.http.responses import Refusal


async def read_body(request: Request) -> bytes:
    """The whole body, at most `http.config_body_bytes`, within `http.body_timeout_ms`. Raises OcpiError."""
    settings = context_of(request).settings.http
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal.CONTENT_CODING.error()
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > settings.config_body_bytes:
        raise Refusal.BODY_TOO_LARGE.error()
    chunks = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1_000):
            async for chunk in request.stream():
                chunks += chunk
                if len(chunks) > settings.config_body_bytes:
                    raise Refusal.BODY_TOO_LARGE.error()
    except (TimeoutError, ClientDisconnect):
        raise Refusal.BODY_CUT_OFF.error() from None
    return bytes(chunks)


def parse_json(body: bytes) -> Any:
    """The JSON of a body. Raises OcpiError 400/2001."""
    try:
        return documents.loads(body)
    except ValueError:
        raise Refusal.MALFORMED.error() from None


async def read_json(request: Request) -> Any:
    """The JSON of the request's body. Raises OcpiError."""
    return parse_json(await read_body(request))
