"""`python -m bench`: correctness first, then the figures, as tables beside the goals and as one JSON file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import crossing, goals, node, registry, relay, report, signatures, stages
from bench.measure import BenchError, machine

PARTS = ("signatures", "stages", "crossing", "registry", "node", "relay")
SLOW = ("registry", "stages")
"""Only measured in a quick run if named: a chain has to be filled, benches have to be built."""


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"What to measure: {', '.join(PARTS)}; all if none is named.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Under three minutes: shorter turns, fewer of them.")] = False,
    rounds: Annotated[int | None, typer.Option(help="Turns of every row (5; quick: 2).", min=1)] = None,
    seconds: Annotated[
        int | None, typer.Option(help="Length of a turn of a relay row (4; quick: 1).", min=1)
    ] = None,
    connections: Annotated[int, typer.Option(help="Connections to the relay.", min=1)] = 64,
    messages: Annotated[
        int, typer.Option(help="Different messages, signed before the run, kept for the next.", min=1_000)
    ] = 100_000,
    two_nodes: Annotated[bool, typer.Option(help="Whether to measure messages between two nodes.")] = True,
    out: Annotated[Path | None, typer.Option(help="Results file (default: bench/results/DATE.json).")] = None,
) -> None:
    """Measures and prints. Ends with status 1, without figures, where something is not correct."""
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 130)
    wanted = parts or [part for part in PARTS if not quick or part not in SLOW]
    if unknown := set(wanted) - set(PARTS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    alone_rounds = rounds or (1 if quick else 5)
    rounds, seconds = rounds or (2 if quick else 5), seconds or (1 if quick else 4)
    told = machine()
    console.print(
        f"{told['cpu']}, {told['cores']} cores, load {told['load_before']:.1f} before, "
        f"Python {told['python']}, commit {told['commit']}"
    )
    checked = 100 if quick else 2_000
    options = relay.Options(rounds, seconds, connections, messages, checked, not quick, two_nodes)
    alone = node.Options(alone_rounds, 4.0 if quick else 10.0, messages)
    work: dict[str, Callable[[], report.Section]] = {
        "signatures": lambda: signatures.measure(rounds, 0.05 if quick else 0.25),
        "stages": stages.measure,
        "crossing": lambda: crossing.measure(8 if quick else 30),
        "registry": lambda: registry.measure(rounds),
        "node": lambda: node.measure(alone),
        "relay": lambda: relay.measure(options),
    }
    missing_tools: dict[str, Callable[[], list[str]]] = {
        "stages": stages.missing_tools,
        "registry": registry.missing_tools,
        "node": relay.missing_tools,
        "relay": relay.missing_tools,
    }
    sections, took = [], {}
    for part in wanted:
        if missing := missing_tools.get(part, list)():
            console.print(f"{part}: skipped, not on the path: {', '.join(missing)}")
            continue
        begun = time.monotonic()
        try:
            section = work[part]()
        except BenchError as error:
            console.print(f"{part}: {error}", style="red", markup=False)
            raise typer.Exit(1) from None
        section.print(console)
        sections.append(section)
        took[part] = round(time.monotonic() - begun)
        console.print(f"{part}: {took[part]} s")
    judged = goals.judged(sections)
    goals.show(judged, console)
    told["seconds"], told["seconds_by_part"] = round(time.monotonic() - started), took
    console.print(f"{told['seconds']} s; written to {report.write(told, sections, judged, out)}")


if __name__ == "__main__":
    typer.run(main)
