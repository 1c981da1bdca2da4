"""What all tests share: external tools and the shared folder, skipped with a reason or, in CI, required."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools_found import INTEROP, MODULES, REQUIRED, Anvil, find_anvil, run_anvil

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


@pytest.fixture(scope="session")
def npm_packages(tool: Callable[[str], str]) -> Callable[[Path, Callable[[], object]], None]:
    """`npm_packages(folder, found)` makes `found()` true: it looks for packages that the folder names.

    In CI they are installed now, by whichever test process comes first; elsewhere `make interop` does it.
    """

    def provide(folder: Path, found: Callable[[], object]) -> None:
        if found():
            return
        if not REQUIRED:
            pytest.skip(f"npm packages of {folder.relative_to(ROOT)} are not installed: make interop")
        with (folder / "package-lock.json").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not found():
                command = [tool("npm"), "--prefix", str(folder), "ci", "--no-audit", "--no-fund"]
                subprocess.run(command, check=True, timeout=100)
        assert found(), folder

    return provide


@pytest.fixture(scope="session")
def ocn_registry(npm_packages: Callable[..., None]) -> Path:
    """The folder of the public registry tool: `OCN_FAST_OCN_REGISTRY`, or as installed, as for Anvil."""
    folder = Path(os.environ.get("OCN_FAST_OCN_REGISTRY", MODULES / "@shareandcharge/ocn-registry"))
    npm_packages(INTEROP, folder.is_dir)
    return folder


@pytest.fixture(scope="session")
def anvil_program(npm_packages: Callable[..., None]) -> str:
    """The path of Anvil: `OCN_FAST_ANVIL`, as installed, or of the path."""
    npm_packages(INTEROP, find_anvil)
    program = find_anvil()
    assert program is not None
    return program


@pytest.fixture
def start_anvil(anvil_program: str) -> Iterator[Callable[..., Anvil]]:
    """`start_anvil("--block-time", "1", chain_id=9)` is a chain of the test's own; it ends with the test."""
    with ExitStack() as chains:
        yield lambda *options, **named: chains.enter_context(run_anvil(anvil_program, *options, **named))
