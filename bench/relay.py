"""Relay rate and CPU per message: the node unsigned and signed, beside nginx as a plain reverse proxy.

The messages (session PUTs, all different) are written and signed before the run. Before any figure is taken,
a part of them goes through each row alone: every answer must be the receiver's, byte for byte, and the
receiver must have got exactly as many requests. During the runs the receiver's count is compared again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import network, payloads
from bench.measure import BenchError, Row, cpu_seconds, family
from bench.report import Column, Section
from ocn_fast import _native, notary

SCRIPT = Path(__file__).with_name("wrk.lua")
PATH = "/ocpi/receiver/2.2.1/sessions"
_CHECKED = 2_000
_VERIFIED = 50


@dataclass(frozen=True)
class Options:
    """How long and how hard."""

    rounds: int
    seconds: float
    connections: int
    messages: int


@dataclass
class _Track:
    """One row and what it is run against."""

    row: Row
    target: network.Server
    receiver: network.Backend
    answer: network.Answer
    requests: Path


def measure(options: Options) -> Section:
    """All rows, interleaved: each round gives every row its turn. Raises BenchError if anything is wrong."""
    keys = {network.CPO: _native.new_key(), network.MSP: _native.new_key()}
    plain, signed = network.Answer.plain(), network.Answer.signed(keys[network.MSP])
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-bench-")))
        open_ = stack.enter_context
        plain_end = open_(network.backend(folder / "plain", plain))
        signed_end = open_(network.backend(folder / "signed", signed))
        unsigned_node = open_(network.node(folder / "node-1", plain_end, keys, signed=False))
        signed_node = open_(network.node(folder / "node-2", signed_end, keys, signed=True))
        proxy = open_(network.plain_proxy(folder / "proxy", plain_end.msp))
        files = [folder / name for name in ("proxy.requests", "unsigned.requests", "signed.requests")]
        count = options.messages
        _write(files[0], _requests(count, unsigned_node.token, None))
        _write(files[1], _requests(count, unsigned_node.token, None))
        _write(files[2], _requests(count, signed_node.token, keys[network.CPO]))
        tracks = [
            _Track(Row("nginx as reverse proxy"), proxy, plain_end, plain, files[0]),
            _Track(Row("node, unsigned"), unsigned_node, plain_end, plain, files[1]),
            _Track(Row("node, signed and verified both ways"), signed_node, signed_end, signed, files[2]),
        ]
        for track in tracks:
            asyncio.run(_check(track, keys[network.MSP]))
            _run(track, options, 1.0)
        for _ in range(options.rounds):
            for track in tracks:
                track.row.add(**_run(track, options, options.seconds))
        sizes = [len(next(_read(track.requests))) for track in tracks]
    notes = (
        f"{options.messages:,} different PUTs of {min(sizes):,} to {max(sizes):,} bytes with their heads, "
        f"{options.connections} connections; generator, relay and back end share the machine's cores",
        f"{options.rounds} rounds of {options.seconds:g} s; median ± half the distance of the quartiles",
    )
    columns = (
        Column("per_second", "messages/s"),
        Column("cpu", "us CPU/message", 1),
        Column("p50", "p50 ms", 2),
        Column("p99", "p99 ms", 2),
    )
    return Section("Relay", columns, [track.row for track in tracks], notes)


def _requests(count: int, token: str, key: bytes | None) -> Iterable[bytes]:
    """Whole requests, no two alike; signed if there is a key."""
    for number in range(count):
        body = payloads.encode(payloads.session(number))
        headers = {
            "host": "127.0.0.1",
            "authorization": network.authorization(token),
            "content-type": "application/json",
            "x-request-id": str(uuid.uuid4()),
            "x-correlation-id": str(uuid.uuid4()),
            "ocpi-from-country-code": network.CPO[0],
            "ocpi-from-party-id": network.CPO[1],
            "ocpi-to-country-code": network.MSP[0],
            "ocpi-to-party-id": network.MSP[1],
            "content-length": str(len(body)),
        }
        if key is not None:
            headers["ocn-signature"] = notary.sign(notary.request_values(headers, "", body), key).serialize()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        yield f"PUT {PATH}/DE/CPO/{payloads.session_id(number)} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _write(path: Path, requests: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for request in requests:
            file.write(b"%d\n%s" % (len(request), request))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while length := file.readline():
            yield file.read(int(length))


async def _check(track: _Track, receiver_key: bytes) -> None:
    """Sends a part of the messages and looks at every answer."""
    before = track.receiver.requests()
    messages = [request for request, _ in zip(_read(track.requests), range(_CHECKED), strict=False)]
    lanes = [messages[lane::16] for lane in range(16)]
    answers = await asyncio.gather(*(_send(track.target.port, lane) for lane in lanes))
    received = track.receiver.requests(before)
    wrong = [body for lane in answers for body in lane if body != track.answer.body]
    if wrong:
        raise BenchError(f"{track.row.name}: {len(wrong)} of {len(messages)} answers are wrong: {wrong[0]!r}")
    if received != len(messages):
        raise BenchError(f"{track.row.name}: {len(messages)} sent, {received} at the receiver")
    if b"ocn_signature" in track.answer.body:
        for lane in answers:
            for answer in lane[: _VERIFIED // len(lanes) + 1]:
                body, signature = notary.detach(answer)
                verdict = notary.verify(signature or "", notary.response_values({}, body))
                if verdict.origin != _native.address_of(receiver_key):
                    raise BenchError(f"{track.row.name}: an answer was not signed by the receiver")


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
    """One run of wrk; raises BenchError unless every message reached the receiver."""
    connections = str(options.connections)
    command = ["wrk", "--threads", "1", "--connections", connections, "--duration", f"{seconds:g}s"]
    command += ["--timeout", "15s", "--script", str(SCRIPT), track.target.url, "--", str(track.requests)]
    pids = family(track.target.pid)
    before, cpu = track.receiver.requests(), cpu_seconds(pids)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cpu = cpu_seconds(pids) - cpu
    received = track.receiver.requests(before)
    if done.returncode != 0:
        raise BenchError(f"wrk failed: {done.stderr}")
    told = json.loads(done.stdout.strip().rpartition("\n")[2])
    # What is on its way when the time is up reaches the receiver but is counted by nobody else.
    if told["bad"] or told["failed"] or not 0 <= received - told["requests"] <= options.connections:
        raise BenchError(f"{track.row.name}: {told}, {received} at the receiver")
    return {
        "per_second": told["requests"] * 1e6 / told["microseconds"],
        "cpu": cpu * 1e6 / received,
        "p50": told["p50"] / 1e3,
        "p99": told["p99"] / 1e3,
    }


def missing_tools() -> list[str]:
    """Programs that this part needs and that are not there."""
    paths = {"nginx": "/usr/sbin:/sbin"}
    return [
        name
        for name in ("nginx", "wrk")
        if not (shutil.which(name) or shutil.which(name, path=paths.get(name, "")))
    ]
