"""Anvil for tests: where it is, and a running chain of one's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REQUIRED = os.environ.get("OCN_FAST_REQUIRE_TOOLS") == "1"
"""Whether every tool must be there, as in CI: a test that misses one fails."""

INTEROP = Path(__file__).parent / "interop"
MODULES = INTEROP / "node_modules"
MNEMONIC = "candy maple cake sugar pudding cream honey rich smooth crumble sweet treat"
"""Of the local network that existing tools know: its accounts are public and have ether here."""

START_S = 30.0


def find_anvil() -> str | None:
    """`OCN_FAST_ANVIL`, then the installed npm package, then the path.

    The program itself, never the script that npm puts before it: only that can be stopped and killed.
    """
    for candidate in (
        os.environ.get("OCN_FAST_ANVIL"),
        str(MODULES / ".bin" / "anvil"),
        shutil.which("anvil"),
    ):
        if candidate and Path(candidate).is_file():
            return _program(Path(candidate))
    return None


def _program(path: Path) -> str:
    folder = path.parent.parent / "@foundry-rs"
    installed = sorted(folder.glob("anvil-*/bin/anvil")) if path.parent.name == ".bin" else []
    return str(installed[0] if installed else path)


class JsonRpcError(Exception):
    """The answer was an error object: `code`, `message`, `data` as the chain gave them."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code = error.get("code")
        self.message = str(error.get("message"))
        self.data = error.get("data")
        super().__init__(f"{self.code}: {self.message}")


def json_rpc(url: str, method: str, *params: Any, timeout: float = 20.0) -> Any:
    """One JSON-RPC call. Raises JsonRpcError."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        document = json.load(answer)
    if "error" in document:
        raise JsonRpcError(document["error"])
    return document["result"]


class Anvil:
    """A running chain: `url`, `chain_id`, and its process to stop, continue or kill."""

    def __init__(self, process: subprocess.Popen[str], url: str, chain_id: int) -> None:
        self.process = process
        self.url = url
        self.chain_id = chain_id

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call. Raises JsonRpcError."""
        return json_rpc(self.url, method, *params)

    def stop(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing, from when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        # Until the last of its threads has stopped, it may still answer.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once; its port refuses connections then."""
        self.process.kill()
        self.process.wait(10)


@contextmanager
def run_anvil(program: str, *options: str, port: int = 0, chain_id: int = 9) -> Iterator[Anvil]:
    """A new chain on loopback with the accounts of MNEMONIC, until the end of the `with`.

    `options` are Anvil's. A `port` that was used before makes a chain come back where it was.
    """
    command = [
        program, "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(chain_id),
        "--accounts", "20", "--balance", "1000000", "--mnemonic", MNEMONIC, *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        late = threading.Timer(START_S, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("Listening on "):
                    break
            late.cancel()
            assert said[-1].startswith("Listening on "), "".join(said)
            # What it says from now on interests nobody, but a full pipe would stop it.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Anvil(process, "http://" + said[-1].split()[-1], chain_id)
        finally:
            late.cancel()
            # SIGKILL, because it may be stopped.
            process.kill()
