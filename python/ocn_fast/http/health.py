"""Health: whether this worker lives, whether it should get requests, and how the node is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast import figures, lifecycle
from ocn_fast.http.context import context_of
from ocn_fast.http.responses import document


async def live(request: Request) -> Response:
    """GET /health/live: the worker answers. Nothing else is asked."""
    return document({"status": "live"})


async def ready(request: Request) -> Response:
    """GET /health/ready: 503 once the node is about to stop. A worker serves only with its table loaded; a
    database or registry that is away later stops no message, so it does not count here."""
    if lifecycle.draining():
        return document({"status": "draining"}, http_status=503)
    return document({"status": "ready"})


async def health(request: Request) -> Response:
    """GET /health: the state of this worker's table, and what an operator should be reminded of."""
    context = context_of(request)
    settings = context.settings
    table: dict[str, Any] = orjson.loads(context.node.stats())["table"]
    keeper = await asyncio.to_thread(figures.read_keeper, settings)
    registry = _registry(table, settings.registry.age_warn_s)
    return document(
        {
            "status": "draining" if lifecycle.draining() else "ok",
            "table": {"version": table["version"], "platforms": table["platforms"]},
            "keeper": "down" if keeper is None else "up",
            "registry": registry | {"file_refused": keeper is not None and keeper.registry_refused},
            "signatures": {
                "required": settings.signatures.required,
                "policy": settings.signatures.policy,
            },
            "dev": settings.node.dev,
            "warnings": list(settings.warnings()),
        }
    )


def _registry(table: dict[str, Any], age_warn_s: int) -> dict[str, Any]:
    """The registry half: its block, and how old that is. An old one serves all the same."""
    age = None
    if table["block_time"] is not None:
        age = int((datetime.now(UTC) - datetime.fromisoformat(table["block_time"])).total_seconds())
    return {
        "block": table["block"],
        "block_time": table["block_time"],
        "age_s": age,
        "old": age is None or age > age_warn_s,
        "operators": table["operators"],
        "parties": table["parties"],
    }


ROUTES = [
    Route("/health", health, methods=["GET"]),
    Route("/health/live", live, methods=["GET"]),
    Route("/health/ready", ready, methods=["GET"]),
]
