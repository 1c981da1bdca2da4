"""Our contracts on Anvil, and on the embedded chain where a test asks for both or Anvil is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from web3 import Web3

from in_process import InProcess
from ocn_fast.chain.machine import Machine
from ocn_fast.chain.methods import Methods
from tools_found import REQUIRED, find_anvil, run_anvil
from world import World

CHAIN_ID = 9


@pytest.fixture(scope="session")
def embedded_world() -> World:
    return World(Web3(InProcess(Methods(Machine(CHAIN_ID, 20)))))


@pytest.fixture(scope="session")
def anvil_world(anvil_program: str) -> Iterator[World]:
    with run_anvil(anvil_program, chain_id=CHAIN_ID) as anvil:
        yield World(Web3(Web3.HTTPProvider(anvil.url)))


@pytest.fixture
def chain_name(request: pytest.FixtureRequest) -> str:
    """Which chain a test runs on: the one it asks for, else Anvil if it is there."""
    if hasattr(request, "param"):
        return str(request.param)
    return "anvil" if REQUIRED or find_anvil() else "embedded"


@pytest.fixture
def world(chain_name: str, request: pytest.FixtureRequest) -> Iterator[World]:
    """Our contracts with nothing listed; what the test does is taken back."""
    found: World = request.getfixturevalue(f"{chain_name}_world")
    request_chain = found.web3.provider.make_request
    snapshot = request_chain("evm_snapshot", [])["result"]  # type: ignore[arg-type]
    yield found
    assert request_chain("evm_revert", [snapshot])["result"] is True  # type: ignore[arg-type]
