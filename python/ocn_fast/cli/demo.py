"""`ocn-fast demo`: two parties roam over one node, and every line is checked."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from ocn_fast.demo.sabotage import Sabotage


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and print URLs and calls.")] = False,
    sabotage: Annotated[
        Sabotage | None, typer.Option(help="Break one thing on purpose: the demo must notice.")
    ] = None,
    cpo_signer: Annotated[
        str | None,
        typer.Option(help="URL where the CPO signs and verifies, instead of with our own library."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Start a node, a CPO and an eMSP, and let them roam. Exit status 0 only if every line is as expected."""
    # Here, so that no other command has to load what only this one needs.
    from ocn_fast.demo.run import run
    from ocn_fast.demo.table import printer

    try:
        ok = asyncio.run(run(printer(json), sabotage=sabotage, keep=keep, cpo_signer=cpo_signer))
    except asyncio.CancelledError:
        # By a signal, and everything was ended on the way out.
        raise typer.Exit(128 + signal.SIGINT) from None
    if not ok:
        raise typer.Exit(1)
