"""`ocn-fast notary`: signs, verifies and shows message signatures, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ocn_fast import keyfiles, notary
from ocn_fast.cli import options
from ocn_fast.cli.output import Json, print_fields, print_json, print_line
from ocn_fast.errors import NotaryError
from ocn_fast.registry import snapshot as snapshots

app = typer.Typer(no_args_is_help=True, help="Message signatures: sign, verify, show.")


class Container(StrEnum):
    """How a signature is packed: v1 nodes use Brotli, v2 nodes gzip."""

    BROTLI = "brotli"
    GZIP = "gzip"


class Policy(StrEnum):
    """How strictly a signature is judged."""

    STRICT = "strict"
    COVERED = "covered"
    COMPATIBLE = "compatible"


Message = Annotated[
    str, typer.Argument(help='JSON file {"headers": {…}, "params": {…}, "body": …}; - reads stdin.')
]


@app.command()
def sign(
    message: Message,
    key_file: Annotated[Path, typer.Option(help="Signing key's file.")],
    container: Annotated[Container, typer.Option(help="How the signature is packed.")] = Container.BROTLI,
    json: Json = False,
) -> None:
    """Signs a message and prints the value of its OCN-Signature."""
    signed = notary.sign(_values(message), keyfiles.read_node_key(key_file, dev=True))
    text = signed.serialize(container.value)
    print_json(
        {"signature": text, "signatory": signed.signatory, "fields": len(signed.fields)}
    ) if json else print(text)


@app.command()
def verify(
    message: Message,
    signature: Annotated[str, typer.Argument(help="File with the value of OCN-Signature; - reads stdin.")],
    policy: Annotated[Policy, typer.Option(help="How strictly it is judged.")] = Policy.STRICT,
    signer: Annotated[
        list[str] | None, typer.Option(help="Address that must be the origin; may be repeated.")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Signed registry snapshot: whose address the origin is.")
    ] = None,
    json: Json = False,
) -> None:
    """Verifies the signature of a message. Status 1 if it is refused."""
    values = _values(message)
    text = options.read_input(signature).strip()
    try:
        verdict = notary.verify(text, values, policy=policy.value)
    except NotaryError as error:
        if not json:
            raise
        print_json(
            {
                "valid": False,
                "reason": error.reason,
                "path": error.path,
                "rewrite": error.rewrite,
                "text": str(error),
            }
        )
        raise typer.Exit(1) from None
    origin = verdict.origin
    if signer and origin.lower() not in {address.lower() for address in signer}:
        raise NotaryError(f"signed by {origin}, who is none of the given signers", "signatory")
    fields: dict[str, Any] = {
        "origin": origin,
        "signatory": verdict.signatory,
        "chain": list(verdict.chain),
        "uncovered": verdict.uncovered,
    }
    if registry is not None:
        fields["listed_as"] = _listed(registry, origin)
    if json:
        print_json({"valid": True, **fields})
        return
    print_line("valid", "green")
    print_fields({**fields, "chain": " <- ".join(verdict.chain), "listed_as": fields.get("listed_as")})


@app.command()
def show(
    signature: Annotated[str, typer.Argument(help="File with the value of OCN-Signature; - reads stdin.")],
    json: Json = False,
) -> None:
    """Shows what a signature says of itself. Nothing is verified: `verify` does that."""
    parsed = notary.parse(options.read_input(signature).strip())
    fields: dict[str, Any] = {
        "container": parsed.container,
        "signatory": parsed.signatory,
        "hash": parsed.hash,
        "rsv": parsed.rsv,
        "rewrites": len(parsed.rewrites),
        "fields": list(parsed.fields),
    }
    print_json(fields) if json else print_fields({**fields, "fields": " ".join(parsed.fields)})


def _values(path: str) -> notary.Values:
    return notary.Values.from_document(options.read_input(path))


def _listed(path: Path, address: str) -> str:
    """Whose address it is in a registry: parties first, then operators."""
    registry = snapshots.read(path).snapshot
    names = [
        f"party {party.country_code}/{party.party_id}"
        for party in registry.parties
        if party.address.lower() == address.lower()
    ]
    names += [
        f"operator of {item.domain}" for item in registry.operators if item.address.lower() == address.lower()
    ]
    return ", ".join(names) or "not listed"
