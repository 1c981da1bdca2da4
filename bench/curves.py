"""`python -m bench.curves`: how the rate and the cost of a signed message change over workers, parties,
connections and sizes of the body.

Each curve starts the nodes that it needs, proves every point correct as the table does, and then gives its
points turns. Written to `bench/results/curves.json`; `make docs` draws it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import network, relay, report, scaling, stages
from bench.measure import BenchError, Row, machine
from bench.messages import CPO, MSP, Batch
from bench.report import Column, Section
from bench.track import Track

WORKERS = (1, 2, 4)
PARTIES = (100, 10_000, 100_000)
CONNECTIONS = (1, 8, 64, 256, 1_000, 2_000)
BODIES = ("connector", "session", "location-5k", "location-10k", "location-50k", "location-200k")
OVER_PARTIES = "Over parties"
_CHECKED = 200
_WARM_S = 1
_COLUMNS = (
    Column("per_second", "messages/s"),
    Column("p50", "p50 ms", 2),
    Column("p99", "p99 ms", 2),
    Column("cpu", "us CPU each", 1),
    Column("busiest", "busiest thread, % of a core"),
    Column("memory", "MB"),
    Column("nanoseconds", "look-up ns"),
)


@dataclass(frozen=True)
class Options:
    """How often, how long, and of what."""

    rounds: int
    seconds: int
    messages: int

    def batch(self, kind: str = "session") -> Batch:
        return Batch.of(kind, self.messages)


@dataclass(frozen=True)
class _Place:
    """Where a curve starts its nodes."""

    stack: contextlib.ExitStack
    folder: Path
    end: network.Backend

    def node(self, name: str, plan: network.Plan) -> network.Node:
        (node,) = self.stack.enter_context(network.nodes(self.folder / name, self.end, plan))
        return node

    def point(self, x: float, name: str, node: network.Node, batch: Batch, connections: int = 64) -> Track:
        row = Row(name)
        row.add(x=x, request_bytes=batch.request_bytes)
        return Track(row, [node], self.end, batch, node.tokens, connections)


def workers(options: Options, place: _Place) -> Iterator[Track]:
    for count in WORKERS:
        node = place.node(f"workers-{count}", network.Plan(workers=count))
        yield place.point(count, f"{count} worker{'s' * (count > 1)}", node, options.batch())


def parties(options: Options, place: _Place) -> Iterator[Track]:
    for count in PARTIES:
        node = place.node(f"parties-{count}", network.Plan(strangers=count - len((CPO, MSP))))
        yield place.point(count, _parties(count), node, options.batch())


def connections(options: Options, place: _Place) -> Iterator[Track]:
    node = place.node("connections", network.Plan(in_flight=max(CONNECTIONS)))
    for count in CONNECTIONS:
        yield place.point(count, f"{count:,} connection{'s' * (count > 1)}", node, options.batch(), count)


def bodies(options: Options, place: _Place) -> Iterator[Track]:
    node = place.node("bodies", network.Plan())
    for kind in BODIES:
        batch = options.batch(kind)
        size = batch.body_bytes / 1e3
        yield place.point(size, f"{size:.1f} kB", node, batch)


CURVES: dict[str, Callable[[Options, _Place], Iterator[Track]]] = {
    scaling.OVER_WORKERS: workers,
    OVER_PARTIES: parties,
    "Over connections": connections,
    "Over sizes of the body": bodies,
}
"""The curves by their titles."""


def measure(title: str, points: Callable[[Options, _Place], Iterator[Track]], options: Options) -> Section:
    """One curve. Raises BenchError if anything is wrong."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-bench-")))
        end = stack.enter_context(network.backend(folder / "end", signed=True))
        tracks = list(points(options, _Place(stack, folder, end)))
        for track in tracks:
            asyncio.run(track.check(_CHECKED))
            track.run(_WARM_S)
        for _ in range(options.rounds):
            for track in tracks:
                track.row.add(**track.run(options.seconds))
    return Section(title, _COLUMNS, [track.row for track in tracks])


def add_look_ups(section: Section, found: dict[int, float]) -> Section:
    """The curve over parties with the table's look-ups, also for tables that no node was started for."""
    rows = {row.name: row for row in section.rows}
    for count, nanoseconds in sorted(found.items()):
        if (row := rows.get(_parties(count))) is None:
            row = rows[_parties(count)] = Row(_parties(count))
            row.add(x=count)
        row.add(nanoseconds=nanoseconds)
    ordered = sorted(rows.values(), key=lambda row: row.samples["x"])
    return Section(section.title, section.columns, ordered, section.notes)


def _parties(count: int) -> str:
    return f"{count:,} parties"


def _notes(options: Options) -> Sequence[str]:
    return (
        f"{options.rounds} rounds of {options.seconds} s; 64 connections, one worker and session PUTs of "
        "1.2 kB where nothing else is said; generator and back end on the same cores",
        "busiest thread: of all threads of the node, while messages came",
    )


def main(
    rounds: Annotated[int, typer.Option(help="Turns of every point.", min=1)] = 3,
    seconds: Annotated[int, typer.Option(help="Length of a turn.", min=1)] = 3,
    messages: Annotated[int, typer.Option(help="Different session PUTs.", min=1_000)] = 100_000,
    out: Annotated[Path, typer.Option(help="Results file.")] = report.RESULTS / "curves.json",
) -> None:
    """Measures and prints. Ends with status 1, without figures, where something is not correct."""
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if missing := relay.missing_tools():
        console.print(f"not on the path: {', '.join(missing)}", style="red")
        raise typer.Exit(1)
    _allow_connections()
    told, options, sections = machine(), Options(rounds, seconds, messages), []
    look_ups: Callable[[], dict[int, float]] = dict if stages.missing_tools() else stages.look_ups
    try:
        for title, points in CURVES.items():
            section = measure(title, points, options)
            if title == OVER_PARTIES:
                section = add_look_ups(section, look_ups())
            section.print(console)
            sections.append(section)
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    for note in _notes(options):
        console.print(note)
    told["seconds"] = round(time.monotonic() - started)
    told["notes"] = _notes(options)
    console.print(f"{told['seconds']} s; written to {report.write(told, sections, [], out)}")


def _allow_connections() -> None:
    """Raises this process's limit of descriptors, and with it those of the processes that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The node holds one to the generator and one to the back end for each.
    needed = 4 * max(CONNECTIONS)
    if most != resource.RLIM_INFINITY and most < needed:
        raise BenchError(f"{needed} descriptors are needed, {most} are allowed (ulimit -n)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


if __name__ == "__main__":
    typer.run(main)
