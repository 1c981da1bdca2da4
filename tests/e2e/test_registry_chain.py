"""A running node whose registry is on a chain: changes arrive; a stopped chain shows, and stops nothing."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Running, make_node, running, until
from web3 import HTTPProvider, Web3

from ocn_fast import keyfiles
from tools_found import Anvil
from world import Actor, World


class Network:
    """A chain with our contracts and a node that is listed there."""

    def __init__(self, folder: Path, anvil: Anvil) -> None:
        self.anvil = anvil
        self.world = World(Web3(HTTPProvider(anvil.url)))
        self.node = make_node(folder)
        self.operator = Actor(keyfiles.read_node_key(folder / "node.key", dev=True))
        anvil.call("anvil_autoImpersonateAccount", True)
        anvil.call("anvil_setBalance", self.operator.address, hex(10**20))
        self.world.node(self.operator, "https://node.example.org")
        self.world.party(self.world.a, "AAA", self.operator)

    def flags(self, **more: Any) -> list[str]:
        values = {
            "rpc": self.anvil.url,
            "chain_id": self.anvil.chain_id,
            "contract": self.world.registry.address,
            "permissions": self.world.permissions.address,
            "poll_s": 0.2,
            "rpc_timeout_ms": 500,
        }
        return [f"registry.{name}={value}" for name, value in (values | more).items()]


@pytest.fixture
def network(tmp_path: Path, start_anvil: Callable[..., Anvil]) -> Network:
    return Network(tmp_path / "node", start_anvil())


def health(node: Running, path: str = "/health") -> dict[str, Any]:
    """What it says; the status is always 200."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.port}{path}", timeout=10) as answer:
        assert answer.status == 200
        found: dict[str, Any] = json.load(answer)
        return found.get("data", found)


def metric(node: Running, name: str) -> float:
    """One figure of /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(name + " ")]
    return float(line.rpartition(" ")[2])


def test_I09_F21_F24_REG72_the_registry_of_a_running_node_is_that_of_its_chain(network: Network) -> None:
    world, anvil = network.world, network.anvil
    with running(network.node, *network.flags(age_warn_s=5)) as node:
        until(lambda: health(node)["registry"]["chain"] is not None)
        registry = health(node)["registry"]
        assert (registry["operators"], registry["parties"]) == (1, 1)
        # One change, in the table of a worker a moment after its block.
        world.party(world.b, "BBB", network.operator)
        mined = time.monotonic()
        until(lambda: health(node)["registry"]["parties"] == 2)
        assert time.monotonic() - mined < 10
        until(lambda: health(node)["registry"]["block"] == world.web3.eth.block_number)
        said = health(node)
        registry, chain = said["registry"], said["registry"]["chain"]
        assert registry["block_hash"] == "0x" + bytes(world.web3.eth.get_block("latest")["hash"]).hex()
        assert (chain["lag"], chain["error"], chain["brake"], chain["waiting"]) == (0, "", 0, 0)
        assert [(one["url"], one["state"]) for one in chain["endpoints"]] == [(anvil.url, "good")]
        assert "node.example.org, node.url is" in chain["own"]
        assert metric(node, "ocn_fast_registry_block") == registry["block"]
        assert metric(node, "ocn_fast_registry_lag_blocks") == 0
        assert metric(node, "ocn_fast_registry_own_fault") == 1
        assert metric(node, 'ocn_fast_registry_endpoint_good{endpoint="0"}') == 1
        # Without blocks it grows old, says so, and serves.
        anvil.stop()
        until(lambda: health(node)["status"] == "degraded")
        until(lambda: "no whole answer" in health(node)["registry"]["chain"]["error"])
        assert health(node)["registry"]["age_s"] > 5
        assert health(node, "/health/ready") == {"status": "ready"}
        assert health(node)["registry"]["parties"] == 2
        assert metric(node, "ocn_fast_registry_age_seconds") > 5
    # It starts without the chain, and follows as soon as there is one.
    with running(network.node, *network.flags(age_warn_s=86_400)) as node:
        assert health(node)["registry"]["parties"] == 2
        anvil.go_on()
        world.party(world.c, "CCC", network.operator)
        until(lambda: health(node)["registry"]["parties"] == 3)
        until(lambda: health(node)["status"] == "ok")


def test_A104_a_node_does_not_start_on_the_wrong_chain(network: Network) -> None:
    with (
        pytest.raises(AssertionError, match="serves chain 9, expected is 10"),
        running(network.node, *network.flags(chain_id=10)),
    ):
        pass
