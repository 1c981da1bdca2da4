"""`python -m bench.soak`: half an hour of `mixed-day` between the two nodes of a demo of its own, while
memory and open descriptors of every process of both nodes are sampled.

The half hour is three days. Nothing is said about time. A process is flat if, from the second day to the
third,

- its memory (PSS) grows by no more than 2 % of what it is, or 2 MB where that is more, and
- its open descriptors grow by no more than 4.

Growth is by how much the median of the third day is above that of the second. The first day is for what is
filled once: pools, caches, the allocator's arenas. Days are alike, so that load by itself gives no growth;
what every message leaves behind does. The workers of a node are judged together: they share one listening
socket, so that connections, and with them memory, wander between them. A process that ends, or a new one, is
not flat either.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import charts, network
from bench.measure import BenchError, command_line, descriptors, family, machine, memory_bytes
from bench.report import RESULTS

MEMORY_SHARE, MEMORY_LEAST = 0.02, 2_000_000
DESCRIPTORS_MORE = 4
CRITERION = (
    f"Flat: from the second day to the third, memory grows by at most {MEMORY_SHARE:.0%} or "
    f"{MEMORY_LEAST / 1e6:g} MB, descriptors by at most {DESCRIPTORS_MORE}, and every process lives from "
    "start to end"
)
DAYS = 3
_STORY_S, _STOP_S = 900.0, 60.0
"""Until the demo has told its story, and until it has ended everything."""
_SAMPLES = 120
_PROFILE = "mixed-day"
_ROLES = (("ocn_fast.keeper", "keeper"), ("resource_tracker", "tracker"), ("spawn_main", "workers"))


@dataclass
class Watched:
    """One process of a node, or all its workers, sample by sample; both lists begin when the run begins."""

    pids: list[int]
    name: str
    memory: list[int] = field(default_factory=list)
    """PSS in bytes."""
    descriptors: list[int] = field(default_factory=list)

    def sample(self) -> None:
        self.memory.append(memory_bytes(self.pids))
        self.descriptors.append(sum(map(descriptors, self.pids)))

    def judged(self, times: Sequence[float]) -> dict[str, Any]:
        """For the results file: growth from day to day, and whether that is flat."""
        grown, opened = growth(times, self.memory), growth(times, self.descriptors)
        allowed = max(MEMORY_SHARE * statistics.median(self.memory), MEMORY_LEAST)
        alive = all(self.memory) and all(self.descriptors)
        return {
            "name": self.name,
            "flat": alive and grown <= allowed and opened <= DESCRIPTORS_MORE,
            "alive": alive,
            "memory_growth": round(grown),
            "descriptors_growth": round(opened, 1),
            "memory": self.memory,
            "descriptors": self.descriptors,
        }


def growth(times: Sequence[float], values: Sequence[float]) -> float:
    """By how much the median of the last day is above that of the day before.

    Raises BenchError for a day without a sample.
    """
    day = times[-1] / DAYS if times else 0.0
    days: list[list[float]] = [[] for _ in range(DAYS)]
    for at, value in zip(times, values, strict=True):
        days[min(int(at / day), DAYS - 1) if day else 0].append(value)
    if not all(days):
        raise BenchError("too few samples to tell growth")
    return statistics.median(days[-1]) - statistics.median(days[-2])


def watched(demo: int) -> list[Watched]:
    """Every process of the demo's nodes."""
    found: list[Watched] = []
    for pid in family(demo):
        line = command_line(pid)
        if " serve " not in line:
            continue
        node = "node B" if "/node-b/" in line else "node A"
        roles = {"supervisor": [pid]}
        for child in family(pid)[1:]:
            role = next((role for sign, role in _ROLES if sign in command_line(child)), "other")
            roles.setdefault(role, []).append(child)
        found += [Watched(pids, f"{node}, {role}") for role, pids in roles.items()]
    return found


def main(
    minutes: Annotated[float, typer.Option(help="Length of all three days.", min=0.5)] = 30.0,
    rate: Annotated[float, typer.Option(help="Messages a second at full load.", min=1)] = 100.0,
    out: Annotated[Path, typer.Option(help="Results file; charts lie beside it.")] = RESULTS / "soak.json",
) -> None:
    """Ends with status 1 if a process was not flat, or an answer not as expected."""
    console = Console(width=None if sys.stdout.isatty() else 130, markup=False)
    told = machine()
    try:
        with contextlib.ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-soak-")))
            console.print("a demo of two nodes tells its story first …")
            demo, folder = stack.enter_context(_demo(scratch))
            result = {"machine": told, "minutes": minutes, "rate": rate, "criterion": CRITERION}
            result |= _run(demo, folder, minutes * 60, rate, scratch / "messages.json")
    except BenchError as error:
        console.print(str(error), style="red")
        raise typer.Exit(1) from None
    _show(console, result)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for name, drawn in drawings(result).items():
        out.with_name(f"{out.stem}-{name}.svg").write_text(drawn)
    console.print(f"written to {out}")
    if not (result["flat"] and result["as_expected"]):
        raise typer.Exit(1)


@contextlib.contextmanager
def _demo(scratch: Path) -> Iterator[tuple[int, Path]]:
    """A demo whose story has been told to its good end: its pid, and its folder."""
    log = scratch / "demo.txt"
    command = [sys.executable, "-m", "ocn_fast", "demo", "--two-nodes", "--keep"]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with log.open("wb") as file, network.running(command, file, environment, _STOP_S) as process:
        network.until(lambda: "Ctrl-C ends it all" in log.read_text(), process, log, _STORY_S)
        if failed := [line for line in log.read_text().splitlines() if line.startswith("FAIL")]:
            raise BenchError(f"the demo's story did not end well: {failed}")
        (folder,) = scratch.glob("ocn-fast-demo-*")
        yield process.pid, folder


def _run(demo: int, folder: Path, seconds: float, rate: float, summary: Path) -> dict[str, Any]:
    """The load in a process of its own, and samples until it ends."""
    processes = watched(demo)
    before = sorted(pid for one in processes for pid in one.pids)
    if sum(", workers" in one.name for one in processes) < 2:
        raise BenchError("the demo does not have two nodes with workers")
    command = [
        sys.executable,
        "-m",
        "bench.profiles",
        _PROFILE,
        "--seconds",
        f"{seconds:g}",
        "--times",
        f"{DAYS}",
    ]
    command += ["--rate", f"{rate:g}", "--folder", str(folder), "--out", str(summary)]
    pause, times = max(1.0, seconds / _SAMPLES), []
    with subprocess.Popen(command) as load:
        started = time.monotonic()
        while load.poll() is None:
            times.append(round(time.monotonic() - started, 1))
            for one in processes:
                one.sample()
            with contextlib.suppress(subprocess.TimeoutExpired):
                load.wait(pause)
    if not summary.exists():
        raise BenchError(f"the load ended with status {load.returncode} and told nothing")
    judged = [one.judged(times) for one in processes]
    same = before == sorted(pid for one in watched(demo) for pid in one.pids)
    return {
        "flat": same and all(one["flat"] for one in judged),
        "same_processes": same,
        "as_expected": load.returncode == 0,
        "load": json.loads(summary.read_bytes()),
        "seconds": times,
        "processes": judged,
    }


def _show(console: Console, result: dict[str, Any]) -> None:
    table = Table(title="Processes", title_justify="left", caption=CRITERION, caption_justify="left")
    table.add_column("process")
    for head in ("MB first", "last", "most", "growth", "descriptors first", "last", "most", "growth", ""):
        table.add_column(head, justify="right")
    for one in result["processes"]:
        table.add_row(*figures(one), "flat" if one["flat"] else "NOT FLAT")
    console.print(table)
    if not result["same_processes"]:
        console.print("the nodes do not have the processes that they began with", style="red")


def figures(process: dict[str, Any]) -> list[str]:
    """Name, memory in MB and descriptors of one process: first, last, most, growth from day to day."""
    memory, opened = [value / 1e6 for value in process["memory"]], process["descriptors"]
    return [
        process["name"],
        *(f"{value:.1f}" for value in (memory[0], memory[-1], max(memory))),
        f"{process['memory_growth'] / 1e6:+.2f}",
        *(f"{value}" for value in (opened[0], opened[-1], max(opened))),
        f"{process['descriptors_growth']:+.1f}",
    ]


def drawings(result: dict[str, Any]) -> dict[str, str]:
    """Memory and descriptors of all processes over the run."""
    minutes = [at / 60 for at in result["seconds"]]
    of = {
        "memory": ("Memory (PSS), MB, over minutes", 1e6),
        "descriptors": ("Open descriptors, over minutes", 1),
    }
    return {
        figure: charts.lines(
            title,
            [
                charts.Line(
                    one["name"], [(at, value / unit) for at, value in zip(minutes, one[figure], strict=True)]
                )
                for one in result["processes"]
            ],
        )
        for figure, (title, unit) in of.items()
    }


if __name__ == "__main__":
    typer.run(main)
