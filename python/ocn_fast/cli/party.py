"""`ocn-fast party cpo|msp`: a real OCPI 2.2.1 party to talk to."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocn_fast import keyfiles, notary
from ocn_fast.cli.output import leave, literal, print_line
from ocn_fast.errors import ConfigError, OcnError

if TYPE_CHECKING:
    from ocn_fast.parties.book import Book
    from ocn_fast.parties.process import Mood
    from ocn_fast.parties.signing import Signer

TOKEN_BYTES = 4_096
STDIN = Path("-")
_STYLES = {"": "", "good": "green", "odd": "yellow", "bad": "red"}


class Kind(StrEnum):
    """What a party can be."""

    CPO = "cpo"
    MSP = "msp"


def party(
    kind: Annotated[Kind, typer.Argument(help="A charge point operator, or an e-mobility service provider.")],
    party_id: Annotated[
        str | None, typer.Option("--id", help="Country code and party id; DE/CPO or DE/MSP if not given.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Versions URL of the node to register at; without it we wait for one.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the node's registration token (token A); - reads stdin.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Our signing key; without it a new one is made for this run.")
    ] = None,
    signer_url: Annotated[
        str | None, typer.Option(help="Another program that signs and verifies in our place.")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Signed registry snapshot; without it every signer is accepted.")
    ] = None,
    registry_signer: Annotated[
        list[str] | None, typer.Option(help="Address that may have signed the snapshot; repeatable.")
    ] = None,
    registry_rpc: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Chain to read the registry from, and again for unknown signers."),
    ] = None,
    registry_contract: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The registry contract on that chain.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    public_url: Annotated[
        str | None, typer.Option(help="Base URL under which the node reaches us, if not host and port.")
    ] = None,
    state_file: Annotated[
        Path | None, typer.Option(help="Keeps tokens and endpoints over a restart.")
    ] = None,
    journal_file: Annotated[
        Path | None, typer.Option(help="Gets a JSON line for each message, with the signature's verdict.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once we are ready: URLs, process id, key of the control API.")
    ] = None,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds before a command's result and between a session's updates.")
    ] = 1.0,
    fail: Annotated[
        float, typer.Option(min=0, max=1, metavar="RATE", help="Share of received messages answered by 3000.")
    ] = 0.0,
    page_limit: Annotated[int, typer.Option(min=1, help="Largest page of a list.")] = 100,
    without: Annotated[
        list[str] | None, typer.Option(help="A module that we do not offer; repeatable.")
    ] = None,
    accept_unsigned: Annotated[
        bool, typer.Option("--accept-unsigned", help="Take messages without signature, too.")
    ] = False,
) -> None:
    """Run a real OCPI 2.2.1 party that registers at a node, signs what it sends and verifies what it gets."""

    # Here, so that no other command has to load what only this one needs.
    from ocn_fast.parties.door import Manners
    from ocn_fast.parties.ocpi import Party
    from ocn_fast.parties.process import Plan, run

    async def start() -> None:
        plan = Plan(
            kind=kind,
            party=Party.parse(party_id or f"DE/{kind.upper()}"),
            signer=await _signer(key_file, signer_url),
            book=await _book(registry, registry_signer or [], registry_rpc, registry_contract),
            node=node,
            token_a=_token(token_file),
            host=host,
            port=port,
            public_url=public_url,
            state_file=state_file,
            journal_file=journal_file,
            ready_file=ready_file,
            delay=delay,
            page_limit=page_limit,
            manners=Manners(fail, accept_unsigned),
            without=frozenset(without or ()),
        )
        await run(plan, _show)

    try:
        asyncio.run(start())
    except OcnError as error:
        leave(f"ocn-fast: {literal(str(error))}")
    leave(None)


def _show(text: str, mood: Mood) -> None:
    print_line(text, _STYLES[mood])
    # In a pipe lines would wait for each other.
    sys.stdout.flush()


async def _signer(key_file: Path | None, signer_url: str | None) -> Signer:
    from ocn_fast.parties.signing import OwnKey, Sidecar

    if key_file is not None and signer_url is not None:
        raise ConfigError("--key-file and --signer-url exclude each other: only one of us can sign")
    if signer_url is not None:
        return await Sidecar.connect(signer_url)
    return OwnKey(keyfiles.read_node_key(key_file) if key_file is not None else notary.new_key())


async def _book(file: Path | None, signers: list[str], rpc: str | None, contract: str | None) -> Book:
    from ocn_fast.parties.book import Book

    if (rpc is None) != (contract is None):
        raise ConfigError("--registry-rpc and --registry-contract belong together")
    if rpc is None or contract is None:
        return Book.of_file(file, signers)
    if file is not None:
        raise ConfigError("--registry and --registry-rpc exclude each other: only one registry can count")
    return await Book.of_chain(rpc, contract)


def _token(file: Path | None) -> str | None:
    """Token A, from a file or from stdin; never from the command line, where everybody could read it."""
    if file is None:
        return None
    text = sys.stdin.read(TOKEN_BYTES) if file == STDIN else keyfiles.read(file)
    token = text.strip()
    if not token:
        raise ConfigError("holds no token", source=str(file))
    return token
