"""The development chain as a server: HTTP POST on loopback, and one thread in which the machine works."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from eth_utils.address import to_checksum_address
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ocn_fast.chain.machine import MNEMONIC, Machine
from ocn_fast.chain.methods import Methods
from ocn_fast.listening import accepting, reserve, write_private

HOST = "127.0.0.1"
BODY_BYTES = 4 * 1024 * 1024
"""The largest request."""

STOP_S = 1.0
"""How long connections may take to close at the end."""


@dataclass(frozen=True)
class Plan:
    """What is asked of the chain. `block_time` in seconds; None makes a block of each transaction."""

    chain_id: int
    port: int = 0
    accounts: int = 20
    mnemonic: str = MNEMONIC
    block_time: float | None = None
    ready_file: Path | None = None


async def run(plan: Plan, show: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; `show` gets the ready document once. Raises `ConfigError`."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # The machine is neither quick nor thread-safe.
    worker = ThreadPoolExecutor(1, "machine")
    with reserve(HOST, plan.port) as reserved:
        port: int = reserved.getsockname()[1]
        machine = await loop.run_in_executor(worker, _start, plan)
        server = Server(
            _app(Methods(machine), worker),
            address=HOST,
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
        )
        serving = asyncio.create_task(server.serve())
        mining = asyncio.create_task(_mine(machine, worker, plan.block_time))
        try:
            await accepting(HOST, port, serving)
            ready = msgspec.json.encode(_ready(machine, f"http://{HOST}:{port}"))
            if plan.ready_file is not None:
                write_private(plan.ready_file, ready)
            show(ready.decode())
            stopped = asyncio.ensure_future(stop.wait())
            done, _ = await asyncio.wait([serving, stopped, mining], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            mining.cancel()
            # What the machine still works on is for nobody.
            worker.shutdown(wait=False, cancel_futures=True)
            server.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait([serving], timeout=STOP_S)


def _start(plan: Plan) -> Machine:
    return Machine(plan.chain_id, plan.accounts, plan.mnemonic, automine=plan.block_time is None)


def _ready(machine: Machine, url: str) -> dict[str, Any]:
    accounts = [
        {"address": to_checksum_address(address), "private_key": key.to_hex()}
        for address, key in machine.keys.items()
    ]
    return {"url": url, "chain_id": machine.chain_id, "accounts": accounts}


async def _mine(machine: Machine, worker: Executor, block_time: float | None) -> None:
    """Makes a block every `block_time` seconds, for ever."""
    if block_time is None:
        await asyncio.Event().wait()
        return
    while True:
        await asyncio.sleep(block_time)
        await asyncio.get_running_loop().run_in_executor(worker, machine.mine)


def _app(methods: Methods, worker: Executor) -> Starlette:
    async def call(request: Request) -> Response:
        # A web page can send this type to a foreign address only if that agrees, and this one never does.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return PlainTextResponse("the content type must be application/json\n", 415)
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES:
                    return PlainTextResponse(f"a request has at most {BODY_BYTES} bytes\n", 413)
        except ClientDisconnect:
            return Response(status_code=400)
        answer = await asyncio.get_running_loop().run_in_executor(worker, methods.answer, bytes(body))
        if not answer:
            return Response(status_code=204)
        return Response(answer, media_type="application/json")

    return Starlette(routes=[Route("/", call, methods=["POST"])])
