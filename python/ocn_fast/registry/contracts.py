"""Our own contracts as they are deployed: interface and bytecode, compiled from `deploy/contracts`.

Their interface holds all of v1's, so it also serves to call contracts of others, as long as nothing but v1's
functions is called.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple


class Artifact(NamedTuple):
    """A compiled contract: its JSON interface, and the bytecode that creates it (without arguments)."""

    abi: list[dict[str, Any]]
    bytecode: bytes


@cache
def registry() -> Artifact:
    """The Registry; its constructor takes nothing."""
    return _read("Registry")


@cache
def permissions() -> Artifact:
    """The Permissions; its constructor takes the address of a registry."""
    return _read("Permissions")


def _read(name: str) -> Artifact:
    text = resources.files("ocn_fast.registry").joinpath(f"artifacts/{name}.json").read_text()
    document = json.loads(text)
    return Artifact(document["abi"], bytes.fromhex(document["bytecode"].removeprefix("0x")))
