"""A node with an app of ours in the place of the real one: shows what the supervisor does.

    python planted.py SETTINGS READY_FILE [table.key=value …]

`PLANTED_APP` in the environment names another factory than `create`.

Paths: `/slow?SECONDS` answers late, `/die` ends the worker, everything answers with the worker's process id.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import granian._signals

from ocn_fast import lifecycle, supervisor
from ocn_fast.config import Settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def create() -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """The factory that workers call."""
    return _app


def create_late() -> Callable[[dict[str, Any], Receive, Send], Awaitable[None]]:
    """The same; all workers but the first spend a second between their signal handlers and their loop."""
    try:
        Path(os.environ["PLANTED_FIRST"]).touch(exist_ok=False)
    except FileExistsError:
        handle = granian._signals.set_loop_signals

        def handle_and_wait(loop: asyncio.AbstractEventLoop) -> Any:
            event = handle(loop)
            time.sleep(1)
            return event

        granian._signals.set_loop_signals = handle_and_wait
    return _app


async def _app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status = 200
    match scope["path"]:
        case "/slow":
            await asyncio.sleep(float(scope["query_string"]))
        case "/die":
            os._exit(3)
        case "/health/ready" if lifecycle.draining():
            status = 503
    body = str(os.getpid()).encode()
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    flags = dict(argument.split("=", 1) for argument in sys.argv[3:])
    name = os.environ.get("PLANTED_APP", "create")
    settings = Settings.load(sys.argv[1], flags=flags)
    sys.exit(supervisor.serve(settings, ready_file=Path(sys.argv[2]), app=f"planted:{name}"))
