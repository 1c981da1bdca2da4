"""The mirror: how long it takes to read a large registry, and until one change of it can be routed.

A chain (Anvil) with our contracts, filled before the clock starts. The reading is measured twice: as the
start of a node does it (`ocn_fast.keeper --prepare`: a process of its own, with schema, reading and writing;
its memory is the peak), and alone, in this process, to count its requests. Each must leave exactly what is
on the chain. A change is measured in a running node: from the moment in which its block is mined until a
worker's table holds it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from bench.measure import BenchError, Row, cpu_seconds
from bench.report import Column, Section
from ocn_fast import lifecycle, logs, store
from ocn_fast.cli.init import Made, write_node
from ocn_fast.config import Settings
from ocn_fast.keeper import mirror_of
from ocn_fast.registry import contracts

_TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(_TESTS), str(_TESTS / "integration"), str(_TESTS / "e2e")]

from mirror.world import World, account  # noqa: E402
from processes import running, until  # noqa: E402

from tools_found import find_anvil, run_anvil  # noqa: E402

OPERATORS, PARTIES, PROVIDERS = 200, 10_000, 20
_PER_BLOCK = 1_000
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_POLL_S = 0.5
_URL = "http://127.0.0.1:9"


def missing_tools() -> list[str]:
    """What is not installed."""
    return [] if find_anvil() else ["anvil"]


def measure(rounds: int) -> Section:
    """Fills a chain and measures. Raises BenchError where something is not right."""
    program = find_anvil()
    assert program is not None, "asked before"
    start = Row("a node's first start: schema, reading, writing (own process)")
    reading = Row("the reading and writing alone")
    nothing = Row("a look when nothing happened")
    change = Row("one change, from its block until it can be routed", note=f"poll_s = {_POLL_S}")
    with (
        tempfile.TemporaryDirectory() as folder,
        run_anvil(program, "--order", "fifo", "--gas-limit", "3000000000") as anvil,
    ):
        codes = contracts.registry().bytecode, contracts.permissions().bytecode
        world = World.create(anvil, *codes)
        made = write_node(Path(folder) / "node", url=_URL, country_code="DE", party_id="HUB", dev=True)
        _fill(world, made.address)
        for number in range(rounds):
            start.add(**_start(_settings(made, world, f"start-{number}.db")))
            figures = asyncio.run(_read(_settings(made, world, f"reading-{number}.db")))
            reading.add(**figures[0])
            nothing.add(**figures[1])
        for seconds in _changes(made, world, rounds * 4):
            change.add(seconds=seconds)
    columns = (
        Column("seconds", "s", 3),
        Column("requests", "requests"),
        Column("cpu", "s CPU", 2),
        Column("megabytes", "MB peak"),
    )
    title = f"Registry of {OPERATORS} operators, {PARTIES:,} parties, {PROVIDERS} services, on Anvil"
    return Section(title, columns, [start, reading, nothing, change])


def _fill(world: World, operator: str) -> None:
    """All that is listed; one of the operators is the node that is measured."""
    world.list_node(operator, _URL)
    for number in range(OPERATORS - 1):
        world.list_node(account(number), f"https://node-{number}.example.org/ocn")
    world.mine(require=False)
    for number in range(PARTIES):
        party_id = _DIGITS[number // 1_296 % 36] + _DIGITS[number // 36 % 36] + _DIGITS[number % 36]
        world.list_party(_party(number), "DE", party_id, account(number % (OPERATORS - 1)), (0, 1))
        if number % _PER_BLOCK == _PER_BLOCK - 1:
            world.mine(require=False)
    for number in range(PROVIDERS):
        world.do(_party(number), "setService(string,string,uint256[])", f"s{number}", "", [3, 5])
    world.mine(require=False)


def _party(number: int) -> str:
    return account(100_000 + number)


def _settings(made: Made, world: World, database: str) -> Settings:
    url = f"sqlite+aiosqlite:///{made.settings.parent / database}"
    settings = Settings.load(made.settings, flags=_flags(world) | {"store.url": url})
    logs.configure(msgspec.structs.replace(settings.log, level="error"), "bench")
    return settings


def _flags(world: World) -> dict[str, Any]:
    return {
        "registry.rpc": (world.anvil.url,),
        "registry.chain_id": world.anvil.chain_id,
        "registry.contract": world.registry,
        "registry.permissions": world.permissions,
        "registry.poll_s": _POLL_S,
    }


def _start(settings: Settings) -> dict[str, float]:
    """One start of a node's keeper, up to the moment in which the node would begin to serve."""
    command = [sys.executable, "-m", "ocn_fast.keeper", "--parent", str(os.getpid()), "--prepare"]
    environment = os.environ | {lifecycle.SETTINGS_VARIABLE: settings.to_json()}
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process.stdout:
        said = process.stdout.readline().decode().strip()
        seconds, cpu = time.monotonic() - began, cpu_seconds([process.pid])
        process.terminate()
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if said != lifecycle.PREPARED:
        raise BenchError(f"the keeper ended with status {process.returncode}: {said}")
    _require_complete(settings)
    return {"seconds": seconds, "cpu": cpu, "megabytes": used.ru_maxrss / 1_024}


async def _read(settings: Settings) -> tuple[dict[str, float], dict[str, float]]:
    """A first reading, and a look after it."""
    store.migrate(settings.store.url)
    database = await store.open(settings)
    mirror = mirror_of(settings, database)
    try:
        lease = await database.take_lease("registry", "bench", lambda _: False)
        if lease is None:
            raise BenchError("a new database has no keeper")
        figures = []
        for _ in range(2):
            began, cpu, requests = time.monotonic(), time.process_time(), mirror.state.requests
            await mirror.look(lease)
            figures.append(
                {
                    "seconds": time.monotonic() - began,
                    "cpu": time.process_time() - cpu,
                    "requests": mirror.state.requests - requests,
                }
            )
        if mirror.state.error:
            raise BenchError(mirror.state.error)
    finally:
        await mirror.endpoints.close()
        await database.close()
    _require_complete(settings)
    return figures[0], figures[1]


def _require_complete(settings: Settings) -> None:
    with sqlite3.connect(settings.store.url.partition(":///")[2]) as database:
        held = [
            database.execute(f"SELECT count(*) FROM registry_{name}").fetchone()[0]
            for name in ("operators", "parties", "services")
        ]
    if held != [OPERATORS, PARTIES, PROVIDERS]:
        raise BenchError(f"the database holds {held} operators, parties and services")


def _changes(made: Made, world: World, count: int) -> list[float]:
    """Seconds from the block of a new party until a worker of a running node knows it, one after another."""
    pairs = {
        name: ",".join(value) if isinstance(value, tuple) else value for name, value in _flags(world).items()
    }
    found = []
    with running(made.settings, *(f"{name}={value}" for name, value in pairs.items())) as node:

        def parties() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{node.port}/health", timeout=10) as answer:
                registry: dict[str, int] = json.load(answer)["registry"]
                return registry["parties"]

        for number in range(count):
            before = parties()
            newcomer = account(200_000 + number)
            world.list_party(newcomer, "NL", f"{number:03}", account(number % (OPERATORS - 1)))
            world.mine(require=False)
            began = time.monotonic()
            until(lambda before=before: parties() == before + 1, what="the new party")  # type: ignore[misc]
            found.append(time.monotonic() - began)
    return found
