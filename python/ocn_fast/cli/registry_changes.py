"""`ocn-fast registry set-node …`: the commands that change a registry on chain, each in up to three ways.

`X` is a direct transaction: who signs it is who is meant, and pays. `X-raw` and `X --typed` separate the two:
the signer signs what is to be done, the spender sends it and pays. A raw signature can be sent again by
anybody, which each such command says; a typed one only once, but needs a contract that reads it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from ocn_fast import keyfiles
from ocn_fast.cli import options
from ocn_fast.cli.output import Json, print_fields, print_json, print_note
from ocn_fast.cli.registry_options import (
    SIGNER_VARIABLE,
    SPENDER_VARIABLE,
    Target,
    Where,
    WhereWithCredentials,
    WhereWithPermissions,
    address,
    connect,
    credentials,
    domain,
    indexes,
    read_key,
)
from ocn_fast.errors import ConfigError, RpcError, TransactionError
from ocn_fast.registry import enums

if TYPE_CHECKING:
    from ocn_fast.registry.transactions import Call, Chain, Progress, Receipt

Way = Literal["direct", "raw", "typed"]

_REPLAY = (
    "A raw signature names no chain, no time and no contract: whoever sees it can send it again, anywhere "
    "and later on, also after what it does was undone. Direct transactions and --typed cannot be repeated."
)


@dataclass(frozen=True)
class Waiting:
    """Options that say until when one waits."""

    confirmations: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Blocks to wait for on top; default: the network's."),
    ] = None
    wait_s: Annotated[float, typer.Option("--wait", min=1, metavar="SECONDS", help="Longest wait.")] = 300.0

    def send(self, target: Target, chain: Chain, call: Call, key: bytes) -> Receipt:
        """Sends a call, waits until it counts, and shows on a terminal how far it is."""
        with _progress() as progress:
            return chain.send(
                call,
                key,
                confirmations=target.confirmations if self.confirmations is None else self.confirmations,
                wait_s=self.wait_s,
                progress=progress,
            )


@dataclass(frozen=True)
class Signing(Waiting, ABC):
    """As `Waiting`, and who signs and who pays."""

    signer_file: Annotated[
        Path | None,
        typer.Option(
            "--signer-file",
            "--key-file",
            "-s",
            help=f"Key of whom it concerns; else {SIGNER_VARIABLE}; for a node, else that of the settings.",
        ),
    ] = None
    spender_file: Annotated[
        Path | None,
        typer.Option(
            "--spender-file",
            "-x",
            help=f"Key of who pays, where that is not the signer; else {SPENDER_VARIABLE}.",
        ),
    ] = None

    @property
    @abstractmethod
    def way(self) -> Way:
        """How functions are called."""

    @property
    def replay_accepted(self) -> bool:
        """Whether signatures may be made that also allow what was not meant."""
        return False


@dataclass(frozen=True)
class DirectSigning(Signing):
    """As `Signing`: the signer sends, or signs typed data."""

    typed: Annotated[
        bool, typer.Option("--typed", help="Sign typed data (EIP-712); the spender sends it and pays.")
    ] = False

    @property
    def way(self) -> Way:
        """Direct, unless typed data are asked for."""
        return "typed" if self.typed else "direct"


@dataclass(frozen=True)
class RawSigning(Signing):
    """As `Signing`: the signer signs, the spender sends."""

    accept_replay: Annotated[
        bool,
        typer.Option("--accept-replay", help="Sign though the signature can also be used to delete entries."),
    ] = False

    @property
    def way(self) -> Way:
        """Raw."""
        return "raw"

    @property
    def replay_accepted(self) -> bool:
        """As the option says."""
        return self.accept_replay


class Session:
    """One command: a chain, whose entry is changed, who pays, and what was sent so far."""

    def __init__(
        self, target: Target, chain: Chain, signing: Signing, contract: str, *, nodes_own_key: bool
    ) -> None:
        self.chain = chain
        self.contract = contract
        self.development = target.development
        self._target = target
        self._signing = signing
        self._way = signing.way
        self._sent: list[tuple[str, Receipt]] = []
        settings = target.settings
        self._signer_key = read_key(
            "--signer-file",
            signing.signer_file,
            SIGNER_VARIABLE,
            default=settings.node.key_file if settings is not None and nodes_own_key else None,
            development=target.development,
        )
        self._spender_key = self._signer_key
        if self._way != "direct":
            self._spender_key = read_key(
                "--spender-file", signing.spender_file, SPENDER_VARIABLE, development=target.development
            )
        self.signer = keyfiles.address_of(self._signer_key)
        self.spender = keyfiles.address_of(self._spender_key)
        self._warned = False

    def require_accepted(self, why: str) -> None:
        """Raises ConfigError where a raw signature would allow too much and nobody has accepted that."""
        if self._way == "raw" and not self._signing.replay_accepted:
            raise ConfigError(
                f"{why}: anybody can use the same raw signature to delete the entries of {self.signer}; "
                "use a direct transaction or --typed, or say --accept-replay"
            )

    def prepare(self, function: str, **arguments: Any) -> Call:
        """The call in the way that was asked for, tried out. Raises TransactionError if it is refused."""
        from ocn_fast.registry import transactions

        if self._way == "direct":
            call = transactions.direct(self.contract, function, **arguments)
        elif self._way == "raw":
            if not self._warned:
                print_note(_REPLAY)
                self._warned = True
            call = transactions.raw(self.contract, function, self._signer_key, self.signer, **arguments)
        else:
            call = transactions.typed(
                self.chain, self.contract, function, self._signer_key, self.signer, **arguments
            )
        self.chain.try_out(call, self.spender)
        return call

    def send(self, call: Call) -> None:
        """Sends a call and waits until it counts."""
        receipt = self._signing.send(self._target, self.chain, call, self._spender_key)
        self._sent.append((call.function, receipt))

    def change(self, function: str, **arguments: Any) -> None:
        """`prepare` and `send`."""
        self.send(self.prepare(function, **arguments))

    def outcome(self) -> dict[str, Any]:
        """Who signed and paid, where, and what was sent."""
        sent = [
            {
                "function": function,
                "transaction": receipt.transaction,
                "block": receipt.block,
                "block_hash": receipt.block_hash,
                "gas_used": receipt.gas_used,
            }
            for function, receipt in self._sent
        ]
        return {
            "signer": self.signer,
            "sender": self.spender,
            "chain_id": self.chain.chain_id,
            "contract": self.contract,
            "transactions": sent,
        }

    def report(self, *, json: bool, **said: Any) -> None:
        """Prints what was sent, after what the command itself has to say."""
        outcome = {**said, **self.outcome()}
        if json:
            print_json(outcome)
            return
        sent = outcome.pop("transactions")
        print_fields(outcome)
        for item in sent:
            print_fields({str(item["function"]): f"{item['transaction']} in block {item['block']}"})


@contextmanager
def opened(
    where: Where,
    signing: Signing,
    contract: Literal["registry", "permissions"],
    *,
    nodes_own_key: bool = False,
) -> Iterator[Session]:
    """A session with the chain that is meant. No key is read before chain and contract are known."""
    target = where.target()
    at = target.address(contract)
    with connected(target) as chain:
        chain.require_contract(at, f"{contract} contract")
        yield Session(target, chain, signing, at, nodes_own_key=nodes_own_key)


def connected(target: Target) -> Chain:
    """The chain that is meant. Raises ConfigError, RpcError, and TransactionError if it is another one."""
    if target.chain_id is None:
        raise ConfigError("nobody said which chain it must be: say --chain-id or --network")
    return connect(target)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Shows on a terminal how far a transaction is; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with console.status("trying out") as status:

        def show(progress: Progress) -> None:
            on_top = f", {progress.confirmations} of {progress.wanted} blocks on top"
            where = "" if progress.block is None else f" in block {progress.block}{on_top}"
            status.update(f"{progress.step}: {progress.transaction}{where}")

        yield show


def register(app: typer.Typer) -> None:
    """Adds all commands that change something."""
    options.command(app, "deploy", deploy)
    for name, function in _COMMANDS.items():
        options.command(app, name, function, signing=DirectSigning)
        options.command(app, f"{name}-raw", function, note="By a raw signature.", signing=RawSigning)


# -- Contracts


def deploy(
    where: Where,
    waiting: Waiting,
    signer_file: Annotated[
        Path | None,
        typer.Option("--signer-file", "--key-file", "-s", help=f"Key of who pays; else {SIGNER_VARIABLE}."),
    ] = None,
    json: Json = False,
) -> None:
    """Makes a new registry of one's own: both contracts."""
    from ocn_fast.registry import contracts, transactions

    target = where.target()
    with connected(target) as chain:
        key = read_key("--signer-file", signer_file, SIGNER_VARIABLE, development=target.development)
        call = transactions.deployment("registry", contracts.registry().bytecode)
        registry = waiting.send(target, chain, call, key)
        call = transactions.deployment(
            "permissions", contracts.permissions().bytecode, str(registry.contract)
        )
        permissions = waiting.send(target, chain, call, key)
        fields = {
            "chain_id": chain.chain_id,
            "contract": registry.contract,
            "permissions": permissions.contract,
            "block": registry.block,
            "sender": registry.sender,
        }
    print_json(fields) if json else print_fields(fields)


# -- Nodes

_Domain = Annotated[
    str | None, typer.Argument(metavar="[DOMAIN]", help="URL of the node; default: node.url of the settings.")
]
_KeepPath = Annotated[bool, typer.Option("--keep-path", help="Keep the path of the URL.")]
_Replace = Annotated[
    bool, typer.Option("--replace", help="If a node is listed: delete it, then list this one.")
]


def set_node(
    where: Where,
    signing: Signing,
    domain_: _Domain = None,
    keep_path: _KeepPath = False,
    replace: _Replace = False,
    json: Json = False,
) -> None:
    """Lists a node under the signer's address, or moves it to another URL with --replace."""
    url = _url(where, domain_, keep_path=keep_path)
    with opened(where, signing, "registry", nodes_own_key=True) as session:
        if url.startswith("http:") and not session.development:
            print_note("other nodes call this URL without TLS, or not at all")
        (listed,) = session.chain.view(session.contract, "getNode", session.signer)
        if listed == url.encode():
            print_note("this node is listed with this URL already: nothing was sent")
        elif listed and not replace:
            raise ConfigError(
                f"{session.signer} lists {listed.decode(errors='replace')} already; with --replace it is "
                "deleted first, and in between nobody reaches the node"
            )
        elif listed:
            _replace_node(session, url)
        else:
            session.change("setNode", domain=url)
        session.report(json=json, domain=url)


def _url(where: Where, given: str | None, *, keep_path: bool) -> str:
    if given is None:
        settings = where.target().settings
        if settings is None:
            raise ConfigError("say which URL, or with --config which settings file has it", source="DOMAIN")
        return settings.node.url
    url = domain(given, keep_path=keep_path)
    if url != given.rstrip("/"):
        print_note(f"the URL is listed as {url}")
    return url


def _replace_node(session: Session, url: str) -> None:
    # What keeps the new entry out is found while the old one still stands.
    session.prepare("setNode", domain=url)
    session.change("deleteNode")
    try:
        session.change("setNode", domain=url)
    except (TransactionError, RpcError) as error:
        raise TransactionError(
            f"the old entry is deleted and the new one is missing, so the node is unlisted now: {error}",
            sent=error.sent if isinstance(error, TransactionError) else "no",
            transaction=error.transaction if isinstance(error, TransactionError) else None,
        ) from None


def delete_node(where: Where, signing: Signing, json: Json = False) -> None:
    """Removes the signer's node. Parties that use it keep their entries and cannot be reached."""
    with opened(where, signing, "registry", nodes_own_key=True) as session:
        session.change("deleteNode")
        session.report(json=json)


# -- Parties

_Credentials = Annotated[
    tuple[str, str], typer.Option("--credentials", "-c", metavar="CC PID", help="Country code and party id.")
]
_Roles = Annotated[list[str], typer.Option("--roles", "-r", metavar="ROLE...", help=", ".join(enums.ROLES))]
_Operator = Annotated[
    str, typer.Option("--operator", "-o", metavar="ADDRESS", help="Operator of the node that the party uses.")
]


def set_party(
    where: WhereWithCredentials,
    signing: Signing,
    credentials_: _Credentials,
    roles: _Roles,
    operator: _Operator,
    json: Json = False,
) -> None:
    """Lists the signer as a party, or changes its entry. A change clears the list of its modules."""
    country, party = credentials(*credentials_)
    numbers = indexes(roles, enums.role_index, "--roles")
    node = address(operator, "--operator")
    with opened(where, signing, "registry") as session:
        entry = session.chain.view(session.contract, "getPartyDetailsByAddress", session.signer)
        session.change("setParty", countryCode=country, partyId=party, roles=numbers, operator=node)
        if entry[2] or entry[3]:
            print_note("the party's modules were cleared by this: list them again with set-party-modules")
        session.report(json=json, party=f"{country.decode()}/{party.decode()}", operator=node)


_SenderModules = Annotated[
    list[str] | None,
    typer.Option("--sender-interface", "--si", metavar="MODULE...", help=", ".join(enums.MODULES)),
]
_ReceiverModules = Annotated[
    list[str] | None,
    typer.Option("--receiver-interface", "--ri", metavar="MODULE...", help="As --sender-interface."),
]


def set_party_modules(
    where: Where,
    signing: Signing,
    sender: _SenderModules = None,
    receiver: _ReceiverModules = None,
    json: Json = False,
) -> None:
    """Lists which modules the signer's party has as sender and as receiver; without options, none."""
    sends = indexes(sender or [], enums.module_index, "--sender-interface")
    receives = indexes(receiver or [], enums.module_index, "--receiver-interface")
    with opened(where, signing, "registry") as session:
        if not sends and not receives:
            session.require_accepted("modules are to be cleared")
        session.change("setPartyModules", sender=sends, receiver=receives)
        session.report(json=json)


def delete_party(where: Where, signing: Signing, json: Json = False) -> None:
    """Removes the signer's party."""
    with opened(where, signing, "registry") as session:
        session.change("deleteParty")
        session.report(json=json)


# -- Services and agreements

_Name = Annotated[str, typer.Option("--name", help="Name of the service.")]
_ServiceUrl = Annotated[str, typer.Option("--url", "-u", help="Where users read about it.")]
_Permissions = Annotated[
    list[str],
    typer.Option("--permissions", "-p", metavar="NAME...", help=f"Such as {enums.PERMISSIONS[0]}."),
]
_Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="Address of the service's provider.")]


def set_service(
    where: WhereWithPermissions,
    signing: Signing,
    permissions: _Permissions,
    name: _Name = "",
    url: _ServiceUrl = "",
    json: Json = False,
) -> None:
    """Lists a service of the signer's party, or changes it, for those who agreed to it too."""
    needs = indexes(permissions, enums.permission_index, "--permissions")
    with opened(where, signing, "permissions") as session:
        session.change("setService", name=name, url=url, permissions=needs)
        session.report(json=json)


def delete_service(where: Where, signing: Signing, json: Json = False) -> None:
    """Removes the signer's service."""
    with opened(where, signing, "permissions") as session:
        session.change("deleteService")
        session.report(json=json)


def set_agreement(where: Where, signing: Signing, provider: _Provider, json: Json = False) -> None:
    """Agrees to the service of a provider: it gets copies of the signer's messages."""
    _agree("createAgreement", where, signing, provider, json=json)


def revoke_agreement(where: Where, signing: Signing, provider: _Provider, json: Json = False) -> None:
    """Takes back the agreement to the service of a provider."""
    _agree("revokeAgreement", where, signing, provider, json=json)


def _agree(function: str, where: Where, signing: Signing, provider: str, *, json: bool) -> None:
    other = address(provider, "PROVIDER")
    with opened(where, signing, "permissions") as session:
        session.require_accepted("an agreement is to be changed")
        session.change(function, provider=other)
        session.report(json=json, provider=other)


_COMMANDS: dict[str, Callable[..., None]] = {
    "set-node": set_node,
    "delete-node": delete_node,
    "set-party": set_party,
    "set-party-modules": set_party_modules,
    "set-modules": set_party_modules,
    "delete-party": delete_party,
    "set-service": set_service,
    "delete-service": delete_service,
    "set-agreement": set_agreement,
    "revoke-agreement": revoke_agreement,
}
