"""`ocn-fast config`: the settings that hold, and where each came from."""

from __future__ import annotations

import os
from typing import Any

import typer

from ocn_fast.cli import options
from ocn_fast.cli.output import Json, print_json, print_table
from ocn_fast.config import Settings, entries

app = typer.Typer(no_args_is_help=True, help="Settings.")


@app.command()
def show(config: options.ConfigFile = None, more: options.Set = None, json: Json = False) -> None:
    """Shows every setting, its value and where it came from. Keys are in files of their own."""
    settings, origins = Settings.resolve(options.config_file(config), os.environ, options.flags(more))
    rows = described(settings, origins)
    if json:
        print_json({name: {"value": settings.shown(name), "origin": origin} for name, _, origin in rows})
    else:
        print_table(("setting", "value", "origin"), rows)


def described(settings: Settings, origins: dict[str, str]) -> list[tuple[str, str, str]]:
    """Name, value and origin of every setting, as shown to people."""
    return [(entry.name, _shown(settings.shown(entry.name)), origins[entry.name]) for entry in entries()]


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)
