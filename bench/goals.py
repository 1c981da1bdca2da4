"""What the project wants to reach, judged by the figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import node, relay, signatures, stages
from bench.measure import Row
from bench.report import Section

_BREATH = 1.2
"""No step: what a p99 may differ by between two rows of one run."""


@dataclass(frozen=True)
class Goal:
    """A measure, its goal and perhaps a harder one; `least` says whether more is better."""

    measure: str
    goal: float
    stretch: float | None
    least: bool
    unit: str
    value: Callable[[_Figures], float | None]

    def verdict(self, value: float | None) -> str:
        """`not measured`, `missed`, `hit` or `stretch hit`."""
        if value is None:
            return "not measured"
        if self.stretch is not None and self._met(value, self.stretch):
            return "stretch hit"
        return "hit" if self._met(value, self.goal) else "missed"

    def _met(self, value: float, bound: float) -> bool:
        return value >= bound if self.least else value <= bound

    def bound(self, value: float | None) -> str:
        """A goal as a person reads it."""
        return "" if value is None else f"{'>=' if self.least else '<='} {self.text(value)}"

    def text(self, value: float | None) -> str:
        return "-" if value is None else f"{value:,.{0 if abs(value) >= 100 else 2}f}{self.unit}"


class _Figures:
    """Medians by section and row."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._rows: dict[tuple[str, str], Row] = {
            (section.title, row.name): row for section in sections for row in section.rows
        }

    def get(self, section: str, row: str, figure: str) -> float | None:
        found = self._rows.get((section, row))
        return found.median(figure) if found else None

    def ratio(self, above: tuple[str, str, str], below: tuple[str, str, str]) -> float | None:
        """Of two figures, each section, row and name."""
        numerator, denominator = self.get(*above), self.get(*below)
        return numerator / denominator if numerator and denominator else None


def _relay(row: str, figure: str) -> tuple[str, str, str]:
    return relay.TITLE, row, figure


def _verify(size: str, by: str) -> tuple[str, str, str]:
    return signatures.TITLE, signatures.row_name("verify", size, by), "per_second"


_SIGNED = "node, signed"
_NGINX = "nginx as reverse proxy, 1.2 KB"
_STEADY = f"node, signed, at a steady {relay.STEADY_RATE:,.0f}/s"
_RECOVER = (signatures.TITLE, "bare recover", "per_second")
_SMALL, _CDR, _LARGE, _LARGEST = signatures.SIZES


def _of(section: str, row: str, figure: str) -> Callable[[_Figures], float | None]:
    return lambda figures: figures.get(section, row, figure)


def _ratio(above: tuple[str, str, str], below: tuple[str, str, str]) -> Callable[[_Figures], float | None]:
    return lambda figures: figures.ratio(above, below)


GOALS = (
    Goal("CPU per signed local message / (nginx + 2 recoveries)", 2.0, 1.5, False, " x",
         _of(*_relay(_SIGNED, "floors"))),
    Goal("unsigned rate / nginx rate", 0.35, 0.5, True, "",
         _ratio(_relay("node, unsigned", "per_second"), _relay(_NGINX, "per_second"))),
    Goal("signed local, closed loop", 4_000, 6_000, True, "/s", _of(*_relay(_SIGNED, "per_second"))),
    Goal("the same at a steady 2,300/s: p99", 10.0, 5.0, False, " ms", _of(*_relay(_STEADY, "p99"))),
    Goal("signed node to node, both on this machine (stretch: with session keys)", 1_500, 2_500, True, "/s",
         _of(*_relay("node to node, signed", "per_second"))),
    Goal("signed local / plain Python", 5.0, 8.0, True, " x",
         _ratio(_relay(_SIGNED, "per_second"), _relay("plain Python, signed", "per_second"))),
    Goal("verify START_SESSION / bare recover rate", 0.75, 0.9, True, "",
         _ratio(_verify(_SMALL, "brotli"), _RECOVER)),
    Goal("verify CDR / bare recover rate", 0.75, 0.9, True, "", _ratio(_verify(_CDR, "brotli"), _RECOVER)),
    Goal("verify Location, 12 EVSEs / JavaScript", 40.0, None, True, " x",
         _ratio(_verify(_LARGE, "brotli"), _verify(_LARGE, "JavaScript"))),
    Goal("verify Location, 100 EVSEs / JavaScript", 100.0, None, True, " x",
         _ratio(_verify(_LARGEST, "brotli"), _verify(_LARGEST, "JavaScript"))),
    Goal("look-up among 100,000 parties", 150.0, None, False, " ns",
         _of(stages.TITLE, stages.look_up_name("100000"), "nanoseconds")),
    Goal("look-up among 1,000,000 parties", 250.0, None, False, " ns",
         _of(stages.TITLE, stages.look_up_name("1000000"), "nanoseconds")),
    Goal("memory of a registered party", 150.0, None, False, " B",
         _of(stages.TITLE, stages.PARTY_BYTES, "bytes")),
    Goal("table swap under load: p99 / p99 at rest", _BREATH, None, False, " x",
         _ratio((node.TITLE, node.SWAPPED, "p99"), (node.TITLE, node.QUIET, "p99"))),
    Goal("start to ready", 1.5, 1.0, False, " s", _of(node.TITLE, node.START, "seconds")),
    Goal("memory of a worker with 10,000 parties", 110.0, 90.0, False, " MB",
         _of(node.TITLE, node.MEMORY, "rss")),
)  # fmt: skip


def judged(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Every goal with its figure, for the results file."""
    figures = _Figures(sections)
    rows = []
    for goal in GOALS:
        value = goal.value(figures)
        rows.append(
            {
                "measure": goal.measure,
                "goal": goal.bound(goal.goal),
                "stretch": goal.bound(goal.stretch),
                "value": value,
                "text": goal.text(value),
                "verdict": goal.verdict(value),
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The goals as a table."""
    table = Table(title="Goals", title_justify="left")
    for head in ("measure", "goal", "stretch", "here", ""):
        table.add_column(head, justify="left" if head in ("measure", "") else "right")
    colours = {"missed": "red", "hit": "green", "stretch hit": "green", "not measured": "dim"}
    for row in rows:
        verdict = row["verdict"]
        styled = f"[{colours[verdict]}]{verdict}[/{colours[verdict]}]"
        table.add_row(row["measure"], row["goal"], row["stretch"], row["text"], styled)
    console.print(table)
