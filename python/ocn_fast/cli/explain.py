"""`ocn-fast explain`: what a running node would do with a message, stage by stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from ocn_fast.cli import admin, options
from ocn_fast.cli.output import Json, print_fields, print_json
from ocn_fast.cli.platform import party_id


class Role(StrEnum):
    """The side of the module that is called."""

    SENDER = "SENDER"
    RECEIVER = "RECEIVER"


def explain(
    sender: Annotated[str, typer.Option("--from", help="The sending party, such as NL/MSP.")],
    receiver: Annotated[str, typer.Option("--to", help="The receiving party, such as DE/CPO.")],
    module: Annotated[str, typer.Option(help="Module, such as locations.")],
    role: Annotated[Role, typer.Option(help="Side of the module that is called.")] = Role.RECEIVER,
    method: Annotated[str, typer.Option(help="HTTP method.")] = "GET",
    version: Annotated[str, typer.Option(help="OCPI version.")] = "2.2.1",
    config: options.ConfigFile = None,
    url: admin.Url = None,
    admin_key_file: admin.KeyFile = None,
    json: Json = False,
) -> None:
    """Shows the way of a message through the stages: route, rules, what is refused and why."""
    query: dict[str, Any] = {
        "from": party_id(sender),
        "to": party_id(receiver),
        "module": module,
        "role": role.value,
        "method": method.upper(),
        "version": version,
    }
    answer = admin.Admin(config, url, admin_key_file).call("POST", "/admin/explain", query)
    print_json(answer) if json or not isinstance(answer, dict) else print_fields(options.flat(answer))
