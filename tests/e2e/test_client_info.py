"""Two nodes keep each other informed of how their parties are connected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers import VERSION, Network, Peer, _token
from processes import free_port, make_node, running, until

from ocn_fast import _native, keyfiles
from ocn_fast.registry import snapshot

PARTIES = {"CPO": "a", "PLN": "a", "MSP": "b"}
"""Each with its node. `PLN` is listed and not connected."""


class Nodes:
    """Two running nodes that one registry lists."""

    def __init__(self, folder: Path) -> None:
        self.settings = {name: make_node(folder / name) for name in ("a", "b")}
        self.urls = {name: f"http://127.0.0.1:{free_port()}" for name in self.settings}
        self.addresses: dict[str, str] = {}
        registry = folder / "registry"
        keys = {
            name: keyfiles.read_node_key(settings.parent / "node.key", dev=True)
            for name, settings in self.settings.items()
        }
        self.addresses = {name: _native.address_of(key) for name, key in keys.items()}
        listed = snapshot.Snapshot(
            network="two",
            chain_id=1,
            contract=None,
            block=1,
            block_hash=None,
            time="2026-01-01T00:00:00Z",
            operators=tuple(snapshot.Operator(self.addresses[name], url) for name, url in self.urls.items()),
            parties=tuple(
                snapshot.Party("DE", party, self.addresses[name], self.addresses[name], ("CPO",))
                for party, name in PARTIES.items()
            ),
        )
        snapshot.write(registry, snapshot.sign(listed, keys["a"]))
        self._flags = (f"registry.file={registry}", f"registry.file_signers={self.addresses['a']}")
        self.peers = {party: Peer(party) for party in PARTIES}

    @contextmanager
    def running(self, name: str) -> Iterator[Network]:
        """One of the nodes."""
        url = self.urls[name]
        flags = (*self._flags, f"node.url={url}", f"http.port={url.rpartition(':')[2]}")
        with running(self.settings[name], *flags) as node:
            yield Network(node, self.settings[name], flags, self.peers)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        nodes = Nodes(tmp_path)
        for peer in nodes.peers.values():
            stack.callback(peer.close)
        yield nodes


def seen(net: Network, party: str) -> dict[str, str]:
    """What a party is told: status by party."""
    headers = {"authorization": _token(net[party].token_c)}
    reply = net.call("GET", f"/ocpi/{VERSION}/hubclientinfo", headers)
    assert reply.document["status_code"] == 1000, reply.body
    entries: list[dict[str, Any]] = reply.document["data"]
    return {entry["party_id"]: entry["status"] for entry in entries}


def sees(net: Network, party: str, **expected: str) -> None:
    """Waits until a party is told this of others."""
    until(lambda: expected.items() <= seen(net, party).items(), 20, f"{expected} at {party}")


def test_NODE118_NODE119_NODE123_parties_of_both_nodes_know_of_each_other(nodes: Nodes) -> None:
    with nodes.running("a") as a, nodes.running("b") as b:
        a.register(nodes.peers["CPO"])
        b.register(nodes.peers["MSP"])
        for net, party in ((a, "CPO"), (b, "MSP")):
            sees(net, party, CPO="CONNECTED", MSP="CONNECTED", PLN="PLANNED")
        headers = {"authorization": _token(nodes.peers["CPO"].token_c)}
        assert a.call("DELETE", f"/ocpi/{VERSION}/credentials", headers).status == 200
        sees(b, "MSP", CPO="SUSPENDED", PLN="PLANNED", MSP="CONNECTED")


def test_F21_a_node_that_was_away_hears_what_it_missed(nodes: Nodes) -> None:
    with nodes.running("a") as a:
        with nodes.running("b") as b:
            b.register(nodes.peers["MSP"])
            sees(b, "MSP", CPO="PLANNED")
            b.kill()
        a.register(nodes.peers["CPO"])
        with nodes.running("b") as b:
            sees(b, "MSP", CPO="CONNECTED", PLN="PLANNED")
            sees(a, "CPO", MSP="CONNECTED")


def test_A100_a_node_relays_nobody_elses_word(nodes: Nodes) -> None:
    """A client info signed by node A, sent to B, is taken; sent to A itself it is refused."""
    with nodes.running("a") as a, nodes.running("b") as b:
        b.register(nodes.peers["MSP"])
        info = {
            "party_id": "PLN",
            "country_code": "DE",
            "role": "CPO",
            "status": "OFFLINE",
            "last_updated": "2026-01-01T00:00:00Z",
        }
        body = json.dumps(info).encode()
        key = keyfiles.read_node_key(nodes.settings["a"].parent / "node.key", dev=True)
        headers = {"ocn-signature": _native.personal_sign(key, body)}
        assert a.call("PUT", "/ocn/client-info", headers, body).status == 400
        # Older than what A said itself when it started, or the first word: either way A's own word stands.
        assert b.call("PUT", "/ocn/client-info", headers, body).status in (200, 400)
        sees(b, "MSP", PLN="PLANNED")
