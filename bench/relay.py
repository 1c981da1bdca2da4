"""The table: rate, latency and CPU per message of the node, beside nginx, the bare curve and plain Python.

Before any figure is taken, a part of the messages goes through each row alone: every answer must be the
receiver's, byte for byte, with its signature true; the receiver must have got exactly as many requests; a
message with one character changed must be refused and not delivered. During the runs the receiver's count is
compared again. Rows take turns, so that whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import network, signatures
from bench.measure import Row
from bench.messages import CPO, MSP, Batch
from bench.report import Column, Section
from bench.track import Track

STEADY_RATE = 2_300.0
"""Messages a second: Europe's public charging at its peak."""
TITLE = "Relay"
_BARE_S = 0.3
_WARM_S = 1


@dataclass(frozen=True)
class Options:
    """How long, how hard, and of what."""

    rounds: int
    seconds: int
    connections: int
    messages: int
    """Different session PUTs; large ones are fewer."""
    checked: int
    """Messages that go through each row before it is timed."""
    warmed: bool
    """Whether each row has a second of load before the first round; what is checked warms it a little."""
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
class _Floored(Track):
    """A row with what it is compared with."""

    floor: Floor = field(default_factory=Floor)


def measure(options: Options) -> Section:
    """All rows, interleaved: each round gives every row its turn. Raises BenchError if anything is wrong."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-bench-")))
        tracks = _tracks(stack, folder, options)
        for track in tracks:
            asyncio.run(track.check(options.checked))
            if options.warmed:
                track.run(_WARM_S)
        bare = signatures.Bare()
        for _ in range(options.rounds):
            with signatures.other_cores_busy():
                bare.turn(_BARE_S)
            for track in tracks:
                track.row.add(**track.run(options.seconds))
    rows = [*bare.rows, *(track.row for track in tracks)]
    _add_floors(tracks, bare)
    notes = (
        f"{options.messages:,} different session PUTs of 1.2 KB (bodies of 10 and 200 KB and commands: "
        f"fewer), signed before the run; {options.connections} connections; all on one machine",
        f"{options.rounds} rounds of {options.seconds} s; median ± half the distance of the quartiles. CPU "
        "and memory are of all processes of the relay (PSS)",
        "x floor: CPU per message through nginx, as often as bytes are relayed, plus the recoveries and "
        "signatures that the scheme asks for, all measured in this run, with every core busy",
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


def _tracks(stack: contextlib.ExitStack, folder: Path, options: Options) -> list[_Floored]:
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
    session, bare_session = Batch.of("session", many), Batch.of("session", many, signed=False)
    large, larger = (
        [Batch.of(kind, many, signed=sign) for sign in (False, True)]
        for kind in ("location-10k", "location-200k")
    )
    command = Batch.of("start-session", many, home=signed_end.urls[MSP])

    def through_proxy(size: str, batch: Batch) -> _Floored:
        row = Row(f"nginx as reverse proxy, {size}")
        return _Floored(
            row, [proxy], plain_end, batch, connections=options.connections, floor=Floor(size=size)
        )

    def through(name: str, node: network.Node, batch: Batch, floor: Floor) -> _Floored:
        end = signed_end if batch.signed else plain_end
        return _Floored(Row(name), [node], end, batch, node.tokens, options.connections, floor=floor)

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
        tracks.append(
            _Floored(row, pair, signed_end, session, pair[0].tokens, options.connections, floor=_TWO_NODES)
        )
    steady = through(f"node, signed, at a steady {STEADY_RATE:,.0f}/s", signed, session, _SIGNED)
    steady.rate = STEADY_RATE
    # Two rows share this node: they use messages from opposite ends of the file.
    steady.at = many // 2
    return [*tracks, steady]


def _add_floors(tracks: Sequence[_Floored], bare: signatures.Bare) -> None:
    recover, sign = (row.median("cpu") or 0.0 for row in bare.rows)
    proxies = {track.floor.size: track.row.median("cpu") or 0.0 for track in tracks if not track.tokens}
    for track in tracks:
        floor = track.floor
        least = floor.proxies * proxies[floor.size] + floor.recoveries * recover + floor.signs * sign
        for sample in list(track.row.samples["cpu"]):
            track.row.add(floors=sample / least)


def missing_tools() -> list[str]:
    """Programs that this part needs and that are not there."""
    paths = {"nginx": "/usr/sbin:/sbin"}
    return [
        name
        for name in ("nginx", "wrk", "cargo")
        if not (shutil.which(name) or shutil.which(name, path=paths.get(name, "")))
    ]
