"""`ocn-fast platform`: the platforms of a running node, through its admin API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ocn_fast.cli import admin, options
from ocn_fast.cli.output import Json, print_fields, print_json, print_line, print_note, print_table

app = typer.Typer(no_args_is_help=True, help="Platforms of a running node: tokens, status, rules.")

Id = Annotated[int, typer.Argument(help="Number of the platform, as `platform list` shows it.")]
_PARTY = re.compile(r"([A-Za-z]{2})[/*-]?([A-Za-z0-9]{3})")


def token(
    parties: Annotated[list[str], typer.Argument(metavar="PARTY...", help="Whom it is for, such as DE/CPO.")],
    node: admin.Node,
    json: Json = False,
) -> None:
    """Makes a registration token (token A), to be given to the party. It is shown this once."""
    body = {"parties": [party_id(text) for text in parties]}
    made = node.call("POST", "/admin/registration-tokens", body)
    if json:
        print_json(made)
        return
    print_fields(made)
    print_note("The party starts its handshake with this token at the versions URL.")


def list_platforms(node: admin.Node, json: Json = False) -> None:
    """Lists all platforms."""
    platforms = node.call("GET", "/admin/platforms")
    if json:
        print_json(platforms)
        return
    rows = [
        (
            platform.get("id"),
            platform.get("status"),
            platform.get("version"),
            " ".join(_name(role) for role in platform.get("parties", [])),
            platform.get("last_seen"),
            platform.get("versions_url"),
        )
        for platform in platforms
    ]
    print_table(
        ("id", "status", "version", "parties", "last seen", "versions URL"), rows, empty="no platforms"
    )


def show(identity: Id, node: admin.Node, json: Json = False) -> None:
    """Shows everything about one platform, but no token."""
    platform = node.call("GET", f"/admin/platforms/{identity}")
    print_json(platform) if json else print_fields(options.flat(platform))


def suspend(identity: Id, node: admin.Node, json: Json = False) -> None:
    """Stops all messages from and to a platform until `resume`."""
    _report(node.call("POST", f"/admin/platforms/{identity}/suspend"), json, "suspended")


def resume(identity: Id, node: admin.Node, json: Json = False) -> None:
    """Lets messages of a suspended platform pass again."""
    _report(node.call("POST", f"/admin/platforms/{identity}/resume"), json, "resumed")


def delete(
    identity: Id,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    node: admin.Node,
    json: Json = False,
) -> None:
    """Deletes a platform with its tokens, endpoints, rules and links."""
    if not yes:
        typer.confirm(f"Delete platform {identity} for good?", abort=True)
    _report(node.call("DELETE", f"/admin/platforms/{identity}"), json, "deleted")


def rotate(identity: Id, node: admin.Node, json: Json = False) -> None:
    """Ends all tokens of a platform at once and shows its new one, this once."""
    _report(node.call("POST", f"/admin/platforms/{identity}/rotate"), json, "rotated")


def sign_for_party(
    identity: Id,
    enabled: Annotated[bool, typer.Option("--on/--off", help="Whether the node signs in the party's place.")],
    node: admin.Node,
    json: Json = False,
) -> None:
    """Sets whether the node signs messages of a platform whose software cannot."""
    answer = node.call("PUT", f"/admin/platforms/{identity}/sign-for-party", {"enabled": enabled})
    _report(answer, json, "on" if enabled else "off")


def _report(answer: Any, json: bool, done: str) -> None:
    if json:
        print_json(answer)
    elif isinstance(answer, dict):
        print_fields(options.flat(answer))
    else:
        print_line(done, "green")


def party_id(text: str) -> dict[str, str]:
    """A party as OCPI names it, from `DE/CPO`, `DE*CPO` or `DECPO`."""
    found = _PARTY.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a party such as DE/CPO", param_hint="PARTY")
    return {"country_code": found[1].upper(), "party_id": found[2].upper()}


def _name(role: dict[str, Any]) -> str:
    return f"{role.get('country_code')}/{role.get('party_id')}"


_COMMANDS: dict[str, Callable[..., None]] = {
    "token": token,
    "list": list_platforms,
    "show": show,
    "suspend": suspend,
    "resume": resume,
    "delete": delete,
    "rotate": rotate,
    "sign-for-party": sign_for_party,
}
for _verb, _function in _COMMANDS.items():
    options.command(app, _verb, _function)
