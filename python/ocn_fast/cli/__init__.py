"""The command `ocn-fast`: one file per group of verbs. Nothing of the package imports it.

A command prints a table on a terminal, plain text in a pipe, and JSON with `--json`. What goes wrong is one
line on standard error: status 1 for what was asked, 2 for how it was asked. No option takes the value of a
secret, because every user of a machine can read the command lines of others.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from ocn_fast.cli import (
    chain,
    config,
    demo,
    doctor,
    explain,
    init,
    join,
    keys,
    notary,
    options,
    party,
    platform,
    registry,
    serve,
    tell,
)
from ocn_fast.cli.output import literal
from ocn_fast.errors import OcnError

app = typer.Typer(
    name="ocn-fast",
    help="A fast, honest node for the Open Charging Network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    # Tracebacks would show local variables, and with them keys.
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(metadata.version("ocn-fast"))
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("party")(party.party)
app.command("tell")(tell.tell)
app.command("chain")(chain.chain)
app.command("doctor")(doctor.doctor)
options.command(app, "explain", explain.explain)
app.add_typer(config.app, name="config")
app.add_typer(join.app, name="join")
app.add_typer(keys.app, name="keys")
app.add_typer(registry.app, name="registry")
app.add_typer(notary.app, name="notary")
app.add_typer(platform.app, name="platform")


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
