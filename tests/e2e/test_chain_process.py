"""`ocn-fast chain` as a process: its ready document, its door, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import until
from web3 import Web3

from ocn_fast.chain.server import BODY_BYTES
from ocn_fast.registry.reader import read_registry
from ocn_fast.registry.rpc import Endpoint
from ocn_fast.registry.rules import Reading
from tools_found import json_rpc
from world import World

COMMAND = [sys.executable, "-m", "ocn_fast", "chain"]


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A chain on a free port, and what it printed when it was ready."""
    command = [*COMMAND, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_it_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    with running("--ready-file", str(file), "--accounts", "2", "--chain-id", "7") as (process, ready):
        assert json.loads(file.read_text()) == ready
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (ready["chain_id"], len(ready["accounts"])) == (7, 2)
        assert ready["accounts"][0]["address"] == "0x627306090abaB3A6e1400e9345bC60c78a8BEf57"
        assert len(ready["accounts"][0]["private_key"]) == 66
        assert json_rpc(ready["url"], "eth_chainId") == "0x7"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - start < 10
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_takes_json_of_bounded_size_from_programs_only() -> None:
    with running() as (_, ready):
        url = ready["url"]
        call = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'
        as_json = {"Content-Type": "application/json; charset=utf-8"}
        assert httpx.post(url, content=call, headers=as_json).json()["result"] == "0x9"
        assert len(httpx.post(url, content=b"[%s,%s]" % (call, call), headers=as_json).json()) == 2
        # What a web page may send to a foreign address without asking.
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            assert httpx.post(url, content=call, headers={"Content-Type": kind}).status_code == 415
        assert httpx.get(url).status_code == 405
        assert httpx.post(f"{url}/other", content=call, headers=as_json).status_code == 404
        large = httpx.post(url, content=b" " * BODY_BYTES + call, headers=as_json)
        assert large.status_code == 413
        assert httpx.post(url, content=b'{"method":"evm_mine"}', headers=as_json).status_code == 204
        assert json_rpc(url, "eth_blockNumber") == "0x1"


def test_our_reader_reads_a_registry_on_it_at_any_block() -> None:
    with running() as (_, ready):
        world = World(Web3(Web3.HTTPProvider(ready["url"])))
        world.network()
        listed = world.web3.eth.get_block("latest")
        world.done(world.registry.functions.deleteNode(), world.a)

        async def read(block: int | str) -> Reading:
            endpoint = Endpoint(ready["url"], 10_000, 1_000_000)
            try:
                addresses = (world.registry.address, world.permissions.address)
                return await read_registry(endpoint, *addresses, block)
            finally:
                await endpoint.close()

        newest = asyncio.run(read("latest"))
        assert [(one.address, one.party_id) for one in newest.parties] == [
            (world.p.address, b"PPP"), (world.q.address, b"QQQ"),
        ]  # fmt: skip
        assert newest.operators == {world.a.address: b""}
        for block in (listed["number"], listed["hash"].to_0x_hex()):
            assert asyncio.run(read(block)).operators == {world.a.address: b"https://a.example"}


def test_blocks_come_by_time_where_asked() -> None:
    with running("--block-time", "0.1") as (_, ready):
        url, (first, *_) = ready["url"], ready["accounts"]
        sent = json_rpc(
            url, "eth_sendTransaction", {"from": first["address"], "to": "0x" + "22" * 20, "value": "0x1"}
        )
        receipt = until(lambda: json_rpc(url, "eth_getTransactionReceipt", sent), 20, "the receipt")
        assert receipt["status"] == "0x1"
        until(lambda: int(json_rpc(url, "eth_blockNumber"), 16) > 2, 20, "more blocks")


def test_other_accounts_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("test test test test test test\ntest test test test test junk\n")
    file.chmod(0o600)
    with running("--mnemonic-file", str(file), "--accounts", "1") as (_, ready):
        # The first account that everybody's development tools have.
        assert ready["accounts"][0]["address"] == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def failed(*command: str) -> str:
    """What a start that must fail says: one line and status 1."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert isinstance(line, str)
    return line


def test_a_port_that_is_taken_and_words_that_are_none_are_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"127.0.0.1:{port}" in failed(*COMMAND, "--port", port)
    file = tmp_path / "words"
    file.write_text("no such words")
    file.chmod(0o600)
    line = failed(*COMMAND, "--port", "0", "--mnemonic-file", str(file))
    assert str(file) in line
    assert "no such words" not in line


def test_without_the_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['eth_tester'] = None; from ocn_fast.cli import main; main(['chain'])"
    assert "ocn-fast[chain]" in failed(sys.executable, "-c", program)


@pytest.mark.parametrize("option", [["--port", "-1"], ["--chain-id", "0"], ["--accounts", "0"]])
def test_impossible_options_are_refused(option: list[str]) -> None:
    done = subprocess.run([*COMMAND, *option], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert option[0] in done.stderr
