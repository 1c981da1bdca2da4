"""Writes docs/settings.md from the table of settings; `--check` only says whether it is up to date."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ocn_fast import config

TARGET = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """\
# Settings

Generated from `python/ocn_fast/config.py` by `make docs`: do not edit.

A value comes from, later ones winning: the default below; the settings file (TOML: a `[table]` and
`key = value`); the environment (`OCN_FAST_TABLE__KEY`, two underscores between table and key; lists
separated by commas); a flag of the command line. Relative paths start at the folder of the settings file.
An unknown name, a wrong type or a contradiction stops the start with one line and exit status 1.
`ocn-fast doctor` shows every value and where it came from.
"""


def render() -> str:
    """The whole document."""
    parts = [HEAD]
    rows: dict[str, list[config.Entry]] = {}
    for entry in config.entries():
        rows.setdefault(entry.table, []).append(entry)
    for table in msgspec.structs.fields(config.Settings):
        parts.append(f"## `[{table.name}]`\n\n{table.type.__doc__}\n\n{_table(rows[table.name])}")
    return "\n".join(parts)


def _table(entries: Iterable[config.Entry]) -> str:
    lines = ["| key | type | default | unit | meaning |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| `{entry.key}` | {entry.allowed} | {_default(entry.default)} | {entry.unit} | {entry.sentence} |"
        for entry in entries
    ]
    return "\n".join(lines) + "\n"


def _default(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "must be set"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"`{', '.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


def main() -> int:
    text = render()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
        return 0
    if TARGET.is_file() and TARGET.read_text() == text:
        return 0
    print(f"{TARGET.name} is not up to date: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
