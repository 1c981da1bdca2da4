"""`ocn-fast explain`: what a running node would do with a message, stage by stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ocn_fast.cli import admin, options
from ocn_fast.cli.output import Json, print_json, print_line, print_table
from ocn_fast.cli.platform import party_id


class Role(StrEnum):
    """The side of the module that is called."""

    SENDER = "SENDER"
    RECEIVER = "RECEIVER"


@options.expanded
def explain(
    *,
    sender: Annotated[str, typer.Option("--from", help="The sending party, such as NL/MSP.")],
    receiver: Annotated[str, typer.Option("--to", help="The receiving party, such as DE/CPO.")],
    module: Annotated[str, typer.Option(help="Module, such as locations.")],
    role: Annotated[Role, typer.Option(help="Side of the module that is called.")] = Role.RECEIVER,
    method: Annotated[str, typer.Option(help="HTTP method.")] = "GET",
    path: Annotated[str, typer.Option(help="What follows the module in the path.")] = "",
    node: admin.Node,
    json: Json = False,
) -> None:
    """Shows the way of a message through the stages: route, rules, what is refused and why."""
    query = {
        "from": list(party_id(sender).values()),
        "to": list(party_id(receiver).values()),
        "module": module,
        "role": role.value,
        "method": method.upper(),
        "path": path,
    }
    answer = node.call("POST", "/admin/explain", query)
    if json:
        print_json(answer)
        return
    steps = [
        (step["stage"], "passes" if step["passes"] else "refuses", step["says"]) for step in answer["steps"]
    ]
    print_table(("stage", "verdict", "says"), steps)
    if answer["relayed"]:
        print_line("would be relayed", "green")
    else:
        print_line(f"would be refused with HTTP {answer['http_status']}/{answer['ocpi_status']}", "red")
