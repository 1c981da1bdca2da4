"""What a message costs of the kernel, counted: system calls of a worker, one message after the other."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from peers import VERSION, Network, network
from processes import children, until
from signed import Line, raw_request, signing

pytestmark = pytest.mark.guard

WARM_UP, COUNTED = 100, 500
PLACE = f"/ocpi/receiver/{VERSION}/sessions/DE/MSP/1"
BODY = b'{"id":"1","kwh":1.5,"note":"%b"}' % (b"-" * 1_200)

PASSING = {"recvfrom": 2.0, "writev": 2.0, "write": 7.0, "read": 3.0, "getrandom": 1.0}
"""Message and answer are each read once and written once (`recvfrom`, `writev`); an id is drawn; `write` and
`read` are of event descriptors, by which threads wake each other."""

SPREAD = 0.3
"""Timers and housekeeping, shared by so many messages. Fewer is a change too: write the new number down."""

WAITING = {"futex", "epoll_wait", "epoll_pwait", "sched_yield"}
MOST_WAITING = 40.0
"""How threads wait for each other and for the network: 24 to 32, as it happens."""

MOST_GETPID = 3.0
"""`get_running_loop` asks, up to Python 3.11; and the native runtime, whether it was forked."""


def counts(strace: str, worker: int, folder: Path, work: Callable[[], None]) -> dict[str, int]:
    """System calls of all threads of a process while that is done."""
    out = folder / "strace"
    # Hardened processes are attached to by root only.
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*as_root, strace, "--quiet=all", "-f", "-c", "-o", str(out), "-p", str(worker)]
    with subprocess.Popen(command) as tracer:
        tasks = Path(f"/proc/{worker}/task")
        until(
            lambda: all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks.iterdir()),
            what="the tracer",
        )
        try:
            work()
        finally:
            tracer.send_signal(signal.SIGINT)
    rows = [line.split() for line in out.read_text().splitlines()]
    return {row[-1]: int(row[3]) for row in rows if len(row) in (5, 6) and row[3].isdigit()}


def worker_of(net: Network) -> int:
    """The one worker of the node."""
    found = [
        child
        for child in children(net.node.process.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert len(found) == 1
    return found[0]


def test_a_signed_message_makes_as_many_system_calls_as_it_made(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    strace = tool("strace")
    # How often the worker compares its table with the store must not count: a slow machine takes longer.
    flags = ("http.workers=1", "log.level=warning", "signatures.required=true", "store.poll_ms=60000")
    with network(tmp_path, *flags) as net, net["CPO"].play(signing(net["CPO"])), Line(net) as line:
        request = raw_request(net, target=PLACE, body=BODY)

        def send(messages: int) -> None:
            for _ in range(messages):
                status, _, body = line.exchange(request)
                assert status == 200, body

        send(WARM_UP)
        made = counts(strace, worker_of(net), tmp_path, lambda: send(COUNTED))
    each = {name: times / COUNTED for name, times in made.items()}
    assert {name: each[name] for name in PASSING} == pytest.approx(PASSING, abs=SPREAD), each
    assert sum(each.get(name, 0) for name in WAITING) <= MOST_WAITING, each
    assert each.get("getpid", 0) <= MOST_GETPID, each
    known = {*PASSING, *WAITING, "getpid", "total"}
    others = {name: times for name, times in each.items() if name not in known}
    assert sum(others.values()) <= 1, others
