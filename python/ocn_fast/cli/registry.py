"""`ocn-fast registry`: the registry on chain, and signed snapshots of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from ocn_fast import keyfiles
from ocn_fast.cli import options, registry_apply, registry_changes, registry_entries
from ocn_fast.cli.output import Json, print_fields, print_json, print_line, print_note, print_table
from ocn_fast.cli.registry_options import Where, read_key
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError
from ocn_fast.registry import snapshot as snapshots

app = typer.Typer(no_args_is_help=True, help="The registry of operators and parties.")
snapshot = typer.Typer(no_args_is_help=True, help="Signed registry snapshots: sign, show, verify.")
app.add_typer(snapshot, name="snapshot")

File = Annotated[Path, typer.Argument(help="A signed snapshot.")]


@snapshot.command()
def sign(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="The registry as JSON, in any order; - reads stdin.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The signed snapshot; replaced in one step.")
    ],
    key_file: Annotated[Path | None, typer.Option(help="Signing key's file; default: the node's.")] = None,
    config: options.ConfigFile = None,
    json: Json = False,
) -> None:
    """Signs a registry: sorts and spells it in its one canonical form first."""
    registry = snapshots.from_json(options.read_input(source))
    key = keyfiles.read_node_key(
        key_file if key_file is not None else options.settings(config).node.key_file, dev=True
    )
    data = snapshots.sign(registry, key)
    signed = snapshots.parse(data)
    snapshots.write(output, data)
    _print_summary(signed, json=json, file=str(output))


@snapshot.command()
def show(
    file: File,
    parties: Annotated[bool, typer.Option("--parties", help="Also list operators and parties.")] = False,
    json: Json = False,
) -> None:
    """Shows what a snapshot holds and who signed it. Whether that signer may be believed is not asked."""
    signed = snapshots.read(file)
    if not parties:
        _print_summary(signed, json=json, file=str(file))
        return
    registry = signed.snapshot
    if json:
        print_json({"signatory": signed.signatory, **snapshots.to_builtins(registry)})
        return
    domains = {operator.address.lower(): operator.domain for operator in registry.operators}
    rows = [
        (
            f"{party.country_code}/{party.party_id}",
            " ".join(party.roles),
            party.address,
            party.operator,
            domains.get(party.operator.lower(), "(not listed)"),
        )
        for party in registry.parties
    ]
    print_table(("party", "roles", "address", "operator", "domain"), rows, empty="no parties")


@snapshot.command()
def verify(
    file: File,
    signer: Annotated[
        list[str] | None,
        typer.Option(help="An address that may sign; may be repeated. Default: registry.file_signers."),
    ] = None,
    config: options.ConfigFile = None,
    json: Json = False,
) -> None:
    """Checks a snapshot: form, order, signature, and that one of the given addresses signed it."""
    signers = signer if signer else list(options.settings(config).registry.file_signers)
    signed = snapshots.read(file, signers=signers)
    if json:
        _print_summary(signed, json=True, file=str(file))
    else:
        print_line(f"good: signed by {signed.signatory}, block {signed.snapshot.block}", "green")
        _print_warnings(signed)


def export(
    where: Where,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The signed snapshot; replaced in one step.")
    ],
    key_file: Annotated[Path | None, typer.Option(help="Signing key's file; default: the node's.")] = None,
    json: Json = False,
) -> None:
    """Writes a signed snapshot of the registry on chain, at the newest block that counts."""
    with registry_entries.looking(where) as look:
        registry, warnings = look.snapshot()
    target = look.target
    default = None if target.settings is None else target.settings.node.key_file
    key = read_key("--key-file", key_file, None, default=default, development=target.development)
    data = snapshots.sign(registry, key)
    snapshots.write(output, data)
    _print_summary(snapshots.parse(data), json=json, file=str(output))
    for line in warnings:
        print_note(line)


@app.command()
def resync(config: options.ConfigFile = None, json: Json = False) -> None:
    """Has the node read the whole registry anew from its chain, whatever it thinks of what it finds."""
    settings = options.settings(config)
    if not asyncio.run(_ask_resync(settings)):
        raise ConfigError("this node has read no chain yet, so there is nothing to read anew")
    print_json({"asked": True}) if json else print_line("asked: the keeper reads everything anew")


async def _ask_resync(settings: Settings) -> bool:
    from ocn_fast import store

    database = await store.open(settings)
    try:
        return await database.ask_resync()
    finally:
        await database.close()


def _print_summary(signed: snapshots.Signed, *, json: bool, file: str) -> None:
    registry = signed.snapshot
    fields: dict[str, Any] = {
        "file": file,
        "network": registry.network,
        "chain_id": registry.chain_id,
        "contract": registry.contract,
        "block": registry.block,
        "block_hash": registry.block_hash,
        "time": registry.time,
        "operators": len(registry.operators),
        "parties": len(registry.parties),
        "services": len(registry.services),
        "agreements": len(registry.agreements),
        "signatory": signed.signatory,
    }
    if json:
        print_json({**fields, "warnings": list(signed.warnings)})
    else:
        print_fields(fields)
        _print_warnings(signed)


def _print_warnings(signed: snapshots.Signed) -> None:
    for warning in signed.warnings:
        print_note(warning)


app.command("verify")(verify)
options.command(app, "export", export)
registry_entries.register(app)
registry_changes.register(app)
registry_apply.register(app)
