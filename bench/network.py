"""The network that is measured: `ocn-fast serve`, and nginx as back end and as plain proxy.

Both parties are the same nginx: it answers versions, details and every message with constants, so it costs
next to nothing and what is seen is the relay. Its signed answer is one constant too: the signature of an
answer covers the answer's body, not the request, so one correctly signed answer is correct for all.
Everything listens on loopback and ends with the `with` block.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import BenchError
from ocn_fast import _native, keyfiles, notary
from ocn_fast.registry import snapshot

_START_S = 30.0
_STOP_S = 10.0
_STAMP = "2026-03-01T08:30:00Z"
CPO = ("DE", "CPO")
MSP = ("DE", "MSP")
Keys = dict[tuple[str, str], bytes]


@dataclass(frozen=True)
class Answer:
    """What the receiver answers to every message."""

    body: bytes

    @classmethod
    def plain(cls) -> Answer:
        return cls(_ocpi(None))

    @classmethod
    def signed(cls, key: bytes) -> Answer:
        body = _ocpi(None)
        text = notary.sign(notary.Values(None, None, body), key).serialize("brotli")
        return cls(notary.attach(body, text))


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

    cpo: str
    msp: str

    def requests(self, since: int = -1) -> int:
        """How many requests it has got since an earlier answer of this method, this question not counted."""
        return int(_get(f"{self.url}/status").split()[9]) - since - 1


@contextlib.contextmanager
def backend(folder: Path, answer: Answer) -> Iterator[Backend]:
    """nginx as back end."""
    status, cpo, msp = free_ports(3)
    servers = [f"server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}"]
    for port, side in ((cpo, "SENDER"), (msp, "RECEIVER")):
        base = f"http://127.0.0.1:{port}"
        versions = _ocpi([{"version": "2.2.1", "url": f"{base}/2.2.1"}])
        endpoints = [{"identifier": "credentials", "role": "SENDER", "url": f"{base}/2.2.1/credentials"}]
        endpoints += [
            {"identifier": module, "role": side, "url": f"{base}/2.2.1/{module}"}
            for module in ("sessions", "locations", "cdrs", "tariffs")
        ]
        details = _ocpi({"version": "2.2.1", "endpoints": endpoints})
        servers.append(f"""server {{
            listen 127.0.0.1:{port};
            default_type application/json;
            location = /versions {{ {_constant(versions)} }}
            location = /2.2.1 {{ {_constant(details)} }}
            location / {{ {_constant(answer.body)} }}
        }}""")
    with _nginx(folder, "\n".join(servers), status) as pid:
        yield Backend(f"http://127.0.0.1:{status}", pid, f"http://127.0.0.1:{cpo}", f"http://127.0.0.1:{msp}")


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
class Node(Server):
    """A running node that both parties are registered with."""

    token: str
    """The CPO's token towards the node."""


@contextlib.contextmanager
def node(folder: Path, parties: Backend, keys: Keys, *, signed: bool) -> Iterator[Node]:
    """`ocn-fast serve`, one worker, with both parties registered by the handshake.

    `keys`: the signing keys of the parties. `signed`: whether messages must be signed.
    """
    folder.mkdir()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    operator = keyfiles.create_node_key(folder / "node.key")
    keyfiles.create_key_ring(folder / "keyring.json")
    keyfiles.create_admin_key(folder / "admin.key")
    listed = snapshot.Snapshot(
        network="bench",
        chain_id=0,
        contract=None,
        block=1,
        block_hash=None,
        time=_STAMP,
        operators=(snapshot.Operator(operator, url),),
        parties=tuple(
            snapshot.Party(*party, _native.address_of(key), operator, (role,))
            for (party, key), role in zip(keys.items(), ("CPO", "EMSP"), strict=True)
        ),
    )
    signer = _native.new_key()
    snapshot.write(folder / "registry.txt", snapshot.sign(listed, signer))
    config = folder / "ocn-fast.toml"
    config.write_text(f"""
        [node]
        url = "{url}"
        country_code = "DE"
        party_id = "HUB"
        dev = true
        [http]
        port = {port}
        [signatures]
        required = {str(signed).lower()}
        [limits]
        in_flight_per_receiver = 512
        [registry]
        file = "registry.txt"
        file_signers = ["{_native.address_of(signer)}"]
    """)
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "ocn_fast", "serve", "--config", str(config), "--ready-file", str(ready)]
    with (folder / "log").open("wb") as log, _process(command, log) as process:
        _wait(ready.exists, process, folder / "log")
        admin = (folder / "admin.key").read_text().strip()
        token = _register(url, admin, CPO, "CPO", f"{parties.cpo}/versions")
        _register(url, admin, MSP, "EMSP", f"{parties.msp}/versions")
        yield Node(url, process.pid, token)


def _register(url: str, admin: str, party: tuple[str, str], role: str, versions: str) -> str:
    """Registers a party as a stranger would; returns its token towards the node."""
    country_code, party_id = party
    named = {"parties": [{"country_code": country_code, "party_id": party_id}]}
    made = _call("POST", f"{url}/admin/registration-tokens", f"Token {admin}", named)
    entry = {
        "role": role,
        "country_code": country_code,
        "party_id": party_id,
        "business_details": {"name": f"Bench {party_id}"},
    }
    credentials = {"token": secrets.token_urlsafe(32), "url": versions, "roles": [entry]}
    answer = _call("POST", f"{url}/ocpi/2.2.1/credentials", authorization(made["token"]), credentials)
    if answer["status_code"] != 1000:
        raise BenchError(f"{party_id} could not register: {answer}")
    token: str = answer["data"]["token"]
    return token


def authorization(token: str) -> str:
    """The header's value for an OCPI token."""
    return "Token " + base64.b64encode(token.encode()).decode()


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
            client_body_buffer_size 64k;
            {servers}
        }}""")
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with (folder / "log").open("wb") as log, _process(command, log) as process:
        _wait(lambda: _listens(port), process, folder / "log")
        yield process.pid


@contextlib.contextmanager
def _process(command: Sequence[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(condition: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.02)


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
    try:
        with urllib.request.urlopen(request, timeout=_START_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise BenchError(f"{method} {url}: {error.code} {error.read()[:500]!r}") from None
