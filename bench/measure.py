"""What every row needs: samples with median and spread, the machine, and the CPU time of processes."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
"""Where Cargo puts what it builds."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_PACKAGES = ("granian", "uvloop", "starlette", "aiohttp", "coincurve", "brotli")
_BUILD = "cargo --release, as Cargo.toml has it; nginx with one worker; Granian with uvloop and HTTP/1.1"


class BenchError(Exception):
    """A figure would have meant nothing: something was not correct, or a part did not start."""


@dataclass
class Row:
    """One line of a table: a name and, for each figure, the sample of every round."""

    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def add(self, **figures: float) -> None:
        """Adds the figures of one round."""
        for name, value in figures.items():
            self.samples.setdefault(name, []).append(value)

    def median(self, figure: str) -> float | None:
        """The median over the rounds; None if this row has no such figure."""
        values = self.samples.get(figure)
        return statistics.median(values) if values else None

    def spread(self, figure: str) -> float:
        """Half the distance between the quartiles, relative to the median: one outlier does not blur it."""
        values = self.samples[figure]
        middle = statistics.median(values)
        if middle == 0 or len(values) == 1:
            return 0.0
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
        return (upper - lower) / 2 / middle

    def to_builtins(self) -> dict[str, Any]:
        """For the results file: medians, spreads and all samples."""
        figures = {
            name: {"median": self.median(name), "spread": self.spread(name), "samples": values}
            for name, values in self.samples.items()
        }
        return {"name": self.name, "note": self.note, "figures": figures}


def machine() -> dict[str, Any]:
    """Where and with what the figures were made."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in (_PROC / "cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "command": " ".join(["python", *sys.orig_argv[1:]]),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "rustc": _version(["rustc", "-V"]),
        "nginx": _version(["nginx", "-v"]),
        "wrk": _version(["wrk", "-v"]),
        "node": _version(["node", "-v"]),
        "build": _BUILD,
    }


def _version(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr + done.stdout).strip().partition("\n")[0]


def cargo(command: str, *arguments: str) -> str:
    """Runs Cargo with the versions that are locked; what was printed. Raises BenchError if it fails."""
    line = ["cargo", command, "--locked", "--quiet", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(line)} failed:\n{done.stderr[-2_000:]}")
    return done.stdout


def family(pid: int) -> list[int]:
    """A process and all its descendants, now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:  # grows while it is walked
        found += children.get(parent, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that these processes have used so far; those that are gone count nothing."""
    return sum(_used(_PROC / str(pid)) for pid in pids)


def thread_seconds(pids: Iterable[int]) -> dict[int, float]:
    """What each thread of these processes has used so far."""
    used = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for entry in (_PROC / str(pid) / "task").iterdir():
                used[int(entry.name)] = _used(entry)
    return used


def memory_bytes(pids: Iterable[int]) -> int:
    """What these processes hold in memory; pages that they share count once (PSS)."""
    return sum(_field(pid, "smaps_rollup", "Pss") for pid in pids)


def resident_bytes(pid: int) -> int:
    """What one process holds in memory, shared pages included (RSS)."""
    return _field(pid, "status", "VmRSS")


def descriptors(pid: int) -> int:
    """How many files, sockets and pipes a process has open; 0 if it is gone."""
    try:
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return 0


def command_line(pid: int) -> str:
    """What a process was started with, in one line; empty if it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _field(pid: int, file: str, name: str) -> int:
    """A line `name: number kB` in bytes; 0 if the process is gone."""
    try:
        lines = (_PROC / str(pid) / file).read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _used(entry: Path) -> float:
    fields = _stat(entry)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _stat(entry: Path) -> list[str] | None:
    """Fields of a process or thread behind the name, from the state on; None if it is gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
