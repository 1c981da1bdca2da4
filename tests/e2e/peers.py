"""Scripted parties: a node with registered platforms whose APIs record every byte and can misbehave at will.

A `Peer` is a real TCP server, one thread a connection, without an HTTP library in between: what it writes is
written as it stands. `Network` is a running node with one platform that sends and one that receives.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from processes import Running, admin_key, alive, children, make_node, running, until

from ocn_fast import _native, keyfiles
from ocn_fast.registry import snapshot

VERSION = "2.2.1"
ROLES = {"MSP": "EMSP", "CPO": "CPO"}
MODULES = ("cdrs", "chargingprofiles", "commands", "locations", "sessions", "tariffs", "tokens")
NO_TLS: Mapping[str, ssl.SSLContext] = {}


def envelope(data: Any = None, *, code: Any = 1000) -> bytes:
    """An OCPI envelope as a party writes it."""
    return json.dumps({"data": data, "status_code": code, "timestamp": "2026-01-01T00:00:00Z"}).encode()


def answer(body: bytes = envelope(), *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """A whole HTTP answer with a length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Talk:
    """One connection, seen from the party."""

    def __init__(self, connection: socket.socket, received: bytearray) -> None:
        self._connection = connection
        self._unread = b""
        self._received = received

    def read(self) -> bytes:
        """Some more bytes; none at the end of the connection."""
        try:
            data = self._connection.recv(65_536)
        except OSError:
            return b""
        self._unread += data
        self._received += data
        return data

    def request(self) -> bytes | None:
        """The next whole request; None at the end of the connection."""
        while True:
            head, separator, rest = self._unread.partition(b"\r\n\r\n")
            if separator:
                fields = head.lower().split(b"\r\n")[1:]
                length = next((int(line[16:]) for line in fields if line.startswith(b"content-length: ")), 0)
                if len(rest) >= length:
                    self._unread = rest[length:]
                    return head + separator + rest[:length]
            if not self.read():
                return None

    def write(self, data: bytes) -> bool:
        """False if the other side takes no more."""
        try:
            self._connection.sendall(data)
        except OSError:
            return False
        return True

    def half_close(self) -> None:
        """Says that nothing more will be written."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes with FIN."""
        self._connection.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def until_closed(self) -> None:
        """Reads and ignores until the other side has closed."""
        while self.read():
            pass


Script = Callable[[Talk], None]
PATIENCE_S = 10.0
_UNHEARD = (1, 4)
"""States of TCP in which the other system does not know yet that we have closed: ESTABLISHED, FIN_WAIT1."""


def _is_heard(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] not in _UNHEARD


class Peer:
    """A platform's API: a well-behaved one until another script is played."""

    def __init__(self, party: str, context: ssl.SSLContext | None = None) -> None:
        self.party = party
        self.context = context
        """What it shows of itself by TLS; None speaks plain HTTP."""
        self.token_b = f"token-b-of-{party}"
        self.token_c = ""
        self.key = os.urandom(32)
        self.received: list[bytearray] = []
        """All bytes of each connection since `play` began."""
        self._script: Script = self.serve
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener = self._listen(0)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def bytes_received(self) -> bytes:
        return b"".join(self.received)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
                received = bytearray()
                self.received.append(received)
                script = self._script
            threading.Thread(target=self._run, args=(script, connection, received), daemon=True).start()

    def _run(self, script: Script, connection: socket.socket, received: bytearray) -> None:
        try:
            if self.context is not None:
                plain, connection = connection, self.context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._connections.discard(plain)
                    self._connections.add(connection)
            script(Talk(connection, received))
        except OSError:
            pass  # the other side did not like what TLS showed it, or is gone
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def serve(self, talk: Talk) -> None:
        """Answers everything as a well-behaved party does."""
        while request := talk.request():
            if not talk.write(self._respond(request)):
                return

    def _respond(self, request: bytes) -> bytes:
        path = request.split(b" ", 2)[1].decode()
        if path == "/versions":
            return answer(envelope([{"version": VERSION, "url": f"{self.url}/{VERSION}"}]))
        if path == f"/{VERSION}":
            endpoints = [{"identifier": "credentials", "role": "SENDER", "url": f"{self.url}/credentials"}]
            endpoints += [
                {"identifier": module, "role": role, "url": f"{self.url}/{role.lower()}/{module}"}
                for module in MODULES
                for role in ("SENDER", "RECEIVER")
            ]
            return answer(envelope({"version": VERSION, "endpoints": endpoints}))
        return answer()

    @contextmanager
    def play(self, script: Script) -> Iterator[None]:
        """Every connection runs this script from now on; kept ones are closed before and after."""
        self._change(script)
        try:
            yield
        finally:
            self._change(self.serve)

    def _change(self, script: Script) -> None:
        with self._lock:
            self._script = script
            self.received = []
            ended = self._hang_up()
        # A request written before the other side could know would be lost without anybody having read it.
        for handle in ended:
            with handle:
                until(lambda handle=handle: _is_heard(handle), PATIENCE_S, "the end of a connection")

    def _hang_up(self) -> list[socket.socket]:
        """Ends all connections; returns handles of them, to be closed, that show when the others know."""
        ended = []
        for connection in self._connections:
            with suppress(OSError):
                ended.append(socket.socket(fileno=os.dup(connection.fileno())))
                connection.shutdown(socket.SHUT_RDWR)
        return ended

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody listens on the port meanwhile."""
        port = self.port
        self.close()
        try:
            yield
        finally:
            self._listener = self._listen(port)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """The port takes connections no more, and refuses none: its queue is full."""
        port = self.port
        self.close()
        with socket.socket() as full:
            full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            full.bind(("127.0.0.1", port))
            full.listen(0)
            waiting: list[socket.socket] = []
            try:
                while _connects(waiting, port):
                    pass
                yield
            finally:
                for connection in waiting:
                    connection.close()
        self._listener = self._listen(port)

    def close(self) -> None:
        """Stops listening and closes every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for handle in self._hang_up():
                handle.close()


def _connects(waiting: list[socket.socket], port: int) -> bool:
    connection = socket.socket()
    connection.settimeout(0.2)
    try:
        connection.connect(("127.0.0.1", port))
    except TimeoutError:
        connection.close()
        return False
    waiting.append(connection)
    return True


@dataclass
class Reply:
    """What the node answered."""

    status: int
    headers: dict[str, str]
    body: bytes
    lines: list[tuple[str, str]] = field(default_factory=list)
    """Headers as they came, repeated ones repeated."""

    @property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def verdict(self) -> tuple[int, int, str | None]:
        """HTTP status, OCPI status, and what the node says about delivery."""
        return self.status, self.document["status_code"], self.headers.get("ocn-delivery")


class Network:
    """A running node and its platforms."""

    def __init__(self, node: Running, settings: Path, flags: Sequence[str], peers: dict[str, Peer]) -> None:
        self.node = node
        self.admin_key = admin_key(settings)
        self.settings = settings
        self.flags = flags
        self._peers = peers

    def kill(self) -> None:
        """Ends every process of the node at once, without a word."""
        processes = [self.node.process.pid, *children(self.node.process.pid)]
        for process in processes:
            os.kill(process, signal.SIGKILL)
        self.node.process.wait()
        until(lambda: not any(map(alive, processes)), what="the end of all processes")
        (self.settings.parent / "ready.json").unlink()

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """The same node once more, with its own data."""
        with running(self.settings, *self.flags) as self.node:
            yield

    def __getitem__(self, party: str) -> Peer:
        return self._peers[party]

    def call(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        *,
        seconds: float = 60,
    ) -> Reply:
        """One request to the node on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers)
            got = connection.getresponse()
            lines = [(name.lower(), value) for name, value in got.getheaders()]
            return Reply(got.status, dict(lines), got.read(), lines)
        finally:
            connection.close()

    def register(self, peer: Peer) -> None:
        """The whole handshake."""
        admin = {"authorization": f"Token {self.admin_key}", "content-type": "application/json"}
        wanted = {"parties": [{"country_code": "DE", "party_id": peer.party}]}
        issued = self.call("POST", "/admin/registration-tokens", admin, json.dumps(wanted).encode())
        assert issued.status == 201, issued.body
        token_a = issued.document.get("data", issued.document)["token"]
        credentials = {
            "token": peer.token_b,
            "url": f"{peer.url}/versions",
            "roles": [
                {
                    "role": ROLES.get(peer.party, "CPO"),
                    "country_code": "DE",
                    "party_id": peer.party,
                    "business_details": {"name": peer.party},
                }
            ],
        }
        done = self.call(
            "POST",
            f"/ocpi/{VERSION}/credentials",
            {"authorization": _token(token_a), "content-type": "application/json"},
            json.dumps(credentials).encode(),
        )
        assert done.status == 200, done.body
        assert done.document["status_code"] == 1000, done.body
        peer.token_c = done.document["data"]["token"]

    def send(
        self,
        *,
        sender: str = "MSP",
        to: str = "CPO",
        method: str = "PUT",
        path: str = f"/ocpi/receiver/{VERSION}/tokens/DE/MSP/0123",
        body: bytes | None = b'{"marker": 1}',
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """One functional message."""
        full = {
            "authorization": _token(self[sender].token_c),
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": str(uuid.uuid4()),
            "ocpi-from-country-code": "DE",
            "ocpi-from-party-id": sender,
            "ocpi-to-country-code": "DE",
            "ocpi-to-party-id": to,
        }
        if body is not None:
            full["content-type"] = "application/json"
        return self.call(method, path, full | (headers or {}), body)

    def probe(self) -> None:
        """A message passes end to end."""
        reply = self.send()
        assert (reply.status, reply.body) == (200, envelope()), reply.body


def _token(token: str) -> str:
    return "Token " + base64.b64encode(token.encode()).decode()


@contextmanager
def network(
    folder: Path,
    *flags: str,
    parties: Sequence[str] = ("MSP", "CPO"),
    contexts: Mapping[str, ssl.SSLContext] = NO_TLS,
    command: list[str] | None = None,
) -> Iterator[Network]:
    """A running node that does not require signatures, with these parties registered; some may speak TLS.

    `command` as in `running`.
    """
    settings = make_node(folder / "node")
    # The registry names the node by its URL, so the port is chosen before the start.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    peers = {party: Peer(party, contexts.get(party)) for party in parties}
    url = f"http://127.0.0.1:{port}"
    registry = folder / "registry.snapshot"
    operator = _write_registry(registry, settings, url, peers)
    own = (
        f"http.port={port}",
        f"node.url={url}",
        "signatures.required=false",
        f"registry.file={registry}",
        f"registry.file_signers={operator}",
    )
    try:
        with running(settings, *own, *flags, command=command) as node:
            net = Network(node, settings, (*own, *flags), peers)
            for peer in peers.values():
                net.register(peer)
            yield net
    finally:
        for peer in peers.values():
            peer.close()


def _write_registry(file: Path, settings: Path, url: str, peers: dict[str, Peer]) -> str:
    key = keyfiles.read_node_key(str(settings.parent / "node.key"), dev=True)
    operator = _native.address_of(key)
    content = snapshot.Snapshot(
        network="test",
        chain_id=0,
        contract=None,
        block=1,
        block_hash=None,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        operators=(snapshot.Operator(operator, url),),
        parties=tuple(
            snapshot.Party("DE", name, _native.address_of(peer.key), operator, (ROLES.get(name, "CPO"),))
            for name, peer in peers.items()
        ),
    )
    snapshot.write(file, snapshot.sign(content, key))
    return operator
