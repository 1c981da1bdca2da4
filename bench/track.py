"""One row of relayed messages: what is sent to which node, proven correct, then timed."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import messages, network, openloop
from bench.measure import BenchError, Row, cpu_seconds, family, memory_bytes, thread_seconds
from bench.messages import CPO, KEYS, MSP, Batch
from ocn_fast import _native, notary

_SCRIPT = Path(__file__).with_name("wrk.lua")
_LOADED_PER_S = 6_000
"""Most requests that wrk loads for a second of a run: more than a node relays in it."""
_LANES = 16


@dataclass
class Track:
    """One row and what it is run against."""

    row: Row
    target: Sequence[network.Server]
    """Where messages go first, and the other nodes on their way."""
    receiver: network.Backend
    batch: Batch
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    connections: int = 64
    rate: float | None = None
    """Messages a second; None: as fast as answers come."""
    at: int = 0
    """Messages used so far: the next run goes on behind them."""

    @property
    def token(self) -> str:
        return self.tokens.get(self.batch.sender, messages.TOKEN)

    @property
    def answer(self) -> bytes:
        return self.receiver.answers[MSP if self.batch.sender == CPO else CPO]

    async def check(self, most: int) -> None:
        """Sends a part of the messages and looks at every answer; then one that was tampered with.

        Raises BenchError unless each is answered by the receiver, and it got them all, and only them.
        """
        name = self.row.name
        before = self.receiver.requests()
        count = min(most, self.batch.count)
        sent = list(messages.read(self.batch.file(), self.token, self.at, count))
        self.at += count
        lanes = [sent[lane::_LANES] for lane in range(_LANES)]
        answers = await asyncio.gather(*(_send(self.target[0].port, lane) for lane in lanes))
        received = self.receiver.requests(before)
        wrong = [body for lane in answers for body in lane if body != self.answer]
        if wrong:
            raise BenchError(f"{name}: {len(wrong)} of {len(sent)} answers are wrong: {wrong[0]!r}")
        if received != len(sent):
            raise BenchError(f"{name}: {len(sent)} sent, {received} at the receiver")
        if not self.batch.signed:
            return
        body, signature = notary.detach(answers[0][0])
        receiver = MSP if self.batch.sender == CPO else CPO
        verdict = notary.verify(signature or "", notary.response_values({}, body))
        if verdict.origin != _native.address_of(KEYS[receiver]):
            raise BenchError(f"{name}: an answer was not signed by the receiver")
        (refused,) = await _send(self.target[0].port, [_tampered(sent[-1])])
        if refused == self.answer or self.receiver.requests(before) != received:
            raise BenchError(f"{name}: a message that was tampered with was delivered")

    def run(self, seconds: int) -> dict[str, float]:
        """One run: figures for its row. Raises BenchError unless every message reached the receiver.

        Whole seconds: wrk knows no others.
        """
        command = self._closed_loop(seconds) if self.rate is None else self._open_loop(self.rate, seconds)
        pids = [pid for server in self.target for pid in family(server.pid)]
        before, cpu, threads = self.receiver.requests(), cpu_seconds(pids), thread_seconds(pids)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu, after = cpu_seconds(pids) - cpu, thread_seconds(pids)
        received = self.receiver.requests(before)
        if done.returncode != 0:
            raise BenchError(f"{command[0]} failed: {done.stderr}")
        if not received:
            raise BenchError(f"{self.row.name}: nothing came through in {seconds} s")
        told = json.loads(done.stdout.strip().rpartition("\n")[2])
        figures = self._closed(told, received) if self.rate is None else self._open(told, received)
        self.at = (self.at + received) % self.batch.count
        used = (after[thread] - threads.get(thread, 0.0) for thread in after)
        return figures | {
            "cpu": cpu * 1e6 / received,
            "memory": memory_bytes(pids) / 1e6,
            # Of the time in which messages came: wrk reads its file before.
            "busiest": 100 * max(used) * figures["per_second"] / received,
        }

    def _closed_loop(self, seconds: int) -> list[str]:
        connections = str(self.connections)
        command = ["wrk", "--threads", "1", "--connections", connections, "--duration", f"{seconds}s"]
        command += ["--timeout", "15s", "--script", str(_SCRIPT), self.target[0].url, "--"]
        count = min(self.batch.count, _LOADED_PER_S * seconds)
        return [*command, str(self.batch.file()), str(self.at), str(count), messages.TOKEN, self.token]

    def _open_loop(self, rate: float, seconds: float) -> list[str]:
        port, file = self.target[0].port, self.batch.file()
        return openloop.command(port, file, self.token, self.at, rate, seconds)

    def _open(self, told: dict[str, Any], received: int) -> dict[str, float]:
        """Rate, and latencies in milliseconds."""
        lost = told["answered"] != told["sent"] or received < told["sent"]
        if told["bad"] or (lost and not told["behind"]):
            raise BenchError(f"{self.row.name}: {told}, {received} at the receiver")
        self.row.note = "did not hold the rate" if told["behind"] else self.row.note
        times = {name: told[name] * 1e3 for name in ("p50", "p99", "p999", "lag_p99")}
        return {"per_second": told["answered"] / told["seconds"], **times}

    def _closed(self, told: dict[str, Any], received: int) -> dict[str, float]:
        """Rate, and latencies in milliseconds."""
        # What is on its way when the time is up reaches the receiver but is counted by nobody else.
        if told["bad"] or told["failed"] or not 0 <= received - told["requests"] <= self.connections:
            raise BenchError(f"{self.row.name}: {told}, {received} at the receiver")
        times = {name: told[name] / 1e3 for name in ("p50", "p99", "p999")}
        return {"per_second": told["requests"] * 1e6 / told["microseconds"], **times}


def _tampered(request: bytes) -> bytes:
    """With another date in its body."""
    head, end, body = request.partition(b"\r\n\r\n")
    changed = body.replace(b'"last_updated":"2026', b'"last_updated":"2025')
    if changed == body:
        raise BenchError("a message in which there is nothing to tamper with")
    return head + end + changed


async def _send(port: int, requests: Sequence[bytes]) -> list[bytes]:
    """Bodies of the answers to these requests, one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    bodies = []
    for request in requests:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        bodies.append(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return bodies
