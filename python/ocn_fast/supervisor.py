"""`ocn-fast serve`: checks everything, then runs the keeper and Granian's workers until it is told to stop.

    supervisor ─┬─ keeper    the background process; first of all, schema and first registry import, whose
                │            failure ends the start
                └─ workers   `http.workers` times the app, HTTP in, native relay; they import what they
                             need meanwhile, and wait for the schema

Children are started again when they die; five deaths in a minute end the node with status 1, for whoever
watches it to see. They die with the supervisor, however it ends. SIGTERM or SIGINT: readiness goes off for
`shutdown.drain_s`, workers stop accepting and finish what is in flight within `shutdown.grace_s`, then the
keeper ends, and the status is 0. A second signal ends everything at once.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import granian._signals
import msgspec
from granian._granian import SocketHolder, WorkerSignal
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes, SSLProtocols, TaskImpl
from granian.http import HTTP1Settings
from granian.server import MPServer

from ocn_fast import keyfiles, lifecycle, logs
from ocn_fast.config import Settings, Shutdown
from ocn_fast.errors import ConfigError

APP = "ocn_fast.app:create"
CRASHES = 5
CRASH_WINDOW_S = 60.0
KEEPER_GRACE_S = 5.0
_HEAD_ROOM = 64 * 1024
"""What the parser may buffer beyond `http.header_bytes`, so that the node itself refuses a longer head."""
_BACKLOG = 1_024
_PROBE_S = 0.05
_LOG_CONFIG: dict[str, Any] = {
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}, "granian.access": {"handlers": []}},
}


def serve(settings: Settings, *, ready_file: Path | None = None, app: str = APP) -> int:
    """Runs a node until a signal ends it; returns the exit status.

    `ready_file` is written (JSON: url, port, pid) once the node answers `/health/ready`. `app` is the
    factory of the ASGI application, as `module:name`; tests put theirs in its place.

    Raises ConfigError for whatever keeps the node from starting.
    """
    lifecycle.harden()
    check(settings)
    logs.configure(settings.log, "supervisor")
    try:
        for line in [*settings.warnings(), *keyfiles.exposures(_open_files(settings))]:
            logs.get().warning("set-up", text=line)
        # Fresh interpreters instead of forks: this process has threads, and a fork would copy their locks.
        multiprocessing.set_start_method("spawn", force=True)
        # They import the main module of their parent; ours, the command line, is not for workers.
        sys.modules["__main__"] = ModuleType("__main__")
        with _listen(settings.http.host, settings.http.port) as listener:
            settings = _with_port(settings, listener.getsockname()[1])
            os.environ[lifecycle.SETTINGS_VARIABLE] = settings.to_json()
            return _Supervisor(settings, app, ready_file, listener).run()
    finally:
        logs.get().info("stopped")
        logs.flush()


def check(settings: Settings) -> None:
    """What must be right before anything starts: keys, their files, certificates. Raises ConfigError."""
    keyfiles.read_node_key(settings.node.key_file, dev=settings.node.dev)
    keyfiles.read_key_ring(settings.node.key_ring_file)
    keyfiles.read_admin_key(settings.admin.key_file, settings.admin.key_chars)
    check_certificates(settings)


def check_certificates(settings: Settings) -> None:
    """Whether certificate, its key and the further authorities can be used. Raises ConfigError."""
    http = settings.http
    if http.tls_cert_file is not None:
        try:
            # Without a password here, an encrypted key would ask for one on the terminal.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(http.tls_cert_file, http.tls_key_file, password="")
        except OSError as error:
            text = f"holds no certificate chain that fits http.tls_key_file: {error.strerror or error}"
            raise ConfigError(text, source=http.tls_cert_file, key="http.tls_cert_file") from None
    if settings.outbound.ca_file is not None:
        try:
            ssl.create_default_context(cafile=settings.outbound.ca_file)
        except OSError as error:
            text = f"holds no certificates: {error.strerror or error}"
            raise ConfigError(text, source=settings.outbound.ca_file, key="outbound.ca_file") from None


def _open_files(settings: Settings) -> dict[str, str]:
    """Files without keys that others should not be able to read either."""
    return {"database": settings.store.url.partition(":///")[2]}


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket that all workers share.

    One queue for all: what waits in it when a worker dies is served by the others. (With a listener for each
    worker the kernel resets the connections that wait at a dead one.)
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        text = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise ConfigError(text, key="http.port") from None
    listener.setblocking(False)
    return listener


def _with_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that was really taken, also in a URL that left it open."""
    replace = msgspec.structs.replace
    url = urlsplit(settings.node.url)
    node = settings.node
    if url.port == 0:
        netloc = f"{url.netloc.rpartition(':')[0]}:{port}"
        node = replace(node, url=url._replace(netloc=netloc).geturl())
    return replace(settings, node=node, http=replace(settings.http, port=port))


class _Crashes:
    """Counts deaths of children: one restart too many is a crash loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=CRASHES)
        self._lock = threading.Lock()

    def add(self) -> bool:
        """Notes one; True if that makes too many."""
        with self._lock:
            self._times.append(self._clock())
            return len(self._times) == CRASHES and self._times[-1] - self._times[0] < CRASH_WINDOW_S


_DRAIN_AGAIN_S = 0.25
_NOTED_S = 0.001
_NOTHING_CUT = {0, -signal.SIGTERM}
"""How workers end that owe nobody an answer. The signal ends one that was still starting: whoever serves
handles it."""


class _Workers(MPServer):
    """Granian's server with our socket, and our rules for restarts and for the end."""

    def __init__(self, listener: socket.socket, crashes: _Crashes, times: Shutdown, **options: Any) -> None:
        super().__init__(**options)
        self._sso = listener
        self._crashes = crashes
        self._times = times
        self.failed = False

    def _init_shared_socket(self) -> None:
        """Granian would make a listener in each worker; ours goes to all of them (`_work`)."""

    def stop(self, *, failed: bool = False) -> None:
        """Ends the serve loop; from any thread."""
        self.failed = self.failed or failed
        self.interrupt_signal = True
        self.main_loop_interrupt.set()

    def signal_handler_interrupt(self, *_: Any) -> None:
        if self.interrupt_signal:
            logs.get().warning("second signal: ending at once")
            self.failed = True
            for worker in list(self.wrks):
                worker.interrupt_by_parent = True
                worker.inner.kill()
        self.stop()

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        while True:
            self.main_loop_interrupt.wait()
            self.main_loop_interrupt.clear()
            if self.interrupt_signal:
                break
            dead = sorted(set(self.interrupt_children))
            self.interrupt_children.clear()
            for index in dead:
                logs.get().error("worker died", worker=index + 1, exit_code=self.wrks[index].inner.exitcode)
                if self._crashes.add():
                    logs.get().error("crash loop", deaths=CRASHES, seconds=CRASH_WINDOW_S)
                    self.stop(failed=True)
            if dead and not self.interrupt_signal:
                self._respawn_workers(dead, spawn_target, target_loader)
            self.reload_signal = False
        for worker in self.wrks:
            # From here on a death is no reason to start another one, but for the status to say so.
            worker.interrupt_by_parent = True
        self._drain()

    def _drain(self) -> None:
        end = time.monotonic() + self._times.drain_s
        # A worker that is still starting ignores the signal: it is told again.
        while not self.failed and time.monotonic() < end:
            self._tell(lifecycle.DRAIN_SIGNAL)
            # A second signal to us sets the event.
            self.main_loop_interrupt.wait(min(_DRAIN_AGAIN_S, end - time.monotonic()))
            self.main_loop_interrupt.clear()

    def _stop_workers(self) -> None:
        """Ends all workers, within the grace time or by force, and notes whether anything was cut."""
        ending = [worker.inner for worker in self.wrks]
        self._tell(signal.SIGTERM)
        end = time.monotonic() + self._times.grace_s
        for process in ending:
            process.join(max(0, end - time.monotonic()))
        for number, process in enumerate(ending, start=1):
            if process.is_alive():
                logs.get().warning("worker did not finish within shutdown.grace_s", worker=number)
        self._tell(signal.SIGKILL)
        # Another thread waits for each of them too, and may be about to note the status when `join` returns.
        while any(process.exitcode is None for process in ending):
            time.sleep(_NOTED_S)
        self.failed = self.failed or any(process.exitcode not in _NOTHING_CUT for process in ending)
        self.wrks.clear()
        # Granian would end with status 1 because of them.
        self.interrupt_children.clear()

    def _tell(self, number: signal.Signals) -> None:
        for worker in self.wrks:
            if worker.inner.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(worker.inner.pid, number)


def _work(worker: int, name: str, loader: Any, sockets: Any, *options: Any) -> None:
    """A worker's process: Granian's, on the listener that it got from the supervisor."""
    granian._signals.set_loop_signals = _end_on_signal
    _, listener = sockets
    # Granian closes what it holds: it takes the descriptor over.
    holder = SocketHolder(listener.detach(), False, _BACKLOG)  # type: ignore[call-arg]  # not in its stub
    MPServer._spawn_asgi_lifespan_worker(worker, name, loader, ((None, holder), None), *options)


def _end_on_signal(_loop: Any) -> WorkerSignal:
    """In the place of Granian's, which lets the event loop listen: uvloop loses what arrives between two runs
    of it, of which a worker's start has two."""
    event = WorkerSignal()

    def end(number: int, _frame: object) -> None:
        # Setting it thrice would block for ever.
        signal.signal(number, signal.SIG_IGN)
        event.set()

    signal.signal(signal.SIGTERM, end)
    return event


def _load(target: str, parent: int, prepared: Connection) -> Any:
    """What a worker runs first: ties itself to the supervisor, then makes the app. The other end of
    `prepared` is closed once there is a schema."""
    lifecycle.belong_to(parent)
    lifecycle.harden()
    lifecycle.watch_drain()
    settings = Settings.from_json(os.environ[lifecycle.SETTINGS_VARIABLE])
    logs.configure(settings.log, "worker")
    module, _, name = target.partition(":")
    # Importing makes much that stays, and no cycles to search for: a tenth of its time.
    gc.disable()
    factory = getattr(importlib.import_module(module), name)
    gc.enable()
    prepared.poll(None)
    return factory()


class _Supervisor:
    """The children of one node, from start to end."""

    def __init__(
        self, settings: Settings, app: str, ready_file: Path | None, listener: socket.socket
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._app = app
        self._ready_file = ready_file
        self._crashes = _Crashes()
        self._ending = threading.Event()
        self._turn = threading.Lock()
        """Held while a keeper is started: none is started once the end has begun."""
        self._keeper: subprocess.Popen[bytes] | None = None
        self._fault: str | None = None

    def run(self) -> int:
        if self._ready_file is not None:
            self._ready_file.unlink(missing_ok=True)
        self._start_keeper("--prepare", stdout=subprocess.PIPE)
        prepared, preparing = multiprocessing.Pipe(duplex=False)
        workers = self._make_workers()
        # Granian installs its handlers only after its own start; a signal before that must not be lost.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, workers.signal_handler_interrupt)
        # Children inherit it: the drain does not end a worker that has no handler for it yet.
        signal.signal(lifecycle.DRAIN_SIGNAL, signal.SIG_IGN)
        watch = threading.Thread(target=self._watch_keeper, args=(workers, preparing), name="keeper")
        probe = threading.Thread(target=self._announce, name="ready", daemon=True)
        watch.start()
        probe.start()
        try:
            load = partial(_load, self._app, os.getpid(), prepared)
            workers.serve(spawn_target=_work, target_loader=load, wrap_loader=False)
        finally:
            self._stop_keeper()
            watch.join()
            if self._ready_file is not None:
                self._ready_file.unlink(missing_ok=True)
        if self._fault is not None:
            raise ConfigError(self._fault)
        return 1 if workers.failed else 0

    def _make_workers(self) -> _Workers:
        http = self._settings.http
        return _Workers(
            self._listener,
            self._crashes,
            self._settings.shutdown,
            target=self._app,
            factory=True,
            address=http.host,
            port=http.port,
            interface=Interfaces.ASGI,
            workers=http.workers,
            runtime_mode=RuntimeModes.mt,
            runtime_threads=http.runtime_threads,
            loop=Loops.uvloop,
            task_impl=TaskImpl.asyncio,
            http=HTTPModes.http1,
            websockets=False,
            backpressure=http.connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=http.header_timeout_ms,
                max_buffer_size=http.header_bytes + _HEAD_ROOM,
            ),
            log_dictconfig=_LOG_CONFIG,
            ssl_cert=None if http.tls_cert_file is None else Path(http.tls_cert_file),
            ssl_key=None if http.tls_key_file is None else Path(http.tls_key_file),
            ssl_protocol_min=SSLProtocols.tls12,
            respawn_failed_workers=True,
            workers_kill_timeout=self._settings.shutdown.grace_s,
        )

    def _start_keeper(self, *options: str, stdout: int | None = None) -> None:
        with self._turn:
            if not self._ending.is_set():
                self._keeper = subprocess.Popen([*_keeper_command(), *options], stdout=stdout)

    def _watch_keeper(self, workers: _Workers, preparing: Connection) -> None:
        """Lets the workers go on once all is prepared, and starts another keeper whenever one dies. This
        thread lives as long as the process does: the keeper would die with it."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline()
        if workers.interrupt_signal:
            # Told to end before the start was over: by a signal that the keeper may have got as well.
            return
        if said.decode(errors="replace").strip() != lifecycle.PREPARED:
            text = (said + self._keeper.stdout.read()).decode(errors="replace").strip()
            status = self._keeper.wait()
            self._fault = text or f"the keeper ended with status {status} before the start"
            workers.stop(failed=True)
            return
        preparing.close()
        while True:
            status = self._keeper.wait()
            if self._ending.is_set():
                return
            logs.get().error("keeper died", exit_code=status)
            if self._crashes.add():
                logs.get().error("crash loop", deaths=CRASHES, seconds=CRASH_WINDOW_S)
                workers.stop(failed=True)
                return
            self._start_keeper()

    def _stop_keeper(self) -> None:
        with self._turn:
            self._ending.set()
        keeper = self._keeper
        if keeper is None:
            return
        keeper.terminate()
        try:
            keeper.wait(KEEPER_GRACE_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()

    def _announce(self) -> None:
        """Waits until the node answers that it is ready, says so, and writes the ready file."""
        http = self._settings.http
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104
        name = f"[{host}]" if ":" in host else host
        scheme = "https" if http.tls_cert_file is not None else "http"
        opener = _opener()
        while not self._ending.is_set():
            if _answers(opener, f"{scheme}://{name}:{http.port}/health/ready"):
                break
            self._ending.wait(_PROBE_S)
        else:
            return
        logs.get().info("ready", url=self._settings.node.url, host=http.host, port=http.port)
        if self._ready_file is not None:
            ready = {"url": self._settings.node.url, "port": http.port, "pid": os.getpid()}
            beside = self._ready_file.with_name(self._ready_file.name + ".new")
            beside.write_text(json.dumps(ready) + "\n")
            beside.replace(self._ready_file)


def _keeper_command() -> list[str]:
    return [sys.executable, "-m", "ocn_fast.keeper", "--parent", str(os.getpid())]


def _opener() -> urllib.request.OpenerDirector:
    # Our own certificate may carry any name: this asks whether we are up, not who we are.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def _answers(opener: urllib.request.OpenerDirector, url: str) -> bool:
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
