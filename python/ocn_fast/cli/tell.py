"""`ocn-fast tell`: has a running party do something, through the control API of its ready file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ocn_fast import keyfiles
from ocn_fast.cli.output import Json, print_json, print_line, print_table
from ocn_fast.errors import ConfigError, OcnError

SUCCESS = 1000
TIMEOUT_S = 60.0


class _Ready(msgspec.Struct):
    url: str
    control_key: str


class PartyError(OcnError):
    """The party did not answer, or could not do what it was told."""


def tell(
    ready_file: Annotated[Path, typer.Argument(help="Ready file of the party.")],
    step: Annotated[str, typer.Argument(help="What to do, such as locations or START_SESSION.")],
    wishes: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Such as to=DE/CPO limit=2.")
    ] = None,
    json: Json = False,
) -> None:
    """Have a party that runs here do something. Exit status 0 only if all of its calls succeed (1000)."""
    # Here, so that no other command has to load it.
    import httpx

    try:
        ready = msgspec.json.decode(keyfiles.read(ready_file), type=_Ready)
    except msgspec.DecodeError as error:
        raise ConfigError(f"is no ready file: {error}", source=str(ready_file)) from None
    body = {"step": step} | dict(_wish(text) for text in wishes or ())
    headers = {"authorization": f"Token {ready.control_key}"}
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            said: dict[str, Any] = client.post(f"{ready.url}/_party/do", json=body, headers=headers).json()
    except (httpx.HTTPError, ValueError) as error:
        raise PartyError(f"the party at {ready.url} gave no answer: {type(error).__name__}") from None
    if "error" in said:
        raise PartyError(str(said["error"]))
    sent: list[dict[str, Any]] = said.get("sent", [])
    if json:
        print_json(said)
    else:
        columns = ("peer", "method", "module", "http", "ocpi", "verdict", "signer", "message")
        print_table(columns, [[call.get(name) for name in columns] for call in sent], empty="no calls")
        if said.get("data") is not None:
            print_line(msgspec.json.encode(said["data"]).decode())
    if not all(call.get("ocpi") == SUCCESS for call in sent):
        raise typer.Exit(1)


def _wish(text: str) -> tuple[str, Any]:
    """`limit=2`: a name, and a value that is JSON if it can be."""
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value
