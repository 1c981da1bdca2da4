"""Sends requests at a fixed rate, whatever comes back: `python -m bench.openloop` in a process of its own.

Each message has a moment at which it is due. Its latency runs from that moment to the last byte of its
answer, also where it had to wait for a connection because others took long: a stall of the relay is seen by
all messages that fell due in it (no coordinated omission). One thread, one `select`; how late the generator
itself came to know that a message was due is part of the latency, and told as `lag`.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from bench import messages

_GRACE_S = 15.0
"""For answers that are still out when the last message has been sent."""
_BACKLOG_S = 5.0
"""A relay that is so far behind does not hold the rate: there is no point in going on."""


@dataclass
class _Connection:
    socket: socket.socket
    due: float = 0.0
    buffer: bytes = b""

    def send(self, request: bytes, due: float) -> None:
        self.due, self.buffer = due, b""
        self.socket.setblocking(True)
        self.socket.sendall(request)
        self.socket.setblocking(False)

    def status(self) -> int | None:
        """Reads what has come; the answer's status once all of it is there. Raises ConnectionError."""
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise ConnectionError("the relay closed a connection")
        self.buffer += piece
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return int(head[9:12]) if len(body) >= length else None


@dataclass
class Outcome:
    """Of one run; times in seconds."""

    sent: int
    bad: int
    seconds: float
    latencies: list[float]
    lags: list[float]
    behind: bool = False
    """Whether the relay fell so far behind that the run was ended."""

    def to_builtins(self) -> dict[str, float | int | bool]:
        latencies, lags = sorted(self.latencies), sorted(self.lags)
        return {
            "sent": self.sent,
            "answered": len(latencies),
            "bad": self.bad,
            "behind": self.behind,
            "seconds": self.seconds,
            "p50": _percentile(latencies, 50),
            "p99": _percentile(latencies, 99),
            "p999": _percentile(latencies, 99.9),
            "worst": latencies[-1] if latencies else 0.0,
            "lag_p99": _percentile(lags, 99),
        }


def _percentile(ordered: list[float], percent: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def run(port: int, requests: Iterable[bytes], rate: float, seconds: float, connections: int) -> Outcome:
    """Sends `rate * seconds` of the requests over so many connections to loopback."""
    total = int(rate * seconds)
    prepared = list(islice(requests, total))
    idle = [_Connection(_connected(port)) for _ in range(connections)]
    busy: dict[socket.socket, _Connection] = {}
    waiting: deque[int] = deque()
    outcome = Outcome(0, 0, 0.0, [], [])
    start = time.perf_counter() + 0.01
    next_one = 0
    clock = time.perf_counter
    while next_one < total or waiting or busy:
        now = clock()
        while next_one < total and start + next_one / rate <= now:
            waiting.append(next_one)
            outcome.lags.append(now - (start + next_one / rate))
            next_one += 1
        while waiting and idle:
            number = waiting.popleft()
            connection, due = idle.pop(), start + number / rate
            connection.send(prepared[number % len(prepared)], due)
            busy[connection.socket] = connection
            outcome.sent += 1
        overdue = waiting and now - (start + waiting[0] / rate) > _BACKLOG_S
        if overdue or now > start + seconds + _GRACE_S:
            outcome.behind = True
            break
        pause = 1.0 if next_one >= total else max(0.0, start + next_one / rate - clock())
        for ready in select.select(list(busy), [], [], pause)[0]:
            connection = busy[ready]
            status = connection.status()
            if status is not None:
                outcome.latencies.append(clock() - connection.due)
                outcome.bad += not 200 <= status < 300
                idle.append(busy.pop(ready))
    outcome.seconds = clock() - start
    for connection in [*idle, *busy.values()]:
        connection.socket.close()
    return outcome


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def main(
    port: Annotated[int, typer.Option()],
    file: Annotated[Path, typer.Option(help="Requests, as bench.messages writes them.")],
    token: Annotated[str, typer.Option(help="Of their sender, in Base64.")],
    rate: Annotated[float, typer.Option(help="Messages a second.")],
    seconds: Annotated[float, typer.Option()],
    first: Annotated[int, typer.Option(help="Requests of the file to leave out.")] = 0,
    connections: Annotated[int, typer.Option(max=900)] = 128,
) -> None:
    """Prints one line of JSON."""
    requests = messages.read(file, token, first, int(rate * seconds))
    json.dump(run(port, requests, rate, seconds, connections).to_builtins(), sys.stdout)


if __name__ == "__main__":
    typer.run(main)
