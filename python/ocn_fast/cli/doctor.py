"""`ocn-fast doctor`: checks settings, files, keys, port, clock and registry."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from ocn_fast import keyfiles
from ocn_fast.cli import options
from ocn_fast.cli.config import described
from ocn_fast.cli.output import Json, print_json, print_line, print_table
from ocn_fast.config import Registry, Settings
from ocn_fast.errors import OcnError, RegistryFileError
from ocn_fast.registry import snapshot as snapshots

Verdict = Literal["ok", "warning", "wrong"]
_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this is not set."""


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    check: str
    verdict: Verdict
    text: str


def doctor(
    config: options.ConfigFile = None,
    more: options.Set = None,
    settings_too: Annotated[
        bool, typer.Option("--settings/--no-settings", help="Also print all settings.")
    ] = True,
    json: Json = False,
) -> None:
    """Checks everything that can be checked before the start. Status 1 if something is wrong."""
    settings, origins = Settings.resolve(options.config_file(config), os.environ, options.flags(more))
    findings = list(examine(settings, options.config_file(config)))
    if json:
        print_json(
            {
                "findings": [msgspec.to_builtins(finding) for finding in findings],
                "settings": {
                    name: {"value": settings.shown(name), "origin": origin}
                    for name, _, origin in described(settings, origins)
                },
            }
        )
    else:
        if settings_too:
            print_table(("setting", "value", "origin"), described(settings, origins))
        for finding in findings:
            print_line(f"{finding.verdict:8} {finding.check}: {finding.text}", _STYLES[finding.verdict])
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings, config_file: Path | None) -> Iterator[Finding]:
    """All checks, one finding or more each; nothing is changed and nothing outside is called."""
    for line in settings.warnings():
        yield Finding("set-up", "warning", line)
    yield from _tried("node key", lambda: _node_key(settings))
    yield from _tried("key ring", lambda: _key_ring(settings))
    yield from _tried("admin key", lambda: _admin_key(settings))
    yield from _tried("certificates", lambda: _certificates(settings))
    files = {"database": settings.store.url.partition(":///")[2]}
    if config_file is not None:
        files["settings"] = str(config_file)
    exposures = keyfiles.exposures(files)
    yield from (Finding("files", "warning", line) for line in exposures)
    if not exposures:
        yield Finding("files", "ok", "readable by their owner only")
    yield _port(settings)
    yield _clock()
    yield from _tried("registry", lambda: _registry(settings))


def _tried(check: str, examine_one: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield examine_one()
    except OcnError as error:
        yield Finding(check, "wrong", str(error))


def _node_key(settings: Settings) -> Finding:
    keyfiles.read_node_key(settings.node.key_file, dev=settings.node.dev)
    return Finding("node key", "ok", f"operator address {keyfiles.address(settings.node.key_file)}")


def _key_ring(settings: Settings) -> Finding:
    ring = keyfiles.read_key_ring(settings.node.key_ring_file)
    return Finding("key ring", "ok", f"{len(ring)} keys, current id {ring[0][0]}")


def _admin_key(settings: Settings) -> Finding:
    keyfiles.read_admin_key(settings.admin.key_file, settings.admin.key_chars)
    return Finding("admin key", "ok", "there")


def _certificates(settings: Settings) -> Finding:
    from ocn_fast import supervisor  # here, so that no other command loads a server

    supervisor.check_certificates(settings)
    tls = settings.http.tls_cert_file is not None
    return Finding("certificates", "ok", "the node speaks TLS" if tls else "TLS is left to a proxy")


def _port(settings: Settings) -> Finding:
    host, port = settings.http.host, settings.http.port
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return Finding("port", "ok", f"{host}:{port} is free")
    except OSError as error:
        # A node that is running holds its own port: no fault of its settings.
        return Finding(
            "port", "warning", f"{host}:{port} cannot be listened on now: {error.strerror or error}"
        )


def _clock() -> Finding:
    now = datetime.fromtimestamp(time.time(), UTC)
    if now < _EARLIEST:
        return Finding(
            "clock", "wrong", f"it says {now:%Y-%m-%d %H:%M} UTC: set it, tokens and links expire by it"
        )
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _chain(registry: Registry) -> Finding:
    """What the settings name. Whether it is there `serve` finds out."""
    from ocn_fast.registry import chain as chains  # here, as what reads chains takes its time to load

    chain = chains.chain_of(registry)
    names = ", ".join(endpoint.name for endpoint in chains.endpoints_of(registry, chain).all)
    return Finding("registry", "ok", f"contract {chain.contract} on chain {chain.chain_id}, through {names}")


def _registry(settings: Settings) -> Finding:
    registry = settings.registry
    if registry.on_chain:
        return _chain(registry)
    if registry.file is None:
        return Finding("registry", "warning", "neither a chain nor registry.file is set")
    limits: dict[str, Any] = {
        "max_bytes": registry.file_bytes,
        "max_parties": registry.parties,
        "max_domain_bytes": registry.domain_bytes,
    }
    signed = snapshots.read(registry.file, signers=registry.file_signers or None, **limits)
    own = keyfiles.address(settings.node.key_file)
    listed = [item for item in signed.snapshot.operators if item.address.lower() == own.lower()]
    if not listed:
        raise RegistryFileError(
            f"{registry.file} does not list our operator {own}: nobody can be reached through us"
        )
    parties = sum(party.operator.lower() == own.lower() for party in signed.snapshot.parties)
    block = f"block {signed.snapshot.block} of {signed.snapshot.time}"
    text = f"{block}, {parties} parties of ours, signed by {signed.signatory}"
    if listed[0].domain.rstrip("/") != settings.node.url:
        return Finding(
            "registry", "warning", f"{text}; it lists our domain as {listed[0].domain}, not node.url"
        )
    return Finding("registry", "ok", text)
