"""`ocn-fast party` as a stranger uses it: starts that fail say why, restarts go on where they were."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ocn_fast.demo.network import CPO, MSP, ONE_NODE, Network, PartyProcess
from ocn_fast.parties.process import Ready
from ocn_fast.parties.state import State

PARTY = [sys.executable, "-m", "ocn_fast", "party"]

pytestmark = pytest.mark.timeout(180)


def failed(*options: str, stdin: str = "") -> str:
    """What a start that must fail says; one line and status 1."""
    process = subprocess.run(
        [*PARTY, *options], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 1, process.stdout + process.stderr
    complaint: list[str] = process.stderr.splitlines()
    assert len(complaint) == 1, process.stderr
    return complaint[0]


def test_a_node_that_does_not_answer_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/ocpi/versions"
        assert url in failed("cpo", "--node", url, "--token-file", "-", stdin="token\n")


def test_a_node_without_a_token_is_not_even_asked() -> None:
    assert "--token-file" in failed("msp", "--node", "http://127.0.0.1:1/ocpi/versions")


def test_a_port_that_is_taken_is_not_shared() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"127.0.0.1:{port}" in failed("cpo", "--port", port)


def test_a_restarted_party_goes_on_under_its_new_address(tmp_path: Path) -> None:
    async def story() -> None:
        async with Network(tmp_path, ONE_NODE) as network:
            cpo, msp = network.parties[CPO], network.parties[MSP]
            before = state_of(cpo)
            await cpo.child.end()
            again = tmp_path / "again.json"
            process = await asyncio.create_subprocess_exec(
                *PARTY, "cpo", "--id", CPO, "--key-file", str(cpo.folder / "party.key"),
                "--state-file", str(cpo.folder / "state.json"), "--ready-file", str(again),
                "--registry", str(tmp_path / "registry.snapshot"),
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await until(again.exists)
                ready = msgspec.json.decode(again.read_bytes(), type=Ready)
                after = state_of(cpo)
                assert after.own_url == ready.versions_url
                assert after.token_c not in (None, before.token_c), "a renewal changes the tokens"
                # A worker learns of the change with its next look at the database.
                async with asyncio.timeout(30):
                    while True:
                        _, tariffs = await msp.do("tariffs", to=CPO)
                        if tariffs == ["ENERGY", "PARKING"]:
                            break
                await require_tell(msp.folder / "ready.json")
            finally:
                process.terminate()
                await process.wait()

    asyncio.run(story())


async def require_tell(ready_file: Path) -> None:
    """`ocn-fast tell` says what came of a step, and fails where its call did."""
    status, said = await tell(str(ready_file), "locations", f"to={CPO}", "limit=50")
    assert status == 0, said
    assert json.loads(said)["data"] == ["LOC1", "LOC2", "LOC3", "LOC4", "LOC5"]
    status, said = await tell(str(ready_file), "locations", "to=FR/XXX")
    assert status == 1
    assert json.loads(said)["sent"][0]["ocpi"] == 4001
    status, said = await tell(str(ready_file), "locations")
    assert status == 1
    assert said.startswith("ocn-fast: ")


async def tell(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *PARTY[:-1], "tell", *arguments, "--json", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate()
    return process.returncode, (out or errors).decode()


def state_of(party: PartyProcess) -> State:
    return msgspec.json.decode((party.folder / "state.json").read_bytes(), type=State)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.05)
