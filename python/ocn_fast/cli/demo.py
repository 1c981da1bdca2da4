"""`ocn-fast demo`: parties roam over two nodes, or over one, and every line is checked."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from ocn_fast.cli.output import print_note
from ocn_fast.demo.sabotage import Sabotage
from ocn_fast.errors import ConfigError

_EXTRA = "pip install 'ocn-fast[chain]'"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and print URLs and calls.")] = False,
    sabotage: Annotated[
        Sabotage | None, typer.Option(help="Break one thing on purpose: the demo must notice.")
    ] = None,
    cpo_signer: Annotated[
        str | None,
        typer.Option(help="URL where the CPO signs and verifies, instead of with our own library."),
    ] = None,
    one_node: Annotated[
        bool | None,
        typer.Option(
            "--one-node/--two-nodes", help="Without chain and second node; default: two, if there is a chain."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Let real parties roam over two nodes that find each other on a chain.

    Without the extra ocn-fast[chain], over one node. Exit status 0 only if every line is as expected.
    """
    # Here, so that no other command has to load what only this one needs.
    from ocn_fast.demo.network import ONE_NODE, TWO_NODES
    from ocn_fast.demo.registries import ChainRegistry
    from ocn_fast.demo.run import run
    from ocn_fast.demo.table import printer

    # A signer of another program signs messages; it could not list its party on a chain.
    possible = cpo_signer is None and ChainRegistry.available()
    two_nodes = possible and not one_node
    needed = one_node is False or (sabotage is not None and sabotage.needs_nodes)
    if needed and not two_nodes:
        raise ConfigError(f"that takes two nodes: not --one-node, no --cpo-signer, and the extra: {_EXTRA}")
    cast = TWO_NODES if two_nodes else ONE_NODE
    try:
        ok = asyncio.run(run(printer(json), cast, sabotage=sabotage, keep=keep, cpo_signer=cpo_signer))
    except asyncio.CancelledError:
        # By a signal, and everything was ended on the way out.
        raise typer.Exit(128 + signal.SIGINT) from None
    if not ChainRegistry.available() and not json:
        print_note(f"This was one node. With {_EXTRA} a chain, its contracts and a second node take part.")
    if not ok:
        raise typer.Exit(1)
