"""The table: rate, latency and CPU per message of the node, beside nginx, the bare curve and plain Python.

Before any figure is taken, a part of the messages goes through each row alone: every answer must be the
receiver's, byte for byte, with its signature true; the receiver must have got exactly as many requests; a
message with one character changed must be refused and not delivered. During the runs the receiver's count is
compared again. Rows take turns, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bench import messages, network, signatures
from bench.measure import BenchError, Row, cpu_seconds, family, memory_bytes
from bench.messages import CPO, KEYS, MSP, Batch
from bench.report import Column, Section
from ocn_fast import _native, notary

SCRIPT = Path(__file__).with_name("wrk.lua")
STEADY_RATE = 2_300.0
"""Messages a second: Europe's public charging at its peak."""
TITLE = "Relay"
_LOADED = 20_000
"""Most requests that wrk loads for one run: more than are sent in it."""
_BARE_S = 0.3


@dataclass(frozen=True)
class Options:
    """How long, how hard, and of what."""

    rounds: int
    seconds: float
    connections: int
    messages: int
    """Different session PUTs; large ones are fewer."""
    checked: int
    """Messages that go through each row before it is timed."""
    two_nodes: bool


@dataclass(frozen=True)
class Floor:
    """What nobody can save: passing the bytes on, and the work on the curve that the scheme asks for."""

    proxies: int = 1
    recoveries: int = 0
    signs: int = 0
    size: str = "1.2 KB"
    """Which of nginx's rows counts."""


_SIGNED = Floor(recoveries=2)
"""The request's signature and the answer's."""
_COMMAND = Floor(recoveries=2, signs=1)
"""The node signs what it rewrote."""
_TWO_NODES = Floor(proxies=2, recoveries=6, signs=2)
"""Each node judges the parties' two signatures, and one of the other node; and signs what it sends to it."""


@dataclass
class _Track:
    """One row and what it is run against."""

    row: Row
    floor: Floor
    target: Sequence[network.Server]
    """Where messages go first, and the other nodes on their way."""
    receiver: network.Backend
    batch: Batch
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
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


def measure(options: Options) -> Section:
    """All rows, interleaved: each round gives every row its turn. Raises BenchError if anything is wrong."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-bench-")))
        tracks = _tracks(stack, folder, options)
        for track in tracks:
            asyncio.run(_check(track, options))
            _run(track, options, min(1.0, options.seconds))
        bare = signatures.Bare()
        for _ in range(options.rounds):
            bare.turn(_BARE_S)
            for track in tracks:
                track.row.add(**_run(track, options, options.seconds))
    rows = [*bare.rows, *(track.row for track in tracks)]
    _add_floors(tracks, bare)
    notes = (
        f"{options.messages:,} different session PUTs of 1.2 KB (bodies of 10 and 200 KB and commands: "
        f"fewer), signed before the run; {options.connections} connections; all on one machine",
        f"{options.rounds} rounds of {options.seconds:g} s; median ± half the distance of the quartiles. CPU "
        "and memory are of all processes of the relay (PSS)",
        "x floor: CPU per message through nginx, as often as bytes are relayed, plus the recoveries and "
        "signatures that the scheme asks for, all measured in this run",
        "the node remembers no signers: there is no cache that could help",
    )
    columns = (
        Column("per_second", "messages/s"),
        Column("p50", "p50 ms", 2),
        Column("p99", "p99 ms", 2),
        Column("p999", "p99.9 ms", 2),
        Column("cpu", "us CPU each", 1),
        Column("memory", "MB"),
        Column("floors", "x floor", 2),
    )
    return Section(TITLE, columns, rows, notes)


def _tracks(stack: contextlib.ExitStack, folder: Path, options: Options) -> list[_Track]:
    open_ = stack.enter_context
    plain_end = open_(network.backend(folder / "plain-end", signed=False))
    signed_end = open_(network.backend(folder / "signed-end", signed=True))
    proxy = open_(network.plain_proxy(folder / "proxy", plain_end.urls[MSP]))

    def started(name: str, plan: network.Plan) -> list[network.Node]:
        return open_(network.nodes(folder / name, signed_end if plan.signed else plain_end, plan))

    (unsigned,) = started("unsigned", network.Plan(signed=False))
    (unsigned_2,) = started("unsigned-2", network.Plan(signed=False, workers=2))
    (signed,) = started("signed", network.Plan())
    (signed_2,) = started("signed-2", network.Plan(workers=2))
    plain_python = open_(network.plain_relay(folder / "plain-python", signed_end))

    many = options.messages
    session, bare_session = Batch("session", many), Batch("session", many, signed=False)
    large, larger = (
        [Batch(kind, max(many // part, 200), signed=sign) for sign in (False, True)]
        for kind, part in (("location-10k", 10), ("location-200k", 200))
    )
    command = Batch("start-session", max(many // 10, 200), home=signed_end.urls[MSP])

    def through_proxy(size: str, batch: Batch) -> _Track:
        return _Track(Row(f"nginx as reverse proxy, {size}"), Floor(size=size), [proxy], plain_end, batch)

    def through(name: str, node: network.Node, batch: Batch, floor: Floor) -> _Track:
        end = signed_end if batch.signed else plain_end
        return _Track(Row(name), floor, [node], end, batch, node.tokens)

    tracks = [
        through_proxy("1.2 KB", bare_session),
        through_proxy("10 KB", large[0]),
        through_proxy("200 KB", larger[0]),
        through("node, unsigned", unsigned, bare_session, Floor()),
        through("node, unsigned, two workers", unsigned_2, bare_session, Floor()),
        through("node, signed", signed, session, _SIGNED),
        through("node, signed, two workers", signed_2, session, _SIGNED),
        through("node, signed, 10 KB", signed, large[1], Floor(recoveries=2, size="10 KB")),
        through("node, signed, 200 KB", signed, larger[1], Floor(recoveries=2, size="200 KB")),
        through("node, signed, command with rewrite", signed, command, _COMMAND),
        through("plain Python, signed", plain_python, session, _SIGNED),
    ]
    if options.two_nodes:
        pair = started("pair", network.Plan(homes=((CPO,), (MSP,))))
        row = Row("node to node, signed")
        tracks.append(_Track(row, _TWO_NODES, pair, signed_end, session, pair[0].tokens))
    steady = through(f"node, signed, at a steady {STEADY_RATE:,.0f}/s", signed, session, _SIGNED)
    steady.rate = STEADY_RATE
    # Two rows share this node: they use messages from opposite ends of the file.
    steady.at = many // 2
    return [*tracks, steady]


def _add_floors(tracks: Sequence[_Track], bare: signatures.Bare) -> None:
    recover, sign = (row.median("cpu") or 0.0 for row in bare.rows)
    proxies = {track.floor.size: track.row.median("cpu") or 0.0 for track in tracks if not track.tokens}
    for track in tracks:
        floor = track.floor
        least = floor.proxies * proxies[floor.size] + floor.recoveries * recover + floor.signs * sign
        for sample in list(track.row.samples["cpu"]):
            track.row.add(floors=sample / least)


async def _check(track: _Track, options: Options) -> None:
    """Sends a part of the messages and looks at every answer; then one that was tampered with."""
    name = track.row.name
    before = track.receiver.requests()
    count = min(options.checked, track.batch.count)
    sent = list(islice(messages.read(track.batch.file(), track.token, track.at), count))
    track.at += count
    lanes = [sent[lane::16] for lane in range(16)]
    answers = await asyncio.gather(*(_send(track.target[0].port, lane) for lane in lanes))
    received = track.receiver.requests(before)
    wrong = [body for lane in answers for body in lane if body != track.answer]
    if wrong:
        raise BenchError(f"{name}: {len(wrong)} of {len(sent)} answers are wrong: {wrong[0]!r}")
    if received != len(sent):
        raise BenchError(f"{name}: {len(sent)} sent, {received} at the receiver")
    if not track.batch.signed:
        return
    body, signature = notary.detach(answers[0][0])
    receiver = MSP if track.batch.sender == CPO else CPO
    verdict = notary.verify(signature or "", notary.response_values({}, body))
    if verdict.origin != _native.address_of(KEYS[receiver]):
        raise BenchError(f"{name}: an answer was not signed by the receiver")
    (refused,) = await _send(track.target[0].port, [_tampered(sent[-1])])
    if refused == track.answer or track.receiver.requests(before) != received:
        raise BenchError(f"{name}: a message that was tampered with was delivered")


def _tampered(request: bytes) -> bytes:
    """With another date in its body."""
    head, end, body = request.partition(b"\r\n\r\n")
    changed = body.replace(b'"connector_id":"1"', b'"connector_id":"2"').replace(
        b"Marktplatz 1", b"Marktplatz 2"
    )
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


def _run(track: _Track, options: Options, seconds: float) -> dict[str, float]:
    """One run; raises BenchError unless every message reached the receiver."""
    command = _closed_loop(track, options, seconds) if track.rate is None else _open_loop(track, seconds)
    pids = [pid for server in track.target for pid in family(server.pid)]
    before, cpu = track.receiver.requests(), cpu_seconds(pids)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = cpu_seconds(pids) - cpu
    received = track.receiver.requests(before)
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed: {done.stderr}")
    figures = _told(track, options, json.loads(done.stdout.strip().rpartition("\n")[2]), received)
    track.at = (track.at + received) % track.batch.count
    return figures | {"cpu": cpu * 1e6 / received, "memory": memory_bytes(pids) / 1e6}


def _closed_loop(track: _Track, options: Options, seconds: float) -> list[str]:
    connections = str(options.connections)
    command = ["wrk", "--threads", "1", "--connections", connections, "--duration", f"{seconds:g}s"]
    command += ["--timeout", "15s", "--script", str(SCRIPT), track.target[0].url, "--"]
    count = min(track.batch.count, _LOADED)
    return [*command, str(track.batch.file()), str(track.at), str(count), messages.TOKEN, track.token]


def _open_loop(track: _Track, seconds: float) -> list[str]:
    command = [sys.executable, "-m", "bench.openloop", "--port", str(track.target[0].port)]
    command += ["--file", str(track.batch.file()), "--first", str(track.at), "--token", track.token]
    return [*command, "--rate", f"{track.rate}", "--seconds", f"{seconds:g}"]


def _told(track: _Track, options: Options, told: dict[str, float], received: int) -> dict[str, float]:
    """Rate and latencies in milliseconds, of what the generator said."""
    if track.rate is not None:
        lost = told["answered"] != told["sent"] or received < told["sent"]
        if told["bad"] or (lost and not told["behind"]):
            raise BenchError(f"{track.row.name}: {told}, {received} at the receiver")
        track.row.note = "did not hold the rate" if told["behind"] else track.row.note
        times = {name: told[name] * 1e3 for name in ("p50", "p99", "p999", "lag_p99")}
        return {"per_second": told["answered"] / told["seconds"], **times}
    # What is on its way when the time is up reaches the receiver but is counted by nobody else.
    if told["bad"] or told["failed"] or not 0 <= received - told["requests"] <= options.connections:
        raise BenchError(f"{track.row.name}: {told}, {received} at the receiver")
    times = {name: told[name] / 1e3 for name in ("p50", "p99", "p999")}
    return {"per_second": told["requests"] * 1e6 / told["microseconds"], **times}


def missing_tools() -> list[str]:
    """Programs that this part needs and that are not there."""
    paths = {"nginx": "/usr/sbin:/sbin"}
    return [
        name
        for name in ("nginx", "wrk")
        if not (shutil.which(name) or shutil.which(name, path=paths.get(name, "")))
    ]
