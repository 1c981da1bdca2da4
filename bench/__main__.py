"""`python -m bench`: correctness first, then the figures, as tables and as one JSON file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import crossing, registry, relay, report, signatures
from bench.measure import BenchError, machine

PARTS = ("signatures", "crossing", "registry", "relay")


def main(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"What to measure: {', '.join(PARTS)}; all if none is named.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of every row.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Length of one turn of a relay row.")] = 4.0,
    connections: Annotated[int, typer.Option(help="Connections to the relay.", min=1)] = 64,
    messages: Annotated[int, typer.Option(help="Different messages, signed before the run.")] = 20_000,
    out: Annotated[Path | None, typer.Option(help="Results file (default: bench/results/DATE.json).")] = None,
) -> None:
    """Measures and prints. Ends with status 1, without figures, where something is not correct."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    wanted = parts or list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}")
    told = machine()
    console.print(
        f"{told['cpu']}, {told['cores']} cores, load {told['load_before']:.1f} before, "
        f"Python {told['python']}, commit {told['commit']}"
    )
    options = relay.Options(rounds, seconds, connections, messages)
    work: dict[str, Callable[[], report.Section]] = {
        "signatures": lambda: signatures.measure(rounds),
        "crossing": crossing.measure,
        "registry": lambda: registry.measure(rounds),
        "relay": lambda: relay.measure(options),
    }
    missing_tools: dict[str, Callable[[], list[str]]] = {
        "registry": registry.missing_tools,
        "relay": relay.missing_tools,
    }
    sections = []
    for part in wanted:
        if missing := missing_tools.get(part, list)():
            console.print(f"{part}: skipped, not on the path: {', '.join(missing)}")
            continue
        try:
            section = work[part]()
        except BenchError as error:
            console.print(f"[red]{part}:[/red] {error}", markup=True)
            raise typer.Exit(1) from None
        section.print(console)
        sections.append(section)
    console.print(f"written to {report.write(told, sections, out)}")


if __name__ == "__main__":
    typer.run(main)
