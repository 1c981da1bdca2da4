"""`ocn-fast init`: settings file, node key, key ring and admin key of a new node."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from ocn_fast import keyfiles
from ocn_fast.cli.options import DEFAULT_CONFIG
from ocn_fast.cli.output import Json, print_fields, print_json, print_note
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError

_FILE = """\
# Settings of this node. All settings: docs/settings.md; what holds now: `ocn-fast doctor`.

[node]
url = {url}
country_code = {country}
party_id = {party}
key_file = "node.key"
key_ring_file = "keyring.json"
{dev}
[http]
host = "127.0.0.1"
port = {port}

[admin]
key_file = "admin.key"

[signatures]
required = {required}

[store]
url = "sqlite+aiosqlite:///ocn-fast.db"

{registry}"""

_NO_REGISTRY = """\
# The registry of operators and parties: on a chain, as here, or a signed snapshot, and who may sign it.
# [registry]
# network = "volta"
# file = "registry.snapshot"
# file_signers = ["0x…"]
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What `write_node` made: the operator's address and the settings file."""

    address: str
    settings: Path


def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the files; made if it is not there.")] = Path(),
    url: Annotated[str | None, typer.Option(help="Public URL of the node.")] = None,
    country_code: Annotated[str | None, typer.Option(help="Country code of the hub, such as DE.")] = None,
    party_id: Annotated[str | None, typer.Option(help="Party id of the hub, such as HUB.")] = None,
    signatures: Annotated[
        bool | None,
        typer.Option("--signatures/--no-signatures", help="Whether messages must be signed (default yes)."),
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="A development node: http and loopback allowed.")
    ] = False,
    json: Json = False,
) -> None:
    """Makes a new node: settings, signing key, key ring and admin key. Never overwrites anything."""
    url = _ask(url, "--url", "Public URL of this node", "http://127.0.0.1:8080" if dev else None)
    country = _ask(country_code, "--country-code", "Country code of the hub itself").upper()
    party = _ask(party_id, "--party-id", "Party id of the hub itself").upper()
    if signatures is None:
        signatures = typer.confirm("Must messages be signed?", default=True) if sys.stdin.isatty() else True
    made = write_node(folder, url=url, country_code=country, party_id=party, signatures=signatures, dev=dev)
    files = {
        "settings": str(made.settings),
        "node key": str(folder / "node.key"),
        "key ring": str(folder / "keyring.json"),
        "admin key": str(folder / "admin.key"),
    }
    address, settings_file = made.address, made.settings
    if json:
        print_json({"address": address, "files": files})
        return
    print_fields({**files, "operator address": address})
    for line in (
        "What comes next:",
        "1. Keep a copy of node.key and keyring.json in a safe place: nobody can make them again.",
        f"2. Have the operator {address} listed in the registry with {url},",
        f"   and set registry.file and registry.file_signers in {settings_file}.",
        f"3. ocn-fast doctor -c {settings_file}",
        f"4. ocn-fast serve -c {settings_file}",
        f"5. ocn-fast platform token DE/CPO -c {settings_file}   (a registration token for a party)",
    ):
        print_note(line)


def write_node(
    folder: Path,
    *,
    url: str,
    country_code: str,
    party_id: str,
    signatures: bool = True,
    dev: bool = False,
    registry: Mapping[str, Any] | None = None,
) -> Made:
    """Makes all files of a new node in a folder, or none. `registry`: its settings, if any are known.

    Raises ConfigError.
    """
    # The settings are tried before anything is written.
    values: dict[str, Any] = {"node.url": url, "node.country_code": country_code, "node.party_id": party_id}
    # A development node is reached directly, a real one through a proxy or by other settings.
    port = _port_of(url) if dev else 8080
    flags = {**values, "http.port": port, "node.dev": dev, "signatures.required": signatures}
    flags |= {f"registry.{name}": value for name, value in (registry or {}).items()}
    Settings.load(flags=flags)
    settings = folder / DEFAULT_CONFIG
    node_key, key_ring, admin_key = folder / "node.key", folder / "keyring.json", folder / "admin.key"
    for path in (settings, node_key, key_ring, admin_key):
        if path.exists() or path.is_symlink():
            raise ConfigError("is there already and is not overwritten", source=str(path))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", source=str(folder)) from None
    address = keyfiles.create_node_key(node_key)
    keyfiles.create_key_ring(key_ring)
    keyfiles.create_admin_key(admin_key)
    text = _FILE.format(
        url=_toml(url),
        country=_toml(country_code),
        party=_toml(party_id),
        required=str(signatures).lower(),
        dev="dev = true\n" if dev else "",
        port=port,
        registry="\n".join(["[registry]", *toml_lines(registry), ""]) if registry else _NO_REGISTRY,
    )
    keyfiles.create(settings, text)
    return Made(address, settings)


def _ask(given: str | None, option: str, question: str, default: str | None = None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        return str(typer.prompt(question, default=default))
    if default is not None:
        return default
    raise typer.BadParameter("is needed where nobody can be asked", param_hint=option)


def _port_of(url: str) -> int:
    try:
        port = urlsplit(url).port
    except ValueError:
        raise ConfigError("has no valid port", key="node.url") from None
    return 80 if port is None else port


def toml_lines(values: Mapping[str, Any]) -> list[str]:
    """The lines of a TOML table: texts, numbers, and lists of texts."""
    return [f"{name} = {_toml_value(value)}" for name, value in values.items()]


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return _toml(value) if isinstance(value, str) else str(value)


def _toml(text: str) -> str:
    """A TOML basic string. The texts were checked before: they hold nothing but printable ASCII."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
