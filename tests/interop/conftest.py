"""The public JavaScript package, installed by `make interop`, and a process of it to talk to."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from js_package import JsPackage

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def node(tool: Callable[[str], str]) -> str:
    """The path of node, once the package is installed: in CI it is installed now, elsewhere `make interop`
    does it."""
    program = tool("node")
    if not (HERE / "node_modules" / "@shareandcharge" / "ocn-notary").is_dir():
        if os.environ.get("OCN_FAST_REQUIRE_TOOLS") != "1":
            pytest.skip("the JavaScript package is not installed: make interop")
        command = [tool("npm"), "--prefix", str(HERE), "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, check=True, timeout=100)
    return program


@pytest.fixture(scope="session")
def js(node: str) -> Iterator[JsPackage]:
    """The package in a process of its own, for the whole session."""
    with subprocess.Popen(
        [node, str(HERE / "driver.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield JsPackage(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
