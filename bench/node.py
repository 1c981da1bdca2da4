"""A node by itself: start to ready, a worker's memory, the table swapped under load."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import network, openloop
from bench.measure import BenchError, Row, command_line, family, resident_bytes
from bench.messages import CPO, Batch
from bench.report import Column, Section
from ocn_fast.registry import snapshot

TITLE = "Node"
PARTIES = 10_000
_MOVED = 2_000
"""Parties that every swap of the table changes."""
_RATE = 1_000.0
_SWAP_S = 1.0
START, MEMORY = "start to ready", f"a worker with {PARTIES:,} parties"
QUIET, SWAPPED = f"steady {_RATE:,.0f}/s, table at rest", f"steady {_RATE:,.0f}/s, table swapped every second"


@dataclass(frozen=True)
class Options:
    """How long and how often."""

    rounds: int
    seconds: float
    messages: int


def measure(options: Options) -> Section:
    """Raises BenchError if anything is wrong."""
    rows = [Row(START), Row(MEMORY), Row(QUIET), Row(SWAPPED)]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-bench-")))
        end = stack.enter_context(network.backend(folder / "end", signed=True))
        plan = network.Plan(strangers=PARTIES)
        with network.nodes(folder / "node", end, plan) as (node,):
            _loaded(rows, node, options)
        for _ in range(options.rounds):
            started = time.perf_counter()
            with network.serving(node.folder):
                rows[0].add(seconds=time.perf_counter() - started)
    notes = [
        f"table swapped: a new registry file every {_SWAP_S:g} s, in which {_MOVED:,} of {PARTIES:,} parties "
        "have another key; the keeper's work on it is part of what is seen",
        f"{options.rounds} rounds; the worker's memory is its RSS after some thousand messages",
    ]
    columns = (
        Column("seconds", "s", 2),
        Column("rss", "MB"),
        Column("per_second", "messages/s"),
        Column("p50", "p50 ms", 2),
        Column("p99", "p99 ms", 2),
        Column("p999", "p99.9 ms", 2),
        Column("swaps", "swaps"),
    )
    return Section(TITLE, columns, rows, notes)


def _loaded(rows: list[Row], node: network.Node, options: Options) -> None:
    """What is measured of a running node: memory, and steady load with the table at rest and swapped."""
    _, memory, quiet, swapped = rows
    at, block, swaps = 0, 1, max(int(options.seconds / _SWAP_S), 1)
    for _ in range(options.rounds):
        texts = [node.registry.text(block + turn, PARTIES, _MOVED) for turn in range(1, swaps + 1)]
        for row, files in ((quiet, []), (swapped, texts)):
            first = _block(node)
            swapper = threading.Thread(target=_swap, args=(node.registry.file, files))
            swapper.start()
            figures, held = judged(_steady(node, options, at))
            swapper.join()
            row.note = row.note if held else "did not hold the rate"
            # A machine that is too slow at rest is nothing to compare with; one that swaps slow down is told.
            if held or row is swapped:
                row.add(**figures)
            row.add(swaps=_block(node) - first)
            at = (at + int(_RATE * options.seconds)) % options.messages
        if not swapped.samples["swaps"][-1]:
            raise BenchError("the table was not swapped while it should have been")
        block += swaps
        _until_block(node, block)
        memory.add(rss=max(resident_bytes(pid) for pid in workers(node.pid)) / 1e6)


def _swap(file: Path, texts: list[bytes]) -> None:
    for text in texts:
        snapshot.write(file, text)
        time.sleep(_SWAP_S)


def _steady(node: network.Node, options: Options, first: int) -> dict[str, Any]:
    """What the generator says of one run."""
    file = Batch("session", options.messages).file()
    command = openloop.command(node.port, file, node.tokens[CPO], first, _RATE, options.seconds)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"the generator failed: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def judged(told: dict[str, Any]) -> tuple[dict[str, float], bool]:
    """Rate, latencies in milliseconds, and whether the rate was held.

    Raises BenchError for an answer that is wrong, or missing although the rate was held.
    """
    if told["bad"] or (told["answered"] != told["sent"] and not told["behind"]):
        raise BenchError(f"not every message was answered well: {told}")
    times = {name: told[name] * 1e3 for name in ("p50", "p99", "p999")}
    return {"per_second": told["answered"] / told["seconds"], **times}, not told["behind"]


def _block(node: network.Node) -> int:
    """The block of the registry that the node uses."""
    with urllib.request.urlopen(f"{node.url}/health", timeout=10) as answer:
        return int(json.load(answer)["registry"]["block"])


def _until_block(node: network.Node, block: int) -> None:
    deadline = time.monotonic() + 15
    while _block(node) != block:
        if time.monotonic() > deadline:
            raise BenchError(f"the node did not take block {block}")
        time.sleep(0.1)


def workers(supervisor: int) -> list[int]:
    """The processes of a node that relay: those that were spawned, not started by a command line."""
    found = [pid for pid in family(supervisor) if "spawn_main" in command_line(pid)]
    if not found:
        raise BenchError("no worker was found among the node's processes")
    return found
