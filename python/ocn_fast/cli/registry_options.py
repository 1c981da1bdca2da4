"""What all commands of a registry on chain share: which chain and contracts, whose keys, and forms of input.

Which network, stronger first: `--rpc`, `--contract`, `--chain-id` and their like; `--network-file`;
`--network`; the settings file; the local network. Whose key, stronger first: the file that an option names;
`SIGNER` or `SPENDER` in the environment; for the entry of a node, the node's own key from the settings file.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from ocn_fast import keyfiles
from ocn_fast.cli import options
from ocn_fast.cli.output import print_note
from ocn_fast.config import Registry, Settings
from ocn_fast.errors import ConfigError, OcnError, RpcError, TransactionError
from ocn_fast.registry import networks, views
from ocn_fast.registry.snapshot import ZERO_ADDRESS

if TYPE_CHECKING:
    from ocn_fast.registry.transactions import Chain

SIGNER_VARIABLE = "SIGNER"
SPENDER_VARIABLE = "SPENDER"

_KEY = re.compile("(0x)?[0-9a-fA-F]{64}")
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


# -- Which chain and contracts


@dataclasses.dataclass(frozen=True)
class Target:
    """Which chain and contracts are meant. What is None is not known.

    `name` is the network's, `urls` its endpoints, which may hold secrets; addresses are EIP-55.
    """

    name: str
    urls: tuple[str, ...]
    chain_id: int | None
    registry: str | None
    permissions: str | None
    confirmations: int
    settings: Settings | None

    @property
    def development(self) -> bool:
        """Whether keys that everybody knows do no harm there."""
        dev = self.settings is not None and self.settings.node.dev
        return dev or self.chain_id in networks.DEVELOPMENT_CHAINS

    def address(self, contract: str) -> str:
        """The address of `registry` or `permissions`. Raises ConfigError if it is not known."""
        found = self.registry if contract == "registry" else self.permissions
        if found is None:
            option = "--contract" if contract == "registry" else "--permissions-contract"
            raise ConfigError(f"the address of the {contract} contract is not known: say {option}")
        return found


@dataclasses.dataclass(frozen=True)
class Where:
    """Options that say which chain and contracts are meant."""

    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            "--net",
            "-n",
            help=f"{', '.join(networks.NETWORKS)}; default: the settings', or local.",
        ),
    ] = None
    network_file: Annotated[
        Path | None,
        typer.Option(
            "--network-file",
            "--net-file",
            "--nf",
            help="JSON with parts of a network, as older tools take it.",
        ),
    ] = None
    rpc: Annotated[
        str | None, typer.Option(metavar="URL", help="Endpoint of the chain, if its URL holds no secret.")
    ] = None
    rpc_file: Annotated[
        Path | None, typer.Option(help="File with the endpoint's URL, mode 0600, if it holds a secret.")
    ] = None
    contract: Annotated[
        str | None, typer.Option("--contract", metavar="ADDRESS", help="The registry contract.")
    ] = None
    permissions_contract: Annotated[
        str | None,
        typer.Option(
            "--permissions-contract", "--permissions", metavar="ADDRESS", help="The permissions contract."
        ),
    ] = None
    chain_id: Annotated[int | None, typer.Option(metavar="N", help="Which chain it must be.")] = None
    config: options.ConfigFile = None

    def target(self) -> Target:
        """What is meant. Raises ConfigError."""
        base = self._base(self._settings())
        if self.network_file is not None:
            base = _with_file(base, self.network_file)
        registry, permissions = base.registry, base.permissions
        if self.contract is not None:
            registry = address(self.contract, "--contract")
            # The permissions of a network belong to its own registry, not to another on the same chain.
            permissions = permissions if registry == base.registry else None
        if self.permissions_contract is not None:
            permissions = address(self.permissions_contract, "--permissions-contract")
        return dataclasses.replace(
            base,
            urls=self._urls() or base.urls,
            chain_id=self.chain_id if self.chain_id is not None else base.chain_id,
            registry=registry,
            permissions=permissions,
        )

    def _settings(self) -> Settings | None:
        path = options.config_file(self.config)
        return None if path is None else options.settings(path)

    def _base(self, settings: Settings | None) -> Target:
        if self.network is None:
            if self.rpc is not None or self.rpc_file is not None:
                # Whoever names an endpoint of his own does not mean the contracts of another network.
                return Target("custom", (), None, None, None, 0, settings)
            if settings is not None and settings.registry.on_chain:
                from ocn_fast.registry import chain

                found = chain.chain_of(settings.registry)
                urls = chain.urls_of(settings.registry)
                return Target(
                    found.network, urls, found.chain_id, found.contract, found.permissions,
                    found.confirmations, settings,
                )  # fmt: skip
        known = networks.network(self.network or "local")
        return Target(
            known.name, known.rpc, known.chain_id, known.registry, known.permissions,
            known.confirmations, settings,
        )  # fmt: skip

    def _urls(self) -> tuple[str, ...]:
        if self.rpc_file is not None:
            from ocn_fast.registry import chain

            return tuple(chain.urls_in(str(self.rpc_file)))
        return () if self.rpc is None else (self.rpc,)


@dataclasses.dataclass(frozen=True)
class WhereWithCredentials(Where):
    """As `Where`, where `-c` stands for `--credentials`, as in older tools."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config", envvar=options.CONFIG_VARIABLE, show_envvar=True, help="Settings file (no -c here)."
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class WhereWithPermissions(Where):
    """As `Where`, where `--permissions` are those of a service."""

    permissions_contract: Annotated[
        str | None,
        typer.Option("--permissions-contract", metavar="ADDRESS", help="The permissions contract."),
    ] = None


class _Provider(msgspec.Struct, frozen=True):
    protocol: str | None = None
    host: str | None = None
    port: int | None = None
    network_id: int | str | None = None


class _Deployed(msgspec.Struct, frozen=True):
    address: str | None = None


class _Contracts(msgspec.Struct, frozen=True, rename="pascal"):
    registry: _Deployed = _Deployed()
    permissions: _Deployed = _Deployed()


class _NetworkFile(msgspec.Struct, frozen=True):
    """What older tools read from such a file. What they do not read is passed over here too."""

    provider: _Provider = _Provider()
    contracts: _Contracts = _Contracts()


def _with_file(base: Target, path: Path) -> Target:
    """A target with the parts that a network file of older tools gives."""
    try:
        given = msgspec.json.decode(options.read_input(str(path)), type=_NetworkFile)
    except msgspec.DecodeError as error:
        raise ConfigError(f"is no network file: {error}", source=str(path)) from None
    provider, parts = given.provider, urlsplit(base.urls[0] if base.urls else "")
    scheme, host = provider.protocol or parts.scheme, provider.host or parts.hostname
    port = provider.port if provider.port is not None else parts.port
    deployed = given.contracts
    chain_id = base.chain_id
    if provider.network_id is not None:
        if not str(provider.network_id).isdecimal():
            raise ConfigError("must be a number", source=str(path), key="provider.network_id")
        chain_id = int(provider.network_id)
    return dataclasses.replace(
        base,
        urls=(f"{scheme}://{host}" + ("" if port is None else f":{port}"),),
        chain_id=chain_id,
        registry=base.registry
        if deployed.registry.address is None
        else address(deployed.registry.address, path),
        permissions=(
            base.permissions
            if deployed.permissions.address is None
            else address(deployed.permissions.address, path)
        ),
    )


def connect(target: Target) -> Chain:
    """The chain that is meant, through the first endpoint that serves it.

    Raises ConfigError, and what the last endpoint gave: TransactionError or RpcError.
    """
    from ocn_fast.registry import transactions

    limits = Registry() if target.settings is None else target.settings.registry
    fault: OcnError = ConfigError("names no endpoint", source="--rpc-file")
    for url in target.urls:
        try:
            return transactions.connect(
                url, target.chain_id, timeout_ms=limits.rpc_timeout_ms, max_bytes=limits.rpc_bytes
            )
        except (TransactionError, RpcError) as error:
            fault = error
    raise fault


# -- Whose keys


def read_key(
    option: str, file: Path | None, variable: str | None, *, default: str | None = None, development: bool
) -> bytes:
    """A signing key: from the file, else the environment variable, else the file `default`.

    Raises ConfigError, never with a key in it: also not where somebody gave the key itself for a file.
    """
    if file is not None:
        if _KEY.fullmatch(str(file)):
            raise ConfigError(
                "takes the name of a file. If that was a key, everybody on this machine can have seen it: "
                "use it no more",
                source=option,
            )
        if variable is not None and os.environ.get(variable):
            print_note(f"{variable} is set too: {option} counts")
        return keyfiles.read_node_key(file, dev=development)
    if variable is not None and os.environ.get(variable):
        return keyfiles.node_key(os.environ[variable], f"environment {variable}", dev=development)
    if default is not None:
        return keyfiles.read_node_key(default, dev=development)
    where = "" if variable is None else f", or {variable} in the environment"
    raise ConfigError(f"no key to sign with: say {option} FILE{where}")


# -- Forms of input


def address(text: str, source: object) -> str:
    """An address in EIP-55 form. Raises ConfigError: no address, a wrong checksum, or zero."""
    if not _ADDRESS.fullmatch(text):
        raise ConfigError(f"{text!r} is no address: 0x and 40 hex digits", source=str(source))
    spelled = views.checksum(text[2:])
    if text != spelled and text[2:] not in (text[2:].lower(), text[2:].upper()):
        raise ConfigError(
            f"{text} has a wrong checksum: one of its characters is not what was meant", source=str(source)
        )
    if spelled == ZERO_ADDRESS:
        raise ConfigError("the address is zero", source=str(source))
    return spelled


def credentials(country: str, party: str) -> tuple[bytes, bytes]:
    """Country code and party id as the contracts hold them: in capitals. Raises ConfigError."""
    for name, text, length, form in (
        ("country code", country, 2, "[A-Za-z]{2}"),
        ("party id", party, 3, "[A-Za-z0-9]{3}"),
    ):
        if not re.fullmatch(form, text):
            signs = "letters" if length == 2 else "letters or digits"
            raise ConfigError(f"the {name} must be {length} {signs}, not {text!r}", source="--credentials")
    return country.upper().encode(), party.upper().encode()


def domain(text: str, *, keep_path: bool) -> str:
    """The base URL of a node in its one spelling: scheme and host in lower case, no default port, no slash at
    the end; without its path unless `keep_path`. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not host or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{text!r} is no URL: https://, a host, and a port if it is not 443", source="DOMAIN"
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("must not hold a user or password: everybody reads it", source="DOMAIN")
    spelled = f"{parts.scheme}://[{host}]" if ":" in host else f"{parts.scheme}://{host}"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        spelled += f":{port}"
    path = parts.path.rstrip("/")
    return spelled + path if keep_path else spelled


def indexes(names: Iterable[str], index: Callable[[str], int], option: str) -> list[int]:
    """The numbers of roles, modules or permissions: each once, in the order given. Raises ConfigError."""
    try:
        return list(dict.fromkeys(index(name) for name in names))
    except ValueError as error:
        raise ConfigError(str(error), source=option) from None
