"""The command `ocn-fast`: one file per group of verbs. Nothing of the package imports it.

A command prints a table on a terminal, plain text in a pipe, and JSON with `--json`. What goes wrong is one
line on standard error: status 1 for what was asked, 2 for how it was asked. No option takes the value of a
secret, because every user of a machine can read the command lines of others.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from ocn_fast.cli.output import literal
from ocn_fast.errors import OcnError

_NAMES = (
    *("init", "serve", "demo", "party", "tell", "chain", "doctor", "explain"),
    *("config", "join", "keys", "registry", "notary", "platform"),
)
"""The commands and groups of commands, as `--help` lists them: each is a module here of that name."""


class _Commands(Mapping[str, Any]):
    """The commands by name, each loaded once it is asked for: all of them take some tenths of a second."""

    def __getitem__(self, name: str) -> Any:
        if name not in _NAMES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


class _Group(TyperGroup):
    """The command `ocn-fast` itself."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment]  # nothing is added to it


def _typer(group: type[TyperGroup]) -> typer.Typer:
    made = typer.Typer(
        name="ocn-fast",
        cls=group,
        help="A fast, honest node for the Open Charging Network.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        # Tracebacks would show local variables, and with them keys.
        pretty_exceptions_enable=False,
    )
    made.callback()(_common)
    return made


@cache
def _load(name: str) -> Any:
    module = importlib.import_module(f"{__name__}.{name}")
    holder = _typer(TyperGroup)
    if hasattr(module, "app"):
        holder.add_typer(module.app, name=name)
    else:
        holder.command(name)(getattr(module, name))
    loaded: Any = typer.main.get_command(holder)
    return loaded.commands[name]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(metadata.version("ocn-fast"))
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app = _typer(_Group)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, 1 (it did not work), 2 (it was asked wrongly)."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="ocn-fast")
    except OcnError as error:
        print(f"ocn-fast: {literal(str(error))}", file=sys.stderr)
        sys.stdout.flush()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
