"""Options that several commands share, and how they find the settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError

CONFIG_VARIABLE = "OCN_FAST_CONFIG"
DEFAULT_CONFIG = "ocn-fast.toml"
STDIN = "-"
INPUT_BYTES = 64 * 1024 * 1024

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_VARIABLE,
        show_envvar=True,
        help=f"Settings file (default {DEFAULT_CONFIG}).",
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Any setting; may be repeated.")
]


def config_file(given: Path | None) -> Path | None:
    """The settings file: as given, or the one in this folder, or none."""
    if given is not None:
        return given
    default = Path(DEFAULT_CONFIG)
    return default if default.exists() else None


def settings(given: Path | None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings from file, environment and flags. Raises ConfigError."""
    return Settings.load(config_file(given), os.environ, flags)


def flags(pairs: list[str] | None, **named: Any) -> dict[str, Any]:
    """Flags as settings: `--set table.key=value`, and those with an option of their own, `table__key=…`."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError("must be TABLE.KEY=VALUE", source="command line", key=f"--set {pair}")
        values[name] = value
    values.update({name.replace("__", "."): value for name, value in named.items() if value is not None})
    return values


def read_input(path: str) -> bytes:
    """The content of a file, or of standard input for `-`. Raises ConfigError."""
    if path == STDIN:
        return sys.stdin.buffer.read(INPUT_BYTES)
    try:
        with Path(path).open("rb") as stream:
            return stream.read(INPUT_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=path) from None


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document for `print_fields`: a line for each member, with what is nested in it as JSON."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in document.items()
    }
