"""A chain for each test, with our contracts and with those that the network has always used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocn_fast.registry import contracts
from tools_found import MODULES, Anvil

from .proxy import Proxy, run_proxy
from .world import World

V1 = MODULES / "@shareandcharge" / "ocn-registry" / "contract.defs.local.json"


def bytecodes(kind: str) -> tuple[bytes, bytes]:
    """Registry and Permissions as they are deployed."""
    if kind == "ours":
        return contracts.registry().bytecode, contracts.permissions().bytecode
    if not V1.exists():
        pytest.skip("the npm packages of tests/interop are not installed")
    document = json.loads(V1.read_text())
    registry, permissions = (
        bytes.fromhex(document[name]["bytecode"][2:]) for name in ("Registry", "Permissions")
    )
    return registry, permissions


@pytest.fixture
def make_world(start_anvil: Callable[..., Anvil]) -> Callable[..., World]:
    """`make_world("v1")`: a new chain with contracts, "ours" or "v1"."""

    def make(kind: str = "ours", *options: str, **named: int) -> World:
        codes = bytecodes(kind)
        chain = start_anvil("--order", "fifo", "--gas-limit", "3000000000", *options, **named)
        return World.create(chain, *codes)

    return make


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def make_proxy() -> Iterator[Callable[[World], Proxy]]:
    """`make_proxy(world)` stands before its chain until the end of the test."""
    with ExitStack() as proxies:
        yield lambda world: proxies.enter_context(run_proxy(world.anvil.url))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "node"
