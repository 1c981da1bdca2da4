"""The network that is measured: `ocn-fast serve`, and nginx as back end and as plain proxy.

Both parties are the same nginx: it answers versions, details and every message with constants, so it costs
next to nothing and what is seen is the relay. Its signed answer is one constant too: the signature of an
answer covers the answer's body, not the request, so one correctly signed answer is correct for all.
Everything listens on loopback and ends with the `with` block.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import BenchError
from bench.messages import CPO, KEYS, MSP
from ocn_fast import _native, keyfiles, notary
from ocn_fast.registry import snapshot

_START_S = 300.0
_STOP_S = 10.0
_SETTLE_S = 0.1
_STAMP = "2026-03-01T08:30:00Z"
_ROLES = {CPO: "CPO", MSP: "EMSP"}
_MODULES = {
    CPO: (("sessions", "SENDER"), ("locations", "SENDER"), ("commands", "RECEIVER")),
    MSP: (("sessions", "RECEIVER"), ("locations", "RECEIVER"), ("commands", "SENDER")),
}


@dataclass(frozen=True)
class Server:
    """A process with its address."""

    url: str
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass(frozen=True)
class Backend(Server):
    """The nginx that plays both parties."""

    urls: dict[tuple[str, str], str]
    answers: dict[tuple[str, str], bytes]
    """What each party answers to every message."""

    questions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """The next gives how often it has been asked for its count."""

    def requests(self, since: int = 0) -> int:
        """How many requests it has got, less an earlier answer of this method.

        Waits until no more come: what a generator that has ended left on its way still arrives.
        """
        deadline = time.monotonic() + _STOP_S
        last = self._count()
        time.sleep(_SETTLE_S)
        while (now := self._count()) != last:
            if time.monotonic() > deadline:
                raise BenchError("requests come that nobody sends")
            last = now
            time.sleep(_SETTLE_S)
        return now - since

    def _count(self) -> int:
        # Each question is a request, too.
        return int(_get(f"{self.url}/status").split()[9]) - next(self.questions)


@contextlib.contextmanager
def backend(folder: Path, *, signed: bool) -> Iterator[Backend]:
    """nginx as back end; `signed`: whether the parties sign their answers."""
    status, *ports = free_ports(3)
    servers = [f"server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}"]
    urls, answers = {}, {}
    for port, party in zip(ports, (CPO, MSP), strict=True):
        urls[party] = base = f"http://127.0.0.1:{port}"
        answers[party] = _answer(KEYS[party] if signed else None)
        versions = _ocpi([{"version": "2.2.1", "url": f"{base}/2.2.1"}])
        endpoints = [
            {"identifier": module, "role": role, "url": f"{base}/2.2.1/{module}"}
            for module, role in (("credentials", "SENDER"), *_MODULES[party])
        ]
        details = _ocpi({"version": "2.2.1", "endpoints": endpoints})
        servers.append(f"""server {{
            listen 127.0.0.1:{port};
            default_type application/json;
            location = /versions {{ {_constant(versions)} }}
            location = /2.2.1 {{ {_constant(details)} }}
            location / {{ {_constant(answers[party])} }}
        }}""")
    with _nginx(folder, "\n".join(servers), status) as pid:
        yield Backend(f"http://127.0.0.1:{status}", pid, urls, answers)


def _answer(key: bytes | None) -> bytes:
    body = _ocpi({"result": "ACCEPTED", "timeout": 30})
    if key is None:
        return body
    return notary.attach(body, notary.sign(notary.Values(None, None, body), key).serialize())


@contextlib.contextmanager
def plain_proxy(folder: Path, target: str) -> Iterator[Server]:
    """nginx as a reverse proxy that does nothing else: what a bare relay costs."""
    (port,) = free_ports(1)
    servers = f"""
        upstream target {{ server {target.removeprefix("http://")}; keepalive 128; }}
        server {{
            listen 127.0.0.1:{port};
            location / {{
                proxy_pass http://target;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
            }}
        }}"""
    with _nginx(folder, servers, port) as pid:
        yield Server(f"http://127.0.0.1:{port}", pid)


@dataclass(frozen=True)
class Registry:
    """The signed file that nodes of one network read, and who signs it."""

    file: Path
    key: bytes
    operators: tuple[snapshot.Operator, ...]
    parties: tuple[snapshot.Party, ...]

    @property
    def signer(self) -> str:
        return _native.address_of(self.key)

    def text(self, block: int = 1, more: int = 0, moved: int = 0) -> bytes:
        """Signed: the parties of the network and `more` made-up ones; `moved` of these have a new key in
        every block."""
        first = self.operators[0].address
        strangers = (
            snapshot.Party(*_id(number), _address(number, block if number < moved else 0), first, ("CPO",))
            for number in range(more)
        )
        listed = snapshot.Snapshot(
            network="bench",
            chain_id=0,
            contract=None,
            block=block,
            block_hash=None,
            time=_STAMP,
            operators=self.operators,
            parties=(*self.parties, *strangers),
        )
        return snapshot.sign(listed, self.key)


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _id(number: int) -> tuple[str, str]:
    """The id of a made-up party; none of ours is in XA to XZ."""
    country_code, rest = divmod(number, 36**3)
    digits = [_DIGITS[rest // 36**place % 36] for place in (2, 1, 0)]
    return f"X{_DIGITS[10 + country_code]}", "".join(digits)


def _address(number: int, turn: int) -> str:
    return "0x" + hashlib.sha256(b"%d %d" % (number, turn)).hexdigest()[:40]


@dataclass(frozen=True)
class Node(Server):
    """A running node with its parties registered."""

    tokens: dict[tuple[str, str], str]
    """The parties' tokens towards the node, in Base64."""
    registry: Registry
    folder: Path


@dataclass(frozen=True)
class Plan:
    """What a network is measured for."""

    homes: Sequence[Sequence[tuple[str, str]]] = ((CPO, MSP),)
    """For each node, the parties that use it."""
    signed: bool = True
    """Whether messages must be signed."""
    workers: int = 1
    in_flight: int = 512
    """Messages from one party, or to one, that may be under way."""
    strangers: int = 0
    """Made-up parties in the registry beside ours."""
    settings: str = ""
    """More of the settings file, whole tables."""


@contextlib.contextmanager
def nodes(folder: Path, parties: Backend, plan: Plan) -> Iterator[list[Node]]:
    """`ocn-fast serve` for each of `plan.homes`, with all parties registered by the handshake."""
    folder.mkdir()
    ports = free_ports(len(plan.homes))
    homes = [folder / f"{number}" for number in range(len(ports))]
    operators = []
    for home, port in zip(homes, ports, strict=True):
        home.mkdir()
        address = keyfiles.create_node_key(home / "node.key")
        keyfiles.create_key_ring(home / "keyring.json")
        keyfiles.create_admin_key(home / "admin.key")
        operators.append(snapshot.Operator(address, f"http://127.0.0.1:{port}"))
    listed = tuple(
        snapshot.Party(*party, _native.address_of(KEYS[party]), operator.address, (_ROLES[party],))
        for operator, home in zip(operators, plan.homes, strict=True)
        for party in home
    )
    registry = Registry(folder / "registry.txt", _native.new_key(), tuple(operators), listed)
    snapshot.write(registry.file, registry.text(more=plan.strangers))
    with contextlib.ExitStack() as stack:
        started = []
        for home, operator, members in zip(homes, operators, plan.homes, strict=True):
            _configure(home, operator.domain, registry, plan)
            process = stack.enter_context(serving(home))
            started.append((home, operator.domain, process.pid, members))
        running = []
        for home, url, pid, members in started:
            admin = (home / "admin.key").read_text().strip()
            tokens = {party: _register(url, admin, party, parties) for party in members}
            running.append(Node(url, pid, tokens, registry, home))
        yield running


def _configure(home: Path, url: str, registry: Registry, plan: Plan) -> None:
    (home / "ocn-fast.toml").write_text(f"""
        [node]
        url = "{url}"
        country_code = "DE"
        party_id = "HUB"
        dev = true
        [http]
        port = {url.rpartition(":")[2]}
        workers = {plan.workers}
        [signatures]
        required = {str(plan.signed).lower()}
        [limits]
        in_flight_per_platform = {plan.in_flight}
        in_flight_per_receiver = {plan.in_flight}
        [links]
        per_platform = 10000000
        [registry]
        file = "{registry.file}"
        file_signers = ["{registry.signer}"]
        poll_s = 1
        {plan.settings}
    """)


@contextlib.contextmanager
def serving(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The node of a folder, from ready to ended."""
    ready = home / "ready.json"
    command = [sys.executable, "-m", "ocn_fast", "serve", "--config", str(home / "ocn-fast.toml")]
    command += ["--ready-file", str(ready)]
    with (home / "log").open("wb") as log, running(command, log) as process:
        until(ready.exists, process, home / "log")
        yield process


@contextlib.contextmanager
def plain_relay(folder: Path, parties: Backend) -> Iterator[Node]:
    """The plain-Python relay, one worker, with the same parties and made-up tokens."""
    folder.mkdir()
    (port,) = free_ports(1)
    tokens = {party: authorization(secrets.token_urlsafe(32)) for party in (CPO, MSP)}
    config = [
        {
            "country_code": party[0],
            "party_id": party[1],
            "address": _native.address_of(KEYS[party]),
            "token": f"Token {tokens[party]}",
            "endpoint": f"{parties.urls[party]}/2.2.1",
            "token_there": f"Token {secrets.token_urlsafe(32)}",
        }
        for party in (CPO, MSP)
    ]
    (folder / "parties.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--http", "1", "--loop", "uvloop"]
    command += ["--no-ws", "--backpressure", "4096", "--workers", "1", "--no-log"]
    command += ["--port", str(port), "bench.plain.app:app"]
    environment = os.environ | {"PLAIN_RELAY_PARTIES": str(folder / "parties.json")}
    with (folder / "log").open("wb") as log, running(command, log, environment) as process:
        until(lambda: _listens(port), process, folder / "log")
        registry = Registry(folder / "none", b"", (), ())
        yield Node(f"http://127.0.0.1:{port}", process.pid, tokens, registry, folder)


def _register(url: str, admin: str, party: tuple[str, str], parties: Backend) -> str:
    """Registers a party as a stranger would; returns its token towards the node, in Base64."""
    country_code, party_id = party
    named = {"parties": [{"country_code": country_code, "party_id": party_id}]}
    made = _call("POST", f"{url}/admin/registration-tokens", f"Token {admin}", named)
    entry = {
        "role": _ROLES[party],
        "country_code": country_code,
        "party_id": party_id,
        "business_details": {"name": f"Bench {party_id}"},
    }
    credentials = {
        "token": secrets.token_urlsafe(32),
        "url": f"{parties.urls[party]}/versions",
        "roles": [entry],
    }
    token_a = f"Token {authorization(made['token'])}"
    answer = _call("POST", f"{url}/ocpi/2.2.1/credentials", token_a, credentials)
    if answer["status_code"] != 1000:
        raise BenchError(f"{party_id} could not register: {answer}")
    return authorization(answer["data"]["token"])


def authorization(token: str) -> str:
    """An OCPI token as it stands behind `Token `."""
    return base64.b64encode(token.encode()).decode()


def free_ports(count: int) -> list[int]:
    """Ports that are free now, held open together so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _ocpi(data: Any) -> bytes:
    envelope = {"status_code": 1000, "status_message": "Success", "timestamp": _STAMP}
    if data is not None:
        envelope["data"] = data
    return json.dumps(envelope, separators=(",", ":")).encode()


def _constant(body: bytes) -> str:
    """The directive that answers with these bytes."""
    text = body.decode()
    if "'" in text or "$" in text or "\\" in text:
        raise BenchError("an answer with characters that nginx would read itself")
    return f"return 200 '{text}';"


@contextlib.contextmanager
def _nginx(folder: Path, servers: str, port: int) -> Iterator[int]:
    """One nginx with one worker of its own folder; yields the pid of its master."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
    if program is None:
        raise BenchError("nginx is not on the path")
    folder.mkdir()
    config = folder / "nginx.conf"
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; keepalive_requests 1000000; keepalive_timeout 300s; {paths}
            client_body_buffer_size 512k; large_client_header_buffers 8 64k;
            {servers}
        }}""")
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with (folder / "log").open("wb") as log, running(command, log) as process:
        until(lambda: _listens(port), process, folder / "log")
        yield process.pid


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Any,
    environment: dict[str, str] | None = None,
    stop_s: float = _STOP_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the `with` block: asked first, killed after `stop_s` seconds."""
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, start_s: float = _START_S
) -> None:
    """Returns once the condition holds. Raises BenchError if the process ends or takes too long."""
    deadline = time.monotonic() + start_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.005)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_STOP_S) as answer:
        text: str = answer.read().decode()
        return text


def _call(method: str, url: str, token: str, document: Any) -> Any:
    headers = {
        "Authorization": token,
        "Content-Type": "application/json",
        "X-Request-ID": secrets.token_hex(8),
        "X-Correlation-ID": secrets.token_hex(8),
    }
    request = urllib.request.Request(url, json.dumps(document).encode(), headers, method=method)
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_START_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            # A node that has just begun with a large registry still writes it down.
            if error.code != 503 or time.monotonic() > deadline:
                raise BenchError(f"{method} {url}: {error.code} {error.read()[:500]!r}") from None
        time.sleep(_SETTLE_S)
