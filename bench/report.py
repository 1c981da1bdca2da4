"""Tables on the terminal and one JSON file of everything that was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Row

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Column:
    """One figure of the rows: its name among the samples, its head with the unit, and its digits."""

    figure: str
    head: str
    digits: int = 0


@dataclass(frozen=True)
class Section:
    """One table."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def print(self, console: Console) -> None:
        """Medians over the rounds, each with its spread (half the distance of the quartiles)."""
        table = Table(title=self.title, title_justify="left", caption_justify="left")
        table.caption = "\n".join(self.notes)
        table.add_column("row")
        present = [
            column for column in self.columns if any(column.figure in row.samples for row in self.rows)
        ]
        for column in present:
            table.add_column(column.head, justify="right")
        for row in self.rows:
            table.add_row(row.name, *(_cell(row, column) for column in present))
            if row.note:
                table.add_row(f"[dim]  {row.note}[/dim]")
        console.print(table)

    def to_builtins(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "notes": list(self.notes),
            "columns": [[column.figure, column.head, column.digits] for column in self.columns],
            "rows": [row.to_builtins() for row in self.rows],
        }


def _cell(row: Row, column: Column) -> str:
    middle = row.median(column.figure)
    if middle is None:
        return "-"
    spread = row.spread(column.figure)
    return f"{middle:,.{column.digits}f} ±{spread:.0%}"


def write(
    machine: dict[str, Any], sections: Sequence[Section], goals: Sequence[dict[str, Any]], path: Path | None
) -> Path:
    """Writes all samples; without a path, into the results folder under the date of the run."""
    target = path or RESULTS / f"{machine['date'].replace(':', '')}.json"
    target.parent.mkdir(exist_ok=True)
    document = {
        "machine": machine,
        "goals": list(goals),
        "sections": [section.to_builtins() for section in sections],
    }
    target.write_text(json.dumps(document, indent=1) + "\n")
    return target
