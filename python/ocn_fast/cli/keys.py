"""`ocn-fast keys`: makes key files and shows what is public of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ocn_fast import keyfiles
from ocn_fast.cli import options
from ocn_fast.cli.output import Json, print_fields, print_json

app = typer.Typer(no_args_is_help=True, help="Key files: make them, show what is public of them.")


class Kind(StrEnum):
    """What a key file is for."""

    SIGNING = "signing"
    RING = "ring"
    ADMIN = "admin"


@app.command()
def new(
    kind: Annotated[
        Kind, typer.Argument(help="signing: of a node or a party; ring: master keys; admin: admin API.")
    ],
    file: Annotated[Path, typer.Argument(help="The file to make; never overwritten.")],
    json: Json = False,
) -> None:
    """Makes a key file with mode 0600. The key itself is never printed."""
    shown = {"file": str(file)}
    if kind is Kind.SIGNING:
        shown["address"] = keyfiles.create_node_key(file)
    elif kind is Kind.RING:
        keyfiles.create_key_ring(file)
    else:
        keyfiles.create_admin_key(file)
    print_json(shown) if json else print_fields(shown)


@app.command()
def show(
    file: Annotated[Path | None, typer.Argument(help="A signing key's file; default: the node's.")] = None,
    config: options.ConfigFile = None,
    json: Json = False,
) -> None:
    """Shows the address of a signing key."""
    path = file if file is not None else Path(options.settings(config).node.key_file)
    shown = {"file": str(path), "address": keyfiles.address(path)}
    print_json(shown) if json else print_fields(shown)
