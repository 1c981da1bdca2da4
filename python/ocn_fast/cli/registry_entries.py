"""`ocn-fast registry get-node …`: the commands that read a registry on chain.

Those that older tools have too (`get-…`, `list-…`) print what those print, in the same form: one JSON
document, or one line where there is nothing to show. `list` and `show` are for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocn_fast.cli import options
from ocn_fast.cli.options import flat
from ocn_fast.cli.output import Json, print_fields, print_json, print_line, print_table
from ocn_fast.cli.registry_options import (
    Target,
    Where,
    WhereWithCredentials,
    address,
    connect,
    credentials,
)
from ocn_fast.errors import ConfigError
from ocn_fast.registry import enums, views
from ocn_fast.registry.snapshot import ZERO_ADDRESS, Snapshot
from ocn_fast.registry.views import RawParty, RawService

if TYPE_CHECKING:
    from ocn_fast.registry.reader import Reader, Reading
    from ocn_fast.registry.transactions import Chain

Entry = dict[str, Any]
"""An entry of a registry as it is printed: a party, a node or a service."""

Address = Annotated[str, typer.Argument(metavar="ADDRESS")]
Credentials = Annotated[
    tuple[str, str] | None,
    typer.Option("--credentials", "-c", metavar="CC PID", help="By country code and party id."),
]
OfAddress = Annotated[
    str | None, typer.Option("--address", "-a", metavar="ADDRESS", help="By the party's own address.")
]


# -- Reading


@dataclass(frozen=True)
class Look:
    """A chain that is read from, and its contracts."""

    target: Target
    chain: Chain

    def reading(self, *, permissions: bool = False, confirmed: bool = False) -> Reading:
        """The whole registry at the newest block, or the newest that counts; with services if asked."""
        from ocn_fast.registry.reader import read_registry

        registry = self.target.address("registry")
        services = self.target.address("permissions") if permissions else None
        block = max(self.chain.head() - self.target.confirmations, 0) if confirmed else "latest"
        return self.chain.run(lambda endpoint: read_registry(endpoint, registry, services, block))

    def snapshot(self) -> tuple[Snapshot, tuple[str, ...]]:
        """The registry as a node may believe it, and what was left out."""
        from ocn_fast.registry.reader import to_snapshot

        target = self.target
        reading = self.reading(permissions=target.permissions is not None, confirmed=True)
        held, warnings = to_snapshot(reading, target.name, self.chain.chain_id, target.address("registry"))
        return held, tuple(map(str, warnings))

    def party(self, who: str) -> RawParty | None:
        """The party at an address; None if it is not listed."""
        found: RawParty | None = self._one(lambda reader: reader.parties([who]))
        return None if found is None or found.operator == ZERO_ADDRESS else found

    def party_by_id(self, country: bytes, party: bytes) -> RawParty | None:
        """The party that has this id; one that had it and has another by now is not meant."""
        contract = self.target.address("registry")
        who = views.checksum(self.chain.view(contract, "getPartyDetailsByOcpi", country, party)[0][2:])
        found = None if who == ZERO_ADDRESS else self.party(who)
        return (
            found if found is not None and (found.country_code, found.party_id) == (country, party) else None
        )

    def domain(self, operator: str) -> str:
        """The domain of an operator; empty if it lists no node."""
        return text(self._one(lambda reader: reader.domains([operator])) or b"")

    def service(self, provider: str) -> RawService | None:
        """The service of a provider; None if it lists none."""
        contract = self.target.address("permissions")
        found: RawService | None = self._one(lambda reader: reader.services([provider]), contract)
        return found if found is not None and found.permissions else None

    def _one(self, ask: Callable[[Reader], Any], permissions: str | None = None) -> Any:
        """The one record that a question is about."""
        from ocn_fast.registry.reader import Reader

        async def at_head(endpoint: Any) -> Any:
            reader = await Reader.at(endpoint, self.target.address("registry"), permissions)
            (found,) = (await ask(reader)).values()
            return found

        return self.chain.run(at_head)


@contextmanager
def looking(where: Where) -> Iterator[Look]:
    """Access to the registry that is meant. Raises ConfigError, TransactionError and RpcError."""
    target = where.target()
    with connect(target) as chain:
        yield Look(target, chain)


# -- How entries look


def text(data: bytes) -> str:
    """What somebody wrote on chain as text, whatever it is."""
    return data.rstrip(b"\0").decode("utf-8", "replace")


def node_entry(operator: str, domain: str) -> Entry:
    """A node."""
    return {"operator": operator, "url": domain}


def party_entry(party: RawParty, domain: str) -> Entry:
    """A party, with its node."""
    return {
        "countryCode": text(party.country_code),
        "partyId": text(party.party_id),
        "address": party.address,
        "roles": [enums.role_name(index) for index in party.roles],
        "modules": {
            "sender": [enums.module_name(index) for index in party.modules_sender],
            "receiver": [enums.module_name(index) for index in party.modules_receiver],
        },
        "node": node_entry(party.operator, domain),
    }


def service_entry(service: RawService, party: RawParty | None) -> Entry:
    """A service; `party` is its provider's, None if that is not listed."""
    return {
        "name": text(service.name),
        "url": text(service.url),
        "permissions": [enums.permission_name(index) for index in service.permissions],
        "provider": {
            "address": service.provider,
            "countryCode": "" if party is None else text(party.country_code),
            "partyId": "" if party is None else text(party.party_id),
        },
    }


def node_entries(reading: Reading) -> list[Entry]:
    """All nodes that are listed."""
    return [node_entry(operator, text(domain)) for operator, domain in reading.operators.items() if domain]


def party_entries(reading: Reading) -> list[Entry]:
    """All parties that are listed."""
    return [
        party_entry(party, text(reading.operators.get(party.operator, b""))) for party in _listed(reading)
    ]


def service_entries(reading: Reading, providers: Sequence[str] | None = None) -> list[Entry]:
    """All services that are listed, or those of some providers."""
    parties = {party.address: party for party in _listed(reading)}
    return [
        service_entry(service, parties.get(service.provider))
        for service in reading.services
        if service.permissions and (providers is None or service.provider in providers)
    ]


def _listed(reading: Reading) -> list[RawParty]:
    return [
        party for party in reading.parties if party.operator != ZERO_ADDRESS and party.address != ZERO_ADDRESS
    ]


# -- The commands of older tools


def get_node(where: Where, operator: Address, json: Json = False) -> None:
    """Prints the URL of an operator's node."""
    who = address(operator, "ADDRESS")
    with looking(where) as look:
        domain = look.domain(who)
    if json:
        print_json(node_entry(who, domain) if domain else None)
    else:
        print_line(domain or "This operator lists no node.")


def list_nodes(where: Where, json: Json = False) -> None:
    """Prints all nodes, as JSON."""
    with looking(where) as look:
        print_json(node_entries(look.reading()))


def get_party(
    where: WhereWithCredentials, credentials_: Credentials = None, of: OfAddress = None, json: Json = False
) -> None:
    """Prints a party, as JSON."""
    with looking(where) as look:
        party = _party(look, credentials_, of)
        if party is None:
            print_json(None) if json else print_line("This party is not listed.")
        else:
            print_json(party_entry(party, look.domain(party.operator)))


def list_parties(where: Where, json: Json = False) -> None:
    """Prints all parties, as JSON."""
    with looking(where) as look:
        print_json(party_entries(look.reading()))


def get_service(where: Where, provider: Address, json: Json = False) -> None:
    """Prints the service of a provider, as JSON."""
    who = address(provider, "ADDRESS")
    with looking(where) as look:
        service = look.service(who)
        if service is None:
            print_json(None) if json else print_line("This provider lists no service.")
        else:
            print_json(service_entry(service, look.party(who)))


def list_services(where: Where, json: Json = False) -> None:
    """Prints all services, as JSON."""
    with looking(where) as look:
        print_json(service_entries(look.reading(permissions=True)))


def get_agreements(
    where: WhereWithCredentials, credentials_: Credentials = None, of: OfAddress = None, json: Json = False
) -> None:
    """Prints the services that a party has agreed to, as JSON."""
    with looking(where) as look:
        party = _party(look, credentials_, of)
        reading = look.reading(permissions=True)
    providers = [] if party is None else [one for user, one in reading.agreements if user == party.address]
    print_json(service_entries(reading, providers))


def _party(look: Look, given: tuple[str, str] | None, of: str | None) -> RawParty | None:
    if (given is None) == (of is None):
        raise ConfigError("say either --address ADDRESS or --credentials CC PID")
    if of is not None:
        return look.party(address(of, "--address"))
    assert given is not None
    return look.party_by_id(*credentials(*given))


# -- The commands for people


def overview(where: Where, json: Json = False) -> None:
    """Shows all parties with their nodes, then the nodes without parties."""
    with looking(where) as look:
        reading = look.reading()
    parties, nodes = party_entries(reading), node_entries(reading)
    if json:
        print_json({"block": reading.block, "nodes": nodes, "parties": parties})
        return
    rows = [
        (
            f"{party['countryCode']}/{party['partyId']}",
            " ".join(party["roles"]),
            party["address"],
            party["node"]["operator"],
            party["node"]["url"] or "(lists no node)",
        )
        for party in parties
    ]
    used = {party["node"]["operator"] for party in parties}
    rows += [("", "", "", node["operator"], node["url"]) for node in nodes if node["operator"] not in used]
    print_table(("party", "roles", "address", "operator", "node"), rows, empty="nobody is listed")


def show(
    where: Where,
    who: Annotated[
        str | None, typer.Argument(metavar="[WHO]", help="A party such as DE/CPO, or an address.")
    ] = None,
    json: Json = False,
) -> None:
    """Shows what is known of a party or an address; without one, of the registry itself."""
    with looking(where) as look:
        found = _registry(look) if who is None else _known(look, who)
    if json:
        print_json(found)
    elif found is None:
        print_line(f"{who} is not listed.")
    else:
        print_fields(flat(found))


def _registry(look: Look) -> Entry:
    reading = look.reading()
    return {
        "network": look.target.name,
        "endpoint": look.chain.name,
        "chain_id": look.chain.chain_id,
        "contract": look.target.registry,
        "permissions": look.target.permissions,
        "block": reading.block,
        "block_hash": reading.block_hash,
        "nodes": len(node_entries(reading)),
        "parties": len(party_entries(reading)),
    }


def _known(look: Look, who: str) -> Entry | None:
    if who.startswith("0x"):
        at = address(who, "WHO")
        party = look.party(at)
    else:
        country, _, name = who.partition("/")
        party = look.party_by_id(*credentials(country, name))
        if party is None:
            return None
        at = party.address
    domain = look.domain(at)
    if party is None and not domain:
        return None
    return {
        "address": at,
        "node": node_entry(at, domain) if domain else None,
        "party": None if party is None else party_entry(party, look.domain(party.operator)),
    }


def register(app: typer.Typer) -> None:
    """Adds all commands that read."""
    for name, function in _COMMANDS.items():
        options.command(app, name, function)


_COMMANDS: dict[str, Callable[..., None]] = {
    "list": overview,
    "show": show,
    "get-node": get_node,
    "list-nodes": list_nodes,
    "get-party": get_party,
    "list-parties": list_parties,
    "get-service": get_service,
    "list-services": list_services,
    "get-agreements": get_agreements,
}
