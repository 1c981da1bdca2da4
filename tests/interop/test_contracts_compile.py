"""The contracts that the package ships are what their sources compile to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "deploy" / "contracts"
SHIPPED = ROOT / "python" / "ocn_fast" / "registry" / "artifacts"
RUNTIME_LIMIT = 24_576
"""Bytes of code that a chain lets a contract have (EIP-170)."""


@pytest.fixture(scope="session")
def compiled(
    tool: Callable[[str], str],
    npm_packages: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the sources compile to now."""
    npm_packages(CONTRACTS, (CONTRACTS / "node_modules" / "solc").is_dir)
    folder = tmp_path_factory.mktemp("artifacts")
    subprocess.run([tool("node"), str(CONTRACTS / "compile.js"), str(folder)], check=True, timeout=100)
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def test_the_shipped_contracts_are_what_the_sources_compile_to(compiled: dict[str, Any]) -> None:
    assert compiled == {path.name: json.loads(path.read_text()) for path in SHIPPED.iterdir()}
    assert sorted(compiled) == ["Permissions.json", "Registry.json"]


def test_every_chain_takes_their_size(compiled: dict[str, Any]) -> None:
    for name, artifact in compiled.items():
        assert 0 < artifact["deployedBytes"] < RUNTIME_LIMIT, name


def test_nothing_in_their_code_is_newer_than_the_chains_of_v1(compiled: dict[str, Any]) -> None:
    """No instruction that came after Istanbul: BASEFEE, PUSH0, MCOPY, transient storage."""
    newer = {0x48, 0x49, 0x4A, 0x5C, 0x5D, 0x5E, 0x5F}
    for name, artifact in compiled.items():
        code, at = bytes.fromhex(artifact["bytecode"][2:]), 0
        while at < len(code):
            instruction = code[at]
            assert instruction not in newer, (name, at)
            pushed = instruction - 0x5F if 0x60 <= instruction <= 0x7F else 0
            at += 1 + pushed
