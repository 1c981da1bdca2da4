"""The processes of a node: start, restart of what dies, end, and every reason not to start."""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import HERE, Running, admin_key, alive, children, make_node, running, until

PLANTED = [sys.executable, str(HERE / "planted.py")]
QUICK = ("relay.connect_ms=500", "relay.deadline_ms=900", "relay.node_deadline_ms=1000", "shutdown.grace_s=1")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return make_node(tmp_path / "node")


def get(node: Running, path: str, timeout: float = 60) -> tuple[int, str]:
    """Status and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def pids(node: Running, count: int) -> set[int]:
    """The process ids of so many workers, as they answer."""
    found: set[int] = set()

    def all_seen() -> bool:
        found.add(int(get(node, "/")[1]))
        return len(found) >= count

    until(all_seen, what=f"answers of {count} workers")
    return found


class Slow:
    """A request in flight: known to be with which worker, answered or cut."""

    def __init__(self, node: Running, seconds: float) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        # A first answer tells which worker holds this connection.
        self._connection.request("GET", "/")
        self.worker = int(self._connection.getresponse().read())
        self._connection.request("GET", f"/slow?{seconds}")
        self.outcome = ""
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self.outcome = self._connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            self.outcome = "cut"

    def join(self) -> str:
        self._thread.join(60)
        return self.outcome


def listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# -- start


def test_port_zero_and_the_ready_file(settings: Path) -> None:
    with running(settings, "http.workers=2", command=PLANTED) as node:
        assert node.port > 0
        assert node.url == f"http://127.0.0.1:{node.port}"
        assert len(pids(node, 2)) == 2
        assert get(node, "/health/ready")[0] == 200
        started = children(node.process.pid)
        node.process.terminate()
        assert node.process.wait(30) == 0
    assert not (settings.parent / "ready.json").exists()
    assert not listening(node.port)
    until(lambda: not any(alive(child) for child in started), 5, "the end of all children")


def test_A127_A128_no_secret_in_command_lines_and_environments_and_no_core_dumps(settings: Path) -> None:
    secrets = [
        admin_key(settings),
        (settings.parent / "node.key").read_text().strip(),
        (settings.parent / "keyring.json").read_text().partition('"key": "')[2][:64],
    ]
    with running(settings, command=PLANTED) as node:
        pids(node, 1)
        for process in [node.process.pid, *children(node.process.pid)]:
            for name in ("cmdline", "environ"):
                text = Path(f"/proc/{process}/{name}").read_text()
                assert not any(secret in text for secret in secrets)
            assert resource.prlimit(process, resource.RLIMIT_CORE) == (0, 0)
        assert not any(secret in node.log.read_text() for secret in secrets)


def test_tls_by_flags(settings: Path) -> None:
    certificate, key = self_signed(settings.parent)
    flags = (f"http.tls_cert_file={certificate}", f"http.tls_key_file={key}")
    with running(settings, *flags, command=PLANTED) as node:
        trust = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("localhost", node.port, timeout=30, context=trust)
        connection.request("GET", "/health/ready")
        assert connection.getresponse().status == 200
        assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")
        connection.close()
        with pytest.raises((OSError, http.client.HTTPException)):
            get(node, "/health/ready", timeout=10)


@pytest.mark.parametrize("count", [1, 3])
def test_each_worker_has_http_runtime_threads(settings: Path, count: int) -> None:
    with running(settings, f"http.runtime_threads={count}", command=PLANTED) as node:
        [worker] = pids(node, 1)
        names = [(thread / "comm").read_text().strip() for thread in Path(f"/proc/{worker}/task").iterdir()]
        assert names.count("tokio-rt-worker") == count


def test_an_idle_connection_is_closed_after_header_timeout_ms(settings: Path) -> None:
    with running(settings, "http.header_timeout_ms=1000", command=PLANTED) as node:
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
        connection.request("GET", "/")
        connection.getresponse().read()
        begun = time.monotonic()
        assert connection.sock.recv(1) == b""
        assert time.monotonic() - begun > 0.5
        connection.close()


# -- restart


def test_F01_a_killed_worker_cuts_only_its_own_requests_and_is_replaced(settings: Path) -> None:
    with running(settings, "http.workers=2", command=PLANTED) as node:
        before = pids(node, 2)
        flights = [Slow(node, 4) for _ in range(8)]
        while len({flight.worker for flight in flights}) < 2:
            flights.append(Slow(node, 4))
        victim = flights[0].worker
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        until(lambda: int(get(node, "/")[1]) not in before, 5, "a new worker")
        assert time.monotonic() - killed < 5
        for flight in flights:
            assert flight.join() == ("cut" if flight.worker == victim else str(flight.worker))


def test_F01_a_killed_keeper_is_replaced(settings: Path) -> None:
    with running(settings, command=PLANTED) as node:
        first = until(node.keeper, what="the keeper")
        os.kill(first, signal.SIGKILL)
        until(lambda: node.keeper() not in (None, first), 10, "a new keeper")
        assert get(node, "/")[0] == 200


def test_F07_five_deaths_in_a_minute_end_the_node(settings: Path) -> None:
    with running(settings, command=PLANTED) as node:
        for _ in range(5):
            worker = next(iter(pids_when_up(node)))
            os.kill(worker, signal.SIGKILL)
            until(lambda worker=worker: not alive(worker), what="its death")  # type: ignore[misc]
        assert node.process.wait(30) == 1
        assert any(line["event"] == "crash loop" for line in node.lines())


def pids_when_up(node: Running) -> set[int]:
    """The process ids of a worker, as soon as one answers."""
    found: set[int] = set()

    def answered() -> bool:
        try:
            found.add(int(get(node, "/")[1]))
        except (OSError, http.client.HTTPException):
            return False
        return True

    until(answered, what="an answer")
    return found


def test_children_die_with_a_supervisor_that_is_killed(settings: Path) -> None:
    with running(settings, "http.workers=2", command=PLANTED) as node:
        pids(node, 2)
        started = children(node.process.pid)
        assert len(started) >= 3
        node.process.kill()
        node.process.wait()
        until(lambda: not any(alive(child) for child in started), 10, "the end of all children")


# -- end


def test_F04_SIGTERM_drains_finishes_what_is_in_flight_and_exits_0(settings: Path) -> None:
    with running(settings, "http.workers=2", "shutdown.drain_s=5", command=PLANTED) as node:
        pids(node, 2)
        flights = [Slow(node, 6.5) for _ in range(8)]
        node.process.terminate()
        until(lambda: get(node, "/health/ready")[0] == 503, 5, "readiness off while still accepting")
        assert node.process.wait(30) == 0
        assert [flight.join() for flight in flights] == [str(flight.worker) for flight in flights]
        assert not listening(node.port)


def test_F04_SIGTERM_while_workers_still_start_cuts_nothing_and_exits_0(settings: Path) -> None:
    # Ready is a node with its first worker; the others are on their way then.
    with running(settings, "http.workers=6") as node:
        node.process.terminate()
        assert node.process.wait(60) == 0
        assert not listening(node.port)


def test_F04_SIGTERM_just_before_the_event_loop_runs_is_not_lost(settings: Path, tmp_path: Path) -> None:
    planted = {"PLANTED_APP": "create_late", "PLANTED_FIRST": str(tmp_path / "first")}
    with running(settings, "http.workers=2", command=PLANTED, environment=planted) as node:
        asked = time.monotonic()
        node.process.terminate()
        assert node.process.wait(60) == 0
        # Not at the end of the grace time, by force.
        assert time.monotonic() - asked < 20


def test_F04_a_worker_that_starts_during_the_drain_is_not_cut_and_ends_no_drain(settings: Path) -> None:
    with running(settings, "http.workers=6", "shutdown.drain_s=3") as node:
        asked = time.monotonic()
        node.process.terminate()
        until(lambda: get(node, "/health/ready")[0] == 503, 5, "readiness off")
        assert node.process.wait(60) == 0
        assert time.monotonic() - asked >= 3
        assert not any("died" in line["event"] for line in node.lines())


def test_ctrl_c_ends_in_order_although_all_processes_get_it(settings: Path) -> None:
    with running(settings, "http.workers=2", "shutdown.drain_s=2", command=PLANTED) as node:
        pids(node, 2)
        flights = [Slow(node, 3) for _ in range(8)]
        for process in [node.process.pid, *children(node.process.pid)]:
            os.kill(process, signal.SIGINT)
        until(lambda: get(node, "/health/ready")[0] == 503, 2, "readiness off while still accepting")
        assert node.process.wait(30) == 0
        assert [flight.join() for flight in flights] == [str(flight.worker) for flight in flights]
        assert not any("died" in line["event"] for line in node.lines())


def test_F05_what_outlives_the_grace_time_is_cut_and_the_status_says_so(settings: Path) -> None:
    with running(settings, *QUICK, command=PLANTED) as node:
        flight = Slow(node, 60)
        asked = time.monotonic()
        node.process.terminate()
        assert node.process.wait(30) == 1
        # One second of grace, one more by the rule, and some for a busy machine.
        assert time.monotonic() - asked < 5
        assert flight.join() == "cut"
        assert any("did not finish" in line["event"] for line in node.lines())


def test_F05_a_second_SIGTERM_ends_at_once(settings: Path) -> None:
    with running(settings, command=PLANTED) as node:
        flight = Slow(node, 60)
        node.process.terminate()
        until(lambda: any("Shutting down" in line["event"] for line in node.lines()), what="the first")
        asked = time.monotonic()
        node.process.terminate()
        assert node.process.wait(30) == 1
        assert time.monotonic() - asked < 5
        assert flight.join() == "cut"


# -- every reason not to start


def refused(settings: Path, *flags: str) -> str:
    """The one line that `ocn-fast serve` ends with, status 1."""
    pairs = [argument for flag in ("http.port=0", *flags) for argument in ("--set", flag)]
    command = [sys.executable, "-m", "ocn_fast", "serve", "-c", str(settings), *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    # Log lines may stand before it.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    line = lines[0]
    assert line.startswith("ocn-fast: ")
    assert done.stdout == ""
    return line


def edit(settings: Path, old: str, new: str) -> None:
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))


def weak_admin_key(settings: Path) -> None:
    (settings.parent / "admin.key").write_text("changeme\n")


def no_admin_key(settings: Path) -> None:
    (settings.parent / "admin.key").unlink()


def open_node_key(settings: Path) -> None:
    (settings.parent / "node.key").chmod(0o644)


def linked_key_ring(settings: Path) -> None:
    ring = settings.parent / "keyring.json"
    ring.rename(settings.parent / "elsewhere.json")
    ring.symlink_to(settings.parent / "elsewhere.json")


def unknown_key(settings: Path) -> None:
    edit(settings, "required =", "requird =")


def http_without_dev(settings: Path) -> None:
    edit(settings, "dev = true\n", "")


def newer_schema(settings: Path) -> None:
    with sqlite3.connect(settings.parent / "ocn-fast.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()


def no_database_folder(settings: Path) -> None:
    edit(settings, "ocn-fast.db", "nowhere/ocn-fast.db")


def bad_registry(settings: Path) -> None:
    (settings.parent / "registry").write_text("ocn-fast-registry/1\n{}\n0x00\n")
    edit(settings, "# [registry]", '[registry]\nfile = "registry"')


def no_registry(settings: Path) -> None:
    edit(settings, "# [registry]", '[registry]\nfile = "registry"')


def bad_certificate(settings: Path) -> None:
    shutil.copy(settings, settings.parent / "cert.pem")
    edit(settings, "port = 0", 'port = 0\ntls_cert_file = "cert.pem"\ntls_key_file = "cert.pem"')


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (weak_admin_key, "admin.key: must hold at least 32 characters"),
        (no_admin_key, "admin.key: is missing"),
        (open_node_key, "chmod 600"),
        (linked_key_ring, "keyring.json: is a symlink"),
        (unknown_key, "signatures.requird: is not a setting; did you mean signatures.required?"),
        (http_without_dev, "node.url: is not https"),
        (newer_schema, "written by a newer version"),
        (no_database_folder, "cannot be created"),
        (bad_registry, "third line must be the signature"),
        (no_registry, "cannot be read"),
        (bad_certificate, "cert.pem: http.tls_cert_file"),
    ],
)
def test_I23_A115_A126_A129_A145_F47_a_faulty_set_up_exits_1_with_one_line(
    settings: Path, fault: Callable[[Path], None], said: str
) -> None:
    fault(settings)
    assert said in refused(settings)


def test_I23_a_port_that_is_taken_exits_1(settings: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        flags = (f"http.port={port}", f"node.url=http://127.0.0.1:{port}")
        assert f"cannot listen on 127.0.0.1:{port}" in refused(settings, *flags)


def test_I23_two_nodes_never_share_a_port(settings: Path, tmp_path: Path) -> None:
    with running(settings, command=PLANTED) as node:
        other = make_node(tmp_path / "other")
        assert "cannot listen" in refused(other, f"http.port={node.port}", f"node.url={node.url}")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"
