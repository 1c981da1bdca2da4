"""Running nodes as processes of their own: start, address, children, end. For all end-to-end tests."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ocn_fast import keyfiles
from ocn_fast.cli.init import write_node

START_S = 60.0
HERE = Path(__file__).parent


def until(condition: Callable[[], Any], seconds: float = START_S, what: str = "the condition") -> Any:
    """Waits until the condition gives something true, and returns that."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not (got := condition()):
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        pause.wait(0.01)
    return got


def with_command(folder: Path) -> dict[str, str]:
    """An environment whose path finds `ocn-fast`, wherever the package comes from."""
    program = folder / "ocn-fast"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocn_fast "$@"\n')
    program.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be collected does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def children(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == process and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def free_port() -> int:
    """A port for a server that is still to start.

    It is none of those that the system itself gives to connections (32,768 and above on Linux): one of these
    could be taken before the server listens.
    """
    for port in random.sample(range(10_000, 32_000), 1_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class Running:
    """A node that was started: its process, and what its ready file says."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Mapping[str, Any], log: Path) -> None:
        self.process = process
        self.url: str = ready["url"]
        self.port: int = ready["port"]
        self.log = log

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def keeper(self) -> int | None:
        """The process id of the keeper, while it runs."""
        for child in children(self.process.pid):
            if b"ocn_fast.keeper" in command_of(child):
                return child
        return None


def command_of(process: int) -> bytes:
    """The command line of a process; empty if it has ended meanwhile."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def make_node(folder: Path) -> Path:
    """A new development node in a folder of its own; returns its settings file."""
    return write_node(folder, url="http://127.0.0.1:0", country_code="DE", party_id="HUB", dev=True).settings


@contextmanager
def running(
    settings: Path,
    *flags: str,
    command: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Starts a node on a free port and ends it at last, also if the test failed.

    `command` stands for `ocn-fast serve`; it gets the settings file, the ready file and the flags as
    arguments.
    """
    ready_file = settings.parent / "ready.json"
    log = settings.parent / "log"
    if command is None:
        pairs = [argument for flag in ("http.port=0", *flags) for argument in ("--set", flag)]
        full = [
            sys.executable,
            "-m",
            "ocn_fast",
            "serve",
            "-c",
            str(settings),
            "--ready-file",
            str(ready_file),
            *pairs,
        ]
    else:
        full = [*command, str(settings), str(ready_file), "http.port=0", *flags]
    with log.open("ab") as stream:
        process = subprocess.Popen(full, stderr=stream, env={**os.environ, **(environment or {})})
    try:
        until(lambda: ready_file.exists() or process.poll() is not None, what="the ready file")
        assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()}"
        yield Running(process, json.loads(ready_file.read_text()), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()
                process.wait()


def admin_key(settings: Path) -> str:
    """The admin key of a node made by `make_node`."""
    return keyfiles.read_admin_key(settings.parent / "admin.key", 32)
