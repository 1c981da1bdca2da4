"""The README's own code blocks: a second operator joins a running local network by them alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from processes import free_port, with_command

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^<!-- tested -->\n```sh\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = 8090
"""Of the new node in the README; the test takes a free one in its place."""
PATIENCE_S = 120.0

pytestmark = pytest.mark.timeout(300)


@contextmanager
def network(environment: dict[str, str]) -> Iterator[str]:
    """A kept demo; gives the lines that it prints for whoever joins."""
    command = [sys.executable, "-m", "ocn_fast", "demo", "--keep"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert demo.stdout is not None
        text = "".join(iter(demo.stdout.readline, "Ctrl-C ends it all.\n"))
        yield "\n".join(line for line in text.splitlines() if line.startswith("export "))
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(PATIENCE_S)


def test_a_second_operator_joins_by_the_readme_alone(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("curl")
    blocks = [block["text"] for block in BLOCK.finditer(README.read_text())]
    assert len(blocks) >= 3
    (tmp_path / "bin").mkdir()
    environment = with_command(tmp_path / "bin")
    with network(environment) as exports:
        assert exports
        script = "\n".join(["set -eu", exports, *blocks]).replace(str(PORT), str(free_port()))
        (tmp_path / "home").mkdir()
        log = tmp_path / "log.txt"
        with log.open("wb") as out:
            shell = subprocess.Popen(
                ["bash", "-c", script], cwd=tmp_path / "home", env=environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        try:
            status = shell.wait(PATIENCE_S)
        finally:
            # Whatever the blocks have started in the background goes with them.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        assert status == 0, log.read_text()
        # What the last block asked for came over both nodes, from the CPO of the network.
        assert "LOC5" in log.read_text()
