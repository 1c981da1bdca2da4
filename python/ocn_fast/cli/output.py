"""How commands print: tables and colours on a terminal, plain text in a pipe, JSON on request.

Whatever comes from outside (a registry, a party, a file) is shown literally: no markup is read from it, and
control characters, also those that only change the direction of text, appear as escapes.

rich is loaded by what prints with it: a node that serves, and a command in a pipe, do without.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option that every command with an output has."""


def literal(value: Any) -> str:
    """The value as text on one line that shows every character and obeys none."""
    text = value if isinstance(value, str) else str(value)
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def leave(complaint: str | None) -> NoReturn:
    """Ends a process that has served HTTP, without taking the interpreter apart: status 1 with a complaint.

    Threads of the server may still close connections; one that wants the interpreter while it is finalised
    aborts the process. Everything must be closed and written by now.
    """
    if complaint is not None:
        print(complaint, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if complaint is None else 1)


def print_json(value: Any) -> None:
    """Prints JSON in ASCII, in which every control character is an escape."""
    text = json.dumps(value, ensure_ascii=True, indent=2, default=str)
    print(text.replace("\x7f", "\\u007f"))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str = "nothing") -> None:
    """Prints rows: with lines and colours on a terminal, else columns separated by tabs and no header."""
    cells = [["" if value is None else literal(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            print("\t".join(row))
        return
    if not cells:
        print_note(empty)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*(Text(value) for value in row))
    _console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Prints one thing: a line for each of its fields."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = "" if value is None else literal(value)
        if sys.stdout.isatty():
            from rich.text import Text

            _console().print(Text.assemble((name.ljust(width + 2), "bold"), shown), soft_wrap=True)
        else:
            print(f"{name}\t{shown}")


def print_line(text: str, style: str = "") -> None:
    """Prints a line, coloured on a terminal. The text is shown literally."""
    if sys.stdout.isatty():
        _print_styled(_console(), text, style)
    else:
        print(literal(text))


def print_note(text: str) -> None:
    """Prints what a person should know, on standard error, so that a pipe holds results only."""
    _print_styled(_console(stderr=True), text, "dim")


def _print_styled(console: Console, text: str, style: str) -> None:
    from rich.text import Text

    console.print(Text(literal(text), style=style), soft_wrap=True)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
