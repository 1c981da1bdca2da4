"""`ocn-fast registry apply`: lists the nodes and parties of a file in one go, each with its own key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ocn_fast.cli import options
from ocn_fast.cli.output import Json, print_json, print_table
from ocn_fast.cli.registry_changes import DirectSigning, Session, Waiting, connected
from ocn_fast.cli.registry_options import (
    SPENDER_VARIABLE,
    Where,
    address,
    credentials,
    domain,
    indexes,
)
from ocn_fast.errors import ConfigError
from ocn_fast.registry import enums


class _Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    key_file: str


class _Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    party: str
    """As `DE/CPO`."""
    roles: list[str]
    operator: str
    key_file: str


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nodes: list[_Node] = []
    parties: list[_Party] = []


@dataclass(frozen=True)
class _Change:
    """What an entry of the file comes to."""

    name: str
    key_file: str
    function: str
    arguments: dict[str, Any]

    def is_done(self, session: Session) -> bool:
        """Whether the signer is listed so already. Raises ConfigError where that would take a deletion."""
        view, contract = session.chain.view, session.contract
        if self.function == "setNode":
            (listed,) = view(contract, "getNode", session.signer)
            wanted: str = self.arguments["domain"]
            if listed and listed != wanted.encode():
                raise ConfigError(f"{self.name}: its operator lists another URL; see set-node --replace")
            return bool(listed)
        # Country code, party id, modules of both sides, roles, operator, domain.
        country, party, _, _, roles, operator, _ = view(contract, "getPartyDetailsByAddress", session.signer)
        wish = self.arguments
        wanted_so = (wish["countryCode"], wish["partyId"], wish["roles"], wish["operator"].lower())
        return (country, party, list(roles), operator.lower()) == wanted_so


def register(app: typer.Typer) -> None:
    """Adds the command."""
    options.command(app, "apply", apply)


def apply(
    where: Where,
    waiting: Waiting,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON: nodes and parties, with key files; - reads stdin.")
    ],
    spender_file: Annotated[
        Path | None, typer.Option("--spender-file", "-x", help=f"Key of who pays; else {SPENDER_VARIABLE}.")
    ] = None,
    json: Json = False,
) -> None:
    """Lists all nodes and parties of a file by typed data; leaves alone what is listed so already.

    Members of each of `nodes`: url, key_file; of each of `parties`: party, roles, operator, key_file.
    """
    try:
        plan = msgspec.json.decode(options.read_input(source), type=_Plan)
    except msgspec.DecodeError as error:
        raise ConfigError(f"is not what can be applied: {error}", source=source) from None
    changes = list(_changes(plan))
    target = where.target()
    contract = target.address("registry")
    entries = []
    with connected(target) as chain:
        chain.require_contract(contract, "registry contract")
        for change in changes:
            signing = DirectSigning(
                waiting.confirmations, waiting.wait_s, Path(change.key_file), spender_file, typed=True
            )
            session = Session(target, chain, signing, contract, nodes_own_key=False)
            if not change.is_done(session):
                session.change(change.function, **change.arguments)
            entries.append({"name": change.name} | session.outcome())
    if json:
        print_json({"entries": entries})
        return
    rows = [(entry["name"], entry["signer"], *_sent(entry["transactions"])) for entry in entries]
    print_table(("entry", "signer", "transaction", "block"), rows)


def _changes(plan: _Plan) -> Iterator[_Change]:
    """Raises ConfigError for what nobody can list, before anything is sent."""
    for node in plan.nodes:
        yield _Change(node.url, node.key_file, "setNode", {"domain": domain(node.url, keep_path=True)})
    for one in plan.parties:
        country, party = credentials(*one.party.partition("/")[::2])
        yield _Change(
            one.party, one.key_file, "setParty",
            {
                "countryCode": country,
                "partyId": party,
                "roles": indexes(one.roles, enums.role_index, "roles"),
                "operator": address(one.operator, "operator"),
            },
        )  # fmt: skip


def _sent(transactions: list[dict[str, Any]]) -> tuple[str, str]:
    if not transactions:
        return "listed already", ""
    return transactions[-1]["transaction"], transactions[-1]["block"]
