"""`ocn-fast serve`: runs the node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ocn_fast.cli import options


def serve(
    config: options.ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="File with the certificate's private key (PEM).")
    ] = None,
    dev: Annotated[
        bool | None, typer.Option("--dev", help="A development node: http and loopback allowed.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once the node is ready: JSON with url, port and pid.")
    ] = None,
    more: options.Set = None,
) -> None:
    """Runs the node until it is told to stop (SIGTERM, Ctrl-C)."""
    from ocn_fast import supervisor  # here, so that no other command loads a server

    flags = options.flags(
        more,
        http__host=host,
        http__port=port,
        http__workers=workers,
        http__tls_cert_file=None if tls_cert is None else tls_cert.absolute(),
        http__tls_key_file=None if tls_key is None else tls_key.absolute(),
        node__dev=dev,
    )
    sys.exit(supervisor.serve(options.settings(config, flags), ready_file=ready_file))
