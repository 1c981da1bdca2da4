"""The table of the demo: live on a terminal, plain lines in a pipe, JSON lines on request."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Row(msgspec.Struct):
    """One step, as it went."""

    step: str
    sender: str
    receiver: str
    module: str
    status: str
    """HTTP and OCPI status that the sender got."""
    verdict: str
    """On the signature, at the receiver; for what must fail: what the receiver saw of it."""
    ms: float
    way: str
    """The nodes that it takes: `A`, or `A>B`."""
    problems: list[str] = []
    """How it differs from what was expected."""

    @property
    def ok(self) -> bool:
        return not self.problems


_COLUMNS = ("step", "from", "to", "via", "module", "status", "signature at the receiver", "ms")
_WIDTHS = (28, 6, 6, 3, 16, 8, 40)
_VERDICT = _COLUMNS.index("signature at the receiver")
_MS_WIDTH, _GAP, _NARROWEST = 8, 2, 24


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.step, row.sender, row.receiver, row.way, row.module, row.status, row.verdict, f"{row.ms:.1f}",
    )  # fmt: skip


class Printer(Protocol):
    """Shows rows as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, text: str) -> None:
        """What is going on."""

    def add(self, row: Row) -> None: ...

    def end(self, ok: bool, summary: str) -> None: ...


class PlainPrinter:
    """A line for each row, and further lines for its problems."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    def note(self, text: str) -> None:
        print(text, flush=True)

    def add(self, row: Row) -> None:
        mark = "ok  " if row.ok else "FAIL"
        padded = [cell.ljust(width) for cell, width in zip(_cells(row), _WIDTHS, strict=False)]
        print(mark, *padded, f"{row.ms:8.1f} ms", flush=True)
        for problem in row.problems:
            print(f"     {problem}", flush=True)

    def end(self, ok: bool, summary: str) -> None:
        print(f"{'ok  ' if ok else 'FAIL'} {summary}", flush=True)


class JsonPrinter(PlainPrinter):
    """One JSON object per line: rows, then the summary."""

    def note(self, text: str) -> None:
        """Notes are for people."""

    def add(self, row: Row) -> None:
        print(msgspec.json.encode(msgspec.structs.asdict(row) | {"ok": row.ok}).decode(), flush=True)

    def end(self, ok: bool, summary: str) -> None:
        print(msgspec.json.encode({"ok": ok, "summary": summary}).decode(), flush=True)


class LivePrinter:
    """A table on a terminal, line by line as it comes: it may become longer than the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._problems: list[str] = []
        others = sum(_WIDTHS) - _WIDTHS[_VERDICT] + _GAP * len(_COLUMNS) + _MS_WIDTH
        verdict = max(console.width - others, _NARROWEST)
        self._widths = [*_WIDTHS[:_VERDICT], verdict, _MS_WIDTH]

    def __enter__(self) -> Self:
        self._line(_COLUMNS, "bold")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    def note(self, text: str) -> None:
        # Texts may quote what a process printed: never as markup.
        self._console.print(Text(text, style="dim"))

    def add(self, row: Row) -> None:
        self._line(_cells(row), "" if row.ok else "bold red")
        self._problems += row.problems

    def end(self, ok: bool, summary: str) -> None:
        for problem in self._problems:
            self._console.print(Text(f"  {problem}", style="red"))
        self._console.print(Text(summary, style="bold green" if ok else "bold red"))

    def _line(self, cells: tuple[str, ...], style: str) -> None:
        line = Table.grid(padding=(0, _GAP, 0, 0))
        for name, width in zip(_COLUMNS, self._widths, strict=True):
            line.add_column(width=width, justify="right" if name == "ms" else "left", overflow="fold")
        line.add_row(*(Text(cell) for cell in cells), style=style)
        self._console.print(line)


def printer(json: bool) -> Printer:
    """The one that fits where the output goes."""
    console = Console(highlight=False)
    if json:
        return JsonPrinter()
    return LivePrinter(console) if console.is_terminal else PlainPrinter()
