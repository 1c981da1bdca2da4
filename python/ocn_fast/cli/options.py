"""Options that several commands share, how they find the settings, and commands whose options are classes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

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


# -- Options as classes


def command(
    app: typer.Typer, name: str, function: Callable[..., None], *, note: str = "", **groups: type
) -> None:
    """Adds a command for a function some of whose parameters are classes of options (dataclasses).

    Each field becomes an option, and the function gets the object. `groups` puts other classes in the place
    of those that the parameters are annotated with; `note` is put behind the function's help.
    """
    text = " ".join([inspect.getdoc(function) or "", note]).strip()
    app.command(name, cls=WordsCommand, help=text)(expanded(function, **groups))


def expanded(function: Callable[..., None], **groups: type) -> Callable[..., None]:
    """The function with an option in the place of each field of such classes: what `command` adds."""
    hints: dict[str, Any] = {**get_type_hints(function, include_extras=True), **groups}
    classes: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in classes:
            parameters += _options_of(classes[parameter.name])
        else:
            parameters.append(
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            )

    def run(**given: Any) -> None:
        for name, kind in classes.items():
            fields = [field.name for field in dataclasses.fields(kind)]
            given[name] = kind(**{field: given.pop(field) for field in fields})
        function(**given)

    run.__doc__ = function.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


@cache
def _options_of(kind: Any) -> tuple[inspect.Parameter, ...]:
    """The fields of a class of options as parameters of a command."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    )


class WordsCommand(TyperCommand):
    """A command whose repeatable options also take several words at once: `--roles CPO EMSP`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeats such an option before each of its further words."""
        repeatable = {
            name for param in self.params if getattr(param, "multiple", False) for name in param.opts
        }
        spread: list[str] = []
        option: str | None = None
        for word in args:
            if word.startswith("-"):
                option = word if word in repeatable else None
                spread.append(word)
            elif option is not None and spread[-1] != option:
                spread += [option, word]
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)
