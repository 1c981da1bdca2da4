"""Health: whether this worker lives, whether it should get requests, and how the node is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocn_fast import figures, lifecycle, moments
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
    if settings.registry.on_chain:
        registry |= _chain(keeper, settings.registry.age_warn_s)
    return document(
        {
            "status": _status(registry),
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


def _status(registry: dict[str, Any]) -> str:
    """In one word. It is never a reason to send messages elsewhere: `ready` says that."""
    if lifecycle.draining():
        return "draining"
    return "degraded" if "chain" in registry and registry["old"] else "ok"


def _chain(keeper: figures.Keeper | None, age_warn_s: int) -> dict[str, Any]:
    """What the keeper says of the chain. Of a block that changed nothing the table has not heard.

    Without a keeper, or before its first block, the table's own block and age remain.
    """
    mirror = None if keeper is None else keeper.mirror
    if mirror is None:
        return {"chain": None}
    found: dict[str, Any] = {
        "chain": {
            "head": mirror.head,
            "lag": mirror.lag,
            "endpoints": [msgspec.to_builtins(endpoint) for endpoint in mirror.endpoints],
            "brake": mirror.brake,
            "waiting": mirror.waiting,
            "left_out": mirror.left_out,
            "own": mirror.own,
            "error": mirror.error,
        }
    }
    if mirror.block_time is not None:
        age = mirror.age(time.time())
        found |= {
            "block": mirror.block,
            "block_hash": mirror.block_hash,
            "age_s": age,
            "old": age > age_warn_s,
        }
        found["block_time"] = moments.write_seconds(mirror.block_time)
    return found


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
