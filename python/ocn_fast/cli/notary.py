"""`ocn-fast notary`: signs, verifies and shows message signatures, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
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
    """Verifies the signature of a message. Status 1 if it is refused.

    With --registry, offline: who signed first must be the party that the message is from, or its operator.
    """
    document = options.read_input(message)
    text = options.read_input(signature).strip()
    try:
        verdict = notary.verify(text, notary.Values.from_document(document), policy=policy.value)
        origin = verdict.origin
        _require_one_of(signer or [], origin)
        listed = {} if registry is None else _listed(snapshots.read(registry), _sender(document), origin)
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
    fields: dict[str, Any] = {
        "origin": origin,
        "signatory": verdict.signatory,
        "chain": list(verdict.chain),
        "uncovered": verdict.uncovered,
        **listed,
    }
    if json:
        print_json({"valid": True, **fields})
        return
    print_line("valid", "green")
    print_fields({**fields, "chain": " <- ".join(verdict.chain)})


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


def _require_one_of(signers: list[str], origin: str) -> None:
    if signers and origin.lower() not in {address.lower() for address in signers}:
        raise NotaryError(f"signed by {origin}, who is none of the given signers", "signatory")


class _Message(msgspec.Struct):
    """What is looked at of a message beside its signature."""

    headers: dict[str, str] = msgspec.field(default_factory=dict)


def _sender(document: bytes) -> tuple[str, str] | None:
    """From whom a message says it is, in capitals; None if it does not say so, as answers do not."""
    try:
        headers = msgspec.json.decode(document, type=_Message).headers
    except msgspec.DecodeError as error:
        raise NotaryError(f"the headers are not what they must be: {error}") from None
    country, party = (headers.get(f"ocpi-from-{name}") for name in ("country-code", "party-id"))
    return None if country is None or party is None else (country.upper(), party.upper())


def _listed(signed: snapshots.Signed, sender: tuple[str, str] | None, origin: str) -> dict[str, str]:
    """Who the first signer is in a registry. Raises NotaryError if he may not sign for the sender."""
    held = signed.snapshot
    domains = {operator.address: operator.domain for operator in held.operators}
    names = [
        f"party {party.country_code}/{party.party_id}" for party in held.parties if party.address == origin
    ]
    names += [f"operator of {domains[origin]}"] if origin in domains else []
    fields = {
        "listed_as": ", ".join(names) or "not listed",
        "registry": f"{held.network}, block {held.block}, signed by {signed.signatory}",
    }
    if sender is None:
        return fields
    name = "/".join(sender)
    party = next((one for one in held.parties if (one.country_code, one.party_id) == sender), None)
    if party is None:
        raise NotaryError(f"the message is from {name}, who is not in this registry", "signatory")
    if origin not in (party.address, party.operator):
        raise NotaryError(
            f"signed by {origin} ({fields['listed_as']}), who is neither {name} nor its operator", "signatory"
        )
    whose = "the party" if origin == party.address else "the party's operator"
    return {"sender": name, "signer_is": whose, **fields}
