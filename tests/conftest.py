"""What all tests share: external tools and the shared folder, skipped with a reason or, in CI, required."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools_found import MODULES, REQUIRED, Anvil, find_anvil, run_anvil

ROOT = Path(__file__).parents[1]


def _missing(reason: str) -> None:
    """Skips the test; fails it where everything must be there (`OCN_FAST_REQUIRE_TOOLS=1`)."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


FAST_FIRST = ("unit", "integration", "interop", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: what a second can tell should not wait for minutes."""
    folders = {folder: rank for rank, folder in enumerate(FAST_FIRST)}

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return folders.get(folder, len(FAST_FIRST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """`tool("nginx")` is the path of a program that this test needs."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None:
            _missing(f"{name} is not installed")
        assert path is not None
        return path

    return find


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared vectors and specifications: `OCN_FAST_SHARED`, or `../shared`."""
    folder = ROOT / os.environ.get("OCN_FAST_SHARED", "../shared")
    if not (folder / "vectors").is_dir():
        _missing(f"the shared folder is not at {folder}")
    return folder.resolve()


def _install_packages(tool: Callable[[str], str]) -> None:
    """The npm packages of `tests/interop`."""
    command = [tool("npm"), "--prefix", str(ROOT / "tests/interop"), "ci", "--no-audit", "--no-fund"]
    subprocess.run(command, check=True, timeout=100)


@pytest.fixture(scope="session")
def ocn_registry(tool: Callable[[str], str]) -> Path:
    """The folder of the public registry tool: `OCN_FAST_OCN_REGISTRY`, or as installed, as for Anvil."""
    folder = Path(os.environ.get("OCN_FAST_OCN_REGISTRY", MODULES / "@shareandcharge/ocn-registry"))
    if not folder.is_dir() and REQUIRED:
        _install_packages(tool)
    if not folder.is_dir():
        _missing("the package ocn-registry is not installed: make interop, or OCN_FAST_OCN_REGISTRY")
    return folder


@pytest.fixture(scope="session")
def anvil_program(tool: Callable[[str], str]) -> str:
    """The path of Anvil. In CI the npm packages are installed now, elsewhere `make interop` does it."""
    if find_anvil() is None and REQUIRED:
        _install_packages(tool)
    program = find_anvil()
    if program is None:
        _missing("Anvil is not installed: make interop, or name it in OCN_FAST_ANVIL")
    assert program is not None
    return program


@pytest.fixture
def start_anvil(anvil_program: str) -> Iterator[Callable[..., Anvil]]:
    """`start_anvil("--block-time", "1", chain_id=9)` is a chain of the test's own; it ends with the test."""
    with ExitStack() as chains:
        yield lambda *options, **named: chains.enter_context(run_anvil(anvil_program, *options, **named))
