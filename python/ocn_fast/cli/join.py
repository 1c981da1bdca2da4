"""`ocn-fast join operator|party`: from nothing to connected, in steps that can be taken up again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ocn_fast import keyfiles
from ocn_fast.cli import admin, options
from ocn_fast.cli.init import toml_lines, write_node
from ocn_fast.cli.join_steps import TO_BE_CONTINUED, JoinError, Notes, Step, Waiting, Way, ask, wait_until
from ocn_fast.cli.join_world import Ledger, NodeApi, OnChain, opened
from ocn_fast.cli.output import print_note
from ocn_fast.cli.platform import party_id
from ocn_fast.cli.registry_options import indexes
from ocn_fast.registry import enums

app = typer.Typer(no_args_is_help=True, help="Join a network: as the operator of a node, or as a party.")

KINDS = {"CPO": "cpo", "EMSP": "msp"}
"""Which of our parties can play a role."""
_FOLDER_HELP = "Where keys, settings and the state of joining are; made if it is not there."
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON at the end, and everything else as notes.")]


@contextmanager
def _to_be_continued(way: Way, **facts: Any) -> Iterator[None]:
    """Ends with a status of its own where somebody else must do something first."""
    try:
        yield
    except Waiting as waiting:
        way.said.append({"step": "wait", "state": "waiting", "detail": str(waiting)})
        way.finish(**facts, state="waiting")
        print_note(f"waiting: {waiting}")
        print_note("Run the same command again to go on.")
        raise typer.Exit(TO_BE_CONTINUED) from None


# -- Operators


def operator(
    where: OnChain,
    folder: Annotated[Path, typer.Argument(help=_FOLDER_HELP)] = Path("node"),
    url: Annotated[str | None, typer.Option(help="Public URL of the node.")] = None,
    country_code: Annotated[str | None, typer.Option(help="Country code of the hub, such as DE.")] = None,
    party: Annotated[str | None, typer.Option("--party-id", help="Party id of the hub, such as HUB.")] = None,
    signatures: Annotated[
        bool, typer.Option("--signatures/--no-signatures", help="Whether messages must be signed.")
    ] = True,
    dev: Annotated[
        bool, typer.Option("--dev", help="A development node: http and loopback allowed.")
    ] = False,
    start: Annotated[bool, typer.Option("--start", help="At the end, become the running node.")] = False,
    yes: _Yes = False,
    json: _Json = False,
) -> None:
    """Makes a node and lists it in the registry."""
    notes, way = Notes(folder, "operator"), Way(yes, json)
    where = where.noted(notes)
    settings_file = folder / options.DEFAULT_CONFIG
    if settings_file.exists():
        url = options.settings(settings_file).node.url
    else:
        url = str(ask(url, notes.given("url"), "--url", "Public URL of this node")).rstrip("/")
        country_code = str(ask(country_code, notes.given("country_code"), "--country-code", "Country code"))
        party = str(ask(party, notes.given("party_id"), "--party-id", "Party id of the hub itself"))
    notes.give(url=url, country_code=country_code, party_id=party)
    with _to_be_continued(way, url=url), opened(where, notes) as ledger:
        own = _Operator(folder, url, where, ledger)
        made = way.go(
            [
                Step(
                    "node",
                    "Make the node's settings and keys",
                    own.files,
                    lambda: [f"writes settings, signing key, key ring and admin key into {folder}"],
                    lambda: own.make(str(country_code), str(party), signatures=signatures, dev=dev),
                ),
                Step(
                    "list", "List the node in the registry", own.listed, own.plan, own.list_node, costs=True
                ),
                Step("run", "Run it", own.running, lambda: own.how_to_start(start)),
            ]
        )
        facts = {"kind": "operator", "url": url, "address": own.address, "settings": str(settings_file)}
        way.finish(**facts, state="connected" if made else "listed")
    if start and not made:
        _become("serve", "-c", str(settings_file))


class _Operator:
    """The steps of an operator."""

    def __init__(self, folder: Path, url: str, where: OnChain, ledger: Ledger) -> None:
        self._folder = folder
        self._settings = folder / options.DEFAULT_CONFIG
        self._url = url
        self._registry = where.node_settings()
        self._ledger = ledger

    @property
    def address(self) -> str:
        """The operator's address."""
        return keyfiles.address(options.settings(self._settings).node.key_file)

    def files(self) -> str | None:
        if not self._settings.exists():
            return None
        registry = options.settings(self._settings).registry
        same_contract = (registry.contract or "").lower() == self._ledger.contract.lower()
        if not same_contract and registry.network != self._ledger.target.name:
            raise JoinError(
                f"{self._settings} names another registry; in its table [registry] it needs "
                + ", ".join(toml_lines(self._registry))
            )
        return f"{self._settings}, operator {self.address}"

    def make(self, country_code: str, party: str, *, signatures: bool, dev: bool) -> None:
        write_node(
            self._folder,
            url=self._url,
            country_code=country_code.upper(),
            party_id=party.upper(),
            signatures=signatures,
            dev=dev,
            registry=self._registry,
        )

    def listed(self) -> str | None:
        self._ledger.settle("list")
        domain = self._ledger.node(self.address)
        return f"{self.address} at {domain}" if domain.rstrip("/") == self._url else None

    def plan(self) -> list[str]:
        payer = self._ledger.payer(self.address)
        target = self._ledger.target
        lines = [
            f"sends a transaction on chain {target.chain_id} ({target.name}): from then on everybody",
            f"sees that {self.address} runs the node {self._url}.",
            f"{payer} pays a fee for it.",
        ]
        listed = self._ledger.node(self.address)
        if listed:
            lines.append(f"The node moves here from {listed}; in between nobody reaches it.")
        return lines

    def list_node(self) -> None:
        key = keyfiles.read_node_key(options.settings(self._settings).node.key_file, dev=True)
        if self._ledger.node(self.address):
            self._ledger.change("list", key, "deleteNode")
        self._ledger.change("list", key, "setNode", domain=self._url)

    def running(self) -> str | None:
        info = NodeApi(self._url).info()
        if info is None:
            return None
        if info[1].lower() != self.address.lower():
            raise JoinError(f"another operator's node ({info[1]}) answers at {self._url}")
        return f"it answers at {self._url}"

    def how_to_start(self, start: bool) -> list[str]:
        if start:
            return ["it starts now"]
        return [
            "keep a copy of node.key and keyring.json in a safe place: nobody can make them again",
            f"ocn-fast doctor -c {self._settings}",
            f"ocn-fast serve -c {self._settings}",
            f"ocn-fast platform token DE/CPO -c {self._settings}   (a registration token for a party)",
        ]


# -- Parties


def party(
    where: OnChain,
    name: Annotated[str, typer.Argument(metavar="PARTY", help="Country code and party id, such as DE/CPO.")],
    folder: Annotated[Path | None, typer.Argument(help=_FOLDER_HELP + " Default: the party's name.")] = None,
    node: Annotated[str | None, typer.Option(help="URL of the node to join.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE...", help=", ".join(enums.ROLES))
    ] = None,
    admin_key_file: Annotated[
        Path | None, typer.Option(help="The node's admin key, where you run the node yourself.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Registration token that the node's operator gave you; mode 0600.")
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="At the end, become a party that makes the handshake.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="With --start: 0 takes a free one.")] = 0,
    ready_file: Annotated[
        Path | None, typer.Option(help="With --start: written once the party is registered.")
    ] = None,
    yes: _Yes = False,
    json: _Json = False,
) -> None:
    """Lists a party under a node's operator, and connects it to that node."""
    named = party_id(name)
    folder = Path(named["party_id"].lower()) if folder is None else folder
    notes, way = Notes(folder, "party"), Way(yes, json)
    where = where.noted(notes)
    node = str(ask(node, notes.given("node"), "--node", "URL of the node to join")).rstrip("/")
    node = node.removesuffix("/ocpi/versions")
    roles = role or notes.given("roles")
    if roles is None:
        roles = str(ask(None, None, "--role", "Roles, such as CPO")).split()
    indexes(roles, enums.role_index, "--role")
    given_token = token_file if token_file is not None else notes.given("token_file")
    notes.give(
        node=node,
        roles=roles,
        token_file=None if given_token is None else str(Path(given_token).absolute()),
        admin_key_file=None if admin_key_file is None else str(admin_key_file.absolute()),
    )
    with _to_be_continued(way, node=node), opened(where, notes) as ledger:
        own = _Party(folder, named, roles, node, ledger, notes)
        connected = way.go(
            [
                Step("key", "Make the party's signing key", own.key, own.plan_key, own.make_key),
                Step("node", "Find the node", own.find_node, list),
                Step(
                    "list", "List the party in the registry", own.listed, own.plan, own.list_party, costs=True
                ),
                Step("known", "Wait until the node knows it", own.known, own.plan_known, own.wait_known),
                Step("token", "Get a registration token", own.token, own.plan_token, own.get_token),
                Step("connect", "Make the handshake", own.connected, lambda: own.how_to_connect(start)),
            ]
        )
        way.finish(
            kind="party",
            party=own.name,
            address=own.address,
            operator=own.operator,
            versions=f"{node}/ocpi/versions",
            token_file=str(own.token_file),
            key_file=str(own.key_file),
            state="connected" if connected else "ready",
        )
    if start and (not connected or own.state_file.exists()):
        _become(*own.command(port, ready_file))


class _Party:
    """The steps of a party."""

    def __init__(
        self, folder: Path, named: dict[str, str], roles: list[str], node: str, ledger: Ledger, notes: Notes
    ) -> None:
        self._country, self._party = named["country_code"], named["party_id"]
        self.name = f"{self._country}/{self._party}"
        self._folder = folder
        self._roles = [role.upper() for role in roles]
        self._api = NodeApi(node)
        self._ledger = ledger
        self._notes = notes
        self.key_file = folder / "party.key"
        self.state_file = folder / "party.json"
        self.operator = ""
        given = notes.given("token_file")
        self.token_file = folder / "token.txt" if given is None else Path(given)

    @property
    def address(self) -> str:
        """The party's address."""
        return keyfiles.address(self.key_file)

    # Key

    def key(self) -> str | None:
        return f"{self.key_file}, address {self.address}" if self.key_file.exists() else None

    def plan_key(self) -> list[str]:
        return [f"writes a new key into {self.key_file}: it signs the party's messages and its entry"]

    def make_key(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keyfiles.create_node_key(self.key_file)

    # Node

    def find_node(self) -> str:
        info = self._api.info()
        if info is None:
            raise Waiting(f"no node answers at {self._api.url}: is it running, and is that its URL?")
        self.operator = info[1]
        domain = self._ledger.node(self.operator)
        if not domain:
            raise JoinError(f"the operator of {self._api.url}, {self.operator}, is not in the registry")
        return f"{domain}, operator {self.operator}"

    # Registry

    def listed(self) -> str | None:
        self._ledger.settle("list")
        owner = self._ledger.owner(self._country, self._party)
        if owner is not None and owner.lower() != self.address.lower():
            raise JoinError(f"{self.name} is listed by somebody else already, {owner}")
        entry = self._ledger.party(self.address)
        if entry is None:
            return None
        name, roles, operator = entry
        same = name == self.name and set(roles) == set(self._roles)
        return f"{name} ({' '.join(roles)})" if same and operator.lower() == self.operator.lower() else None

    def plan(self) -> list[str]:
        target, entry = self._ledger.target, self._ledger.party(self.address)
        lines = [
            f"sends a transaction on chain {target.chain_id} ({target.name}): from then on everybody",
            f"sees that {self.address} is {self.name} ({' '.join(self._roles)})",
            f"and uses the node of {self.operator}.",
            f"{self._ledger.payer(self.address)} pays a fee for it.",
        ]
        if entry is not None:
            lines.append(f"This replaces its present entry: {entry[0]} ({' '.join(entry[1])}) at {entry[2]}.")
        return lines

    def list_party(self) -> None:
        self._ledger.change(
            "list",
            keyfiles.read_node_key(self.key_file, dev=True),
            "setParty",
            countryCode=self._country.encode(),
            partyId=self._party.encode(),
            roles=indexes(self._roles, enums.role_index, "--role"),
            operator=self.operator,
        )

    # What the node knows

    def known(self) -> str | None:
        found = self._api.operator_of(self._country, self._party)
        return "it does" if found is not None and found.lower() == self.operator.lower() else None

    def plan_known(self) -> list[str]:
        return ["the node follows the chain; a change counts there after some blocks"]

    def wait_known(self) -> None:
        wait_until(
            lambda: self.known() is not None,
            self._ledger.wait_s,
            shown="the node does not know the party yet",
            otherwise=f"the node at {self._api.url} does not know {self.name} yet",
        )

    # Registration token

    def token(self) -> str | None:
        if self.connected() is not None:
            return "not needed"
        if not self.token_file.exists():
            return None
        if self._api.accepts(self._read_token()):
            self._notes.give(token_worked=True)
            return f"{self.token_file} is good"
        raise JoinError(
            f"the node does not take the token in {self.token_file}: it has expired, or is another's; "
            "ask the operator for a new one, and put it there"
        )

    def plan_token(self) -> list[str]:
        if self._notes.given("admin_key_file") is not None:
            return [f"has the node make one, and writes it into {self.token_file}"]
        return [
            f"the node's operator makes it with `ocn-fast platform token {self.name}` and sends it to you"
        ]

    def get_token(self) -> None:
        key_file = self._notes.given("admin_key_file")
        if key_file is not None:
            parties = [{"country_code": self._country, "party_id": self._party}]
            made = self._admin().call("POST", "/admin/registration-tokens", {"parties": parties})
            token = str(made["token"])
        elif sys.stdin.isatty():
            token = typer.prompt("      Registration token", hide_input=True, err=True).strip()
        else:
            raise Waiting(
                f"ask the operator of {self._api.url} for a registration token for {self.name} "
                f"(`ocn-fast platform token {self.name}`), and put it into {self.token_file}, mode 0600"
            )
        keyfiles.create(self.token_file, token + "\n")

    # Handshake

    def connected(self) -> str | None:
        from ocn_fast.parties.state import StateFile

        if self._notes.given("admin_key_file") is not None:
            for platform in self._admin().call("GET", "/admin/platforms"):
                if {"country_code": self._country, "party_id": self._party} in [
                    {name: entry.get(name) for name in ("country_code", "party_id")}
                    for entry in platform.get("parties", [])
                ]:
                    return f"{self.name} is {platform.get('status')}"
            return None
        token_c = StateFile(self.state_file).state.token_c
        if token_c is not None and self._api.accepts(token_c):
            return f"our party is registered ({self.state_file})"
        worked = self._notes.given("token_worked") and self.token_file.exists()
        if worked and not self._api.accepts(self._read_token()):
            return "the registration token is spent: your software has used it, or it has expired"
        return None

    def how_to_connect(self, start: bool) -> list[str]:
        if start:
            return [f"our own party makes it now, and keeps its tokens in {self.state_file}"]
        return [
            f"versions URL of the node: {self._api.url}/ocpi/versions",
            f"registration token (token A): in {self.token_file}",
            f"signing key of the party: in {self.key_file}",
            "With software of your own: give it these three. It reads the versions, takes 2.2.1, and POSTs",
            "its credentials (token, versions URL, role) to the node's credentials endpoint, with",
            "`Authorization: Token <Base64 of the registration token>`; the answer holds its token C.",
            "With ours: run this command again with --start.",
        ]

    def command(self, port: int, ready_file: Path | None) -> list[str]:
        """The command that runs our own party in this one's place."""
        kind = next((KINDS[role] for role in self._roles if role in KINDS), None)
        if kind is None:
            raise JoinError(f"there is no party of ours for {' '.join(self._roles)}: it plays CPO and EMSP")
        words = ["party", kind, "--id", self.name, "--node", f"{self._api.url}/ocpi/versions"]
        words += ["--token-file", str(self.token_file), "--key-file", str(self.key_file)]
        words += ["--state-file", str(self.state_file)]
        if port:
            words += ["--port", str(port)]
        if ready_file is not None:
            words += ["--ready-file", str(ready_file)]
        return words

    def _admin(self) -> admin.Admin:
        return admin.Admin(None, self._api.url, Path(self._notes.given("admin_key_file")))

    def _read_token(self) -> str:
        return keyfiles.read(self.token_file).strip()


def _become(*words: str) -> NoReturn:
    """Goes on as another command of ours, in this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, "-m", "ocn_fast", *words]
    os.execv(sys.executable, arguments)  # noqa: S606


options.command(app, "operator", operator)
options.command(app, "party", party)
