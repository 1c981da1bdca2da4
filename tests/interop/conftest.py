"""The public JavaScript package, installed by `make interop`, and a process of it to talk to."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from js_package import JsPackage

from tools_found import INTEROP, MODULES


@pytest.fixture(scope="session")
def node(tool: Callable[[str], str], npm_packages: Callable[..., None]) -> str:
    """The path of node, once the package is installed."""
    npm_packages(INTEROP, (MODULES / "@shareandcharge" / "ocn-notary").is_dir)
    return tool("node")


@pytest.fixture(scope="session")
def js(node: str) -> Iterator[JsPackage]:
    """The package in a process of its own, for the whole session."""
    with subprocess.Popen(
        [node, str(INTEROP / "driver.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        yield JsPackage(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
