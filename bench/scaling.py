"""Arithmetic from curves that were measured towards a rate that was not: cores, workers, memory, bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

RATE, CORES = 15_000, 16
"""Signed messages a second, and the cores of the machine that they are reckoned for."""
OVER_WORKERS = "Over workers"


@dataclass(frozen=True)
class Scaling:
    """What `RATE` takes if a message costs there what it costs here."""

    cpu_least: float
    """Microseconds of a message, with the number of workers with which it costs least."""
    cpu_most: float
    """With that with which it costs most: of more workers than cores."""
    loop_rate: float
    """Messages a second at which the busiest thread of one worker would take a whole core."""
    worker_memory: float
    """MB that a further worker takes."""
    memory: float
    """MB of a node with one worker."""
    request_bytes: float
    best_rate: float
    """The most that was measured, and with how many workers."""
    best_workers: int

    @property
    def cores(self) -> tuple[float, float]:
        """Cores that are busy with `RATE`: at best, at worst."""
        return RATE * self.cpu_least / 1e6, RATE * self.cpu_most / 1e6

    @property
    def workers(self) -> int:
        """Workers whose busiest threads can do it."""
        return math.ceil(RATE / self.loop_rate)

    @property
    def total_memory(self) -> float:
        return self.memory + (self.workers - 1) * self.worker_memory

    @property
    def gigabits(self) -> float:
        """Gbit a second of requests, as many to the node as from it."""
        return RATE * self.request_bytes * 8 / 1e9

    @property
    def limit(self) -> str:
        """What is used up first, as a sentence."""
        cores, threads = self.cores[1] / CORES, self.workers / CORES
        if max(cores, threads) > 1:
            short = "the cores" if cores >= threads else "the busiest threads"
            return f"by these figures {RATE:,} do not fit on {CORES} cores: {short} are too few"
        if cores >= threads:
            return f"the cores are used up first: {cores:.0%} of {CORES} at the dearest cost"
        return f"the busiest threads are used up first: {self.workers} of them on {CORES} cores"


def scaling(curves: dict[str, Any]) -> Scaling | None:
    """From the results file of `bench.curves`; None unless it has one worker and more of them."""
    sections = {section["title"]: section["rows"] for section in curves["sections"]}
    rows = {int(_median(row, "x")): row for row in sections.get(OVER_WORKERS, [])}
    if 1 not in rows or len(rows) < 2:
        return None
    one, most = rows[1], max(rows)
    costs = [_median(row, "cpu") for row in rows.values()]
    best = max(rows, key=lambda count: _median(rows[count], "per_second"))
    memory = _median(one, "memory")
    return Scaling(
        cpu_least=min(costs),
        cpu_most=max(costs),
        loop_rate=100 * _median(one, "per_second") / _median(one, "busiest"),
        worker_memory=(_median(rows[most], "memory") - memory) / (most - 1),
        memory=memory,
        request_bytes=_median(one, "request_bytes"),
        best_rate=_median(rows[best], "per_second"),
        best_workers=best,
    )


def table(found: Scaling) -> list[tuple[str, str, str]]:
    """What, how much, and how that comes about."""
    least, most = found.cores
    return [
        (
            "CPU of a message",
            f"{found.cpu_least:,.0f} to {found.cpu_most:,.0f} us",
            "over workers, the least and the most",
        ),
        (f"cores busy with {RATE:,}/s", f"{least:.1f} to {most:.1f} of {CORES}", "rate x CPU of a message"),
        (
            "a worker's busiest thread is full at",
            f"{found.loop_rate:,.0f}/s",
            "one worker: its rate / that thread's share of a core",
        ),
        ("workers for that", f"{found.workers}", "rate / the line above, rounded up"),
        (
            "their memory",
            f"{found.total_memory:,.0f} MB",
            "a node of one worker, and for each more what more of them took",
        ),
        (
            "requests, in and again out",
            f"{found.gigabits:.2f} Gbit/s each way",
            f"rate x {found.request_bytes:,.0f} bytes of head and body; answers come on top",
        ),
    ]


def _median(row: dict[str, Any], figure: str) -> float:
    return float(row["figures"][figure]["median"])
