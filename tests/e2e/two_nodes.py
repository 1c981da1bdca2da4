"""Two running nodes that find each other through one signed registry file, and what lies between them.

The registry names a `Proxy` as the domain of each node: all that goes to a node passes through it, and it can
alter, drop, repeat or exchange what passes. A third operator, `stranger`, is listed too. It is no node but a
key and a scripted peer, so that a test can send what a node of ours never would.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

from peers import ROLES, Network, Peer, Reply
from processes import free_port, running, until
from signed import Line, raw_request, signed_answer, signing

from ocn_fast import _native, keyfiles
from ocn_fast.cli.init import write_node
from ocn_fast.registry import snapshot

DOOR = "/ocn/relay/"
SESSION = f"{DOOR}session"
"""Where a node asks for a session key: behind the same door, and no message."""
NODE_A = ("MSP", "MS2")
NODE_B = ("CPO", "CP2")
STRANGER = "EXT"
"""The party of the operator that is only a key."""


@dataclass(frozen=True)
class Message:
    """An HTTP message, taken apart: its first line, its header fields as they came, its body."""

    line: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def read(cls, stream: BufferedReader) -> Message | None:
        """The next one of a connection; None at its end. Chunks are put together."""
        line = stream.readline()
        if not line.endswith(b"\r\n"):
            return None
        fields = []
        while (field := stream.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
        message = cls(line.decode("latin-1").rstrip("\r\n"), tuple(fields), b"")
        if message.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                stream.readline()
            stream.readline()
            return message.without("transfer-encoding").carrying(body)
        return replace(message, body=stream.read(int(message.get("content-length") or 0)))

    @property
    def raw(self) -> bytes:
        """The bytes."""
        lines = [self.line, *(f"{name}: {value}" for name, value in self.fields)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.line.split(" ")[1])

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.fields if key.lower() == name), None)

    def having(self, name: str, value: str) -> Message:
        """With this value in the place of the header's, or behind all others."""
        fields = [(key, value if key.lower() == name else old) for key, old in self.fields]
        return replace(self, fields=tuple(fields if self.get(name) is not None else [*fields, (name, value)]))

    def without(self, name: str) -> Message:
        return replace(self, fields=tuple(field for field in self.fields if field[0].lower() != name))

    def carrying(self, body: bytes) -> Message:
        """With another body, of the length that is said."""
        return replace(self, body=body).having("content-length", str(len(body)))


@dataclass(frozen=True)
class Exchange:
    """What came to a proxy, and what the node behind it answered, both before anything was altered."""

    request: Message
    answer: Message


def unaltered(message: Message) -> Message:
    return message


def answered(_: Message, answer: Message) -> Message | None:
    return answer


class Proxy:
    """The way to one node."""

    def __init__(self, target: int) -> None:
        self.exchanges: list[Exchange] = []
        """What passed through the node door since the last `altering` began, requests for sessions apart."""
        self.asked: list[Exchange] = []
        """Requests for sessions; they pass unaltered."""
        self._target = target
        self._request: Callable[[Message], Message] = unaltered
        self._answer: Callable[[Message, Message], Message | None] = answered
        self._connections: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody gets through meanwhile."""
        self.close()
        try:
            yield
        finally:
            self._listener = self._listen(self.port)

    @contextmanager
    def altering(
        self,
        request: Callable[[Message], Message] = unaltered,
        answer: Callable[[Message, Message], Message | None] = answered,
    ) -> Iterator[list[Exchange]]:
        """What passes through the node door is altered by these; an answer of None closes the connection.

        `answer` gets the request as it came, and the answer. Gives what passes meanwhile.
        """
        self._request, self._answer = request, answer
        self.exchanges = []
        try:
            yield self.exchanges
        finally:
            self._request, self._answer = unaltered, answered

    def send(self, message: Message) -> Message:
        """Sends one message to the node, as if it came this way; its answer."""
        with socket.create_connection(("127.0.0.1", self._target), timeout=60) as connection:
            connection.sendall(message.raw)
            got = Message.read(connection.makefile("rb"))
            assert got is not None, "the node closed the connection"
            return got

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            stream = connection.makefile("rb")
            while (request := Message.read(stream)) is not None:
                answer = self._pass(request)
                if answer is None:
                    break
                connection.sendall(answer.raw)
        self._connections.discard(connection)

    def _pass(self, request: Message) -> Message | None:
        if not request.target.startswith(DOOR):
            return self.send(request)
        if request.target == SESSION:
            answer = self.send(request)
            self.asked.append(Exchange(request, answer))
            return answer
        exchanges = self.exchanges
        answer = self.send(self._request(request))
        exchanges.append(Exchange(request, answer))
        return self._answer(request, answer)

    def close(self) -> None:
        """Stops listening and closes every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Node:
    """One of the two: its network, the way to it, and its key."""

    net: Network
    proxy: Proxy
    key: bytes

    @property
    def address(self) -> str:
        return _native.address_of(self.key)

    def __getitem__(self, party: str) -> Peer:
        return self.net[party]

    def ask(self, **request: Any) -> Reply:
        """One message of a party of this node; arguments as of `raw_request`."""
        with Line(self.net) as line:
            return Reply(*line.exchange(raw_request(self.net, **request)))

    def path(self, url: str) -> str:
        """What follows the node's own address in a URL of it."""
        assert url.startswith(f"{self.proxy.url}/"), url
        return url.removeprefix(self.proxy.url)


class Nodes:
    """Both nodes, the operator that is only a key, and the registry that lists all three."""

    def __init__(
        self, stack: ExitStack, registry: Path, ways: Mapping[str, str], operators: Mapping[str, bytes]
    ) -> None:
        self.stranger = Peer(STRANGER)
        self.stranger_key = operators["stranger"]
        self._stack = stack
        self._registry = registry
        self._block = 0
        self._domains = {"a": ways["a"], "b": ways["b"], "stranger": self.stranger.url}
        self._operators = dict(operators)
        self.homes: dict[str, str] = dict.fromkeys(NODE_A, "a") | dict.fromkeys(NODE_B, "b")
        self.homes[STRANGER] = "stranger"
        self._keys = {party: os.urandom(32) for party in self.homes}
        self.a: Node
        self.b: Node

    def peers(self, parties: Sequence[str]) -> dict[str, Peer]:
        """Platforms of these parties, with the keys that the registry names."""
        peers = {party: Peer(party) for party in parties}
        for party, peer in peers.items():
            peer.key = self._keys[party]
        return peers

    def write_registry(self) -> int:
        """Signs the registry as it is now; returns its block."""
        self._block += 1
        address = {name: _native.address_of(key) for name, key in self._operators.items()}
        content = snapshot.Snapshot(
            network="test",
            chain_id=0,
            contract=None,
            block=self._block,
            block_hash=None,
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            operators=tuple(snapshot.Operator(address[name], url) for name, url in self._domains.items()),
            parties=tuple(
                snapshot.Party(
                    "DE", party, _native.address_of(key), address[home], (ROLES.get(party, "CPO"),)
                )
                for (party, key), home in zip(self._keys.items(), self.homes.values(), strict=True)
            ),
        )
        text = snapshot.sign(content, self.stranger_key)
        fresh = self._registry.with_suffix(".new")
        snapshot.write(fresh, text)
        fresh.replace(self._registry)
        return self._block

    def restart(self, node: Node) -> None:
        """Ends all processes of a node without a word and starts it again."""
        node.net.kill()
        node.net.node = self._stack.enter_context(running(node.net.settings, *node.net.flags))

    def move(self, party: str, home: str) -> None:
        """Lists a party under another operator, and waits until both nodes know."""
        self.homes[party] = home
        self._publish()

    def relist(self, operator: str, domain: str) -> None:
        """Lists an operator under another domain, and waits until both nodes know."""
        self._domains[operator] = domain
        self._publish()

    def _publish(self) -> None:
        block = self.write_registry()
        for node in (self.a, self.b):
            until(partial(self._knows, node, block), what="the new registry")

    @staticmethod
    def _knows(node: Node, block: int) -> bool:
        """Of the worker that answers; tests that move parties run one."""
        health = node.net.call("GET", "/health", {}).document
        return int(health["registry"]["block"]) >= block


@contextmanager
def receiving(peer: Peer, respond: Callable[[bytes], bytes] | None = None) -> Iterator[list[Message]]:
    """All requests that the peer gets meanwhile; it answers them signed, or as told."""
    seen: list[Message] = []

    def reply(raw: bytes) -> bytes:
        request = Message.read(BufferedReader(BytesIO(raw)))
        assert request is not None
        seen.append(request)
        return respond(raw) if respond else signed_answer(peer)

    with peer.play(signing(peer, reply)):
        yield seen


@contextmanager
def two_nodes(
    folder: Path, *flags: str, a: Sequence[str] = (), b: Sequence[str] = (), required: bool = False
) -> Iterator[Nodes]:
    """Two nodes with two parties each. `flags` are settings of both, `a` and `b` of one.

    `required` says whether messages must be signed by their parties.
    """
    registry = folder / "registry.snapshot"
    operators = {"stranger": os.urandom(32)}
    settings, ports, proxies = {}, {}, {}
    with ExitStack() as stack:
        for name in ("a", "b"):
            hub = f"HU{name.upper()}"
            made = write_node(
                folder / name, url="http://127.0.0.1:0", country_code="DE", party_id=hub, dev=True
            )
            settings[name] = made.settings
            operators[name] = keyfiles.read_node_key(str(folder / name / "node.key"), dev=True)
            # The way to a node is listed before it runs, and is the same after a restart.
            ports[name] = free_port()
            proxies[name] = Proxy(ports[name])
            stack.callback(proxies[name].close)
        nodes = Nodes(stack, registry, {name: proxy.url for name, proxy in proxies.items()}, operators)
        stack.callback(nodes.stranger.close)
        nodes.write_registry()
        for name, parties, own in (("a", NODE_A, a), ("b", NODE_B, b)):
            every = (
                f"http.port={ports[name]}",
                f"node.url={proxies[name].url}",
                f"signatures.required={str(required).lower()}",
                f"registry.file={registry}",
                f"registry.file_signers={_native.address_of(nodes.stranger_key)}",
                "registry.poll_s=1",
                *flags,
                *own,
            )
            peers = nodes.peers(parties)
            for peer in peers.values():
                stack.callback(peer.close)
            started = stack.enter_context(running(settings[name], *every))
            net = Network(started, settings[name], every, peers)
            for peer in peers.values():
                net.register(peer)
            setattr(nodes, name, Node(net, proxies[name], operators[name]))
        yield nodes
