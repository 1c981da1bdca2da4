"""`python -m bench.flame`: where a worker's time goes under signed load, as a flame graph.

perf samples the stacks of all threads of one worker, in Rust, C, Python's interpreter and the kernel, while
wrk loads its node with signed messages. It needs an extension with symbols, as `cargo build --release` makes
it (what is shipped has none), and unwinds by the tables for exceptions. Functions of Python itself are not
told apart: they are frames of the interpreter.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

import ocn_fast
from bench import network, node, relay
from bench.measure import BenchError, Row
from bench.messages import Batch
from bench.report import RESULTS
from bench.track import Track

NATIVE = Path("target/release/lib_native.so")
_HERTZ, _STACK_BYTES = 199, 65_528
"""Not a round rate: it would keep in step with timers. The most of a stack that perf copies: its outer end is
lost where that is too little."""
_CHECKED = 200
_WIDTH, _ROW, _TOP, _CHARACTER = 1_200, 15, 64, 6.6
_LEAST = 0.0015
"""Part of all samples below which a frame is left out."""
_KINDS = (
    ("curve", "#c0504d", ("secp256k1",)),
    ("hash", "#b07aa1", ("keccak", "sha2", "sha256")),
    ("compression", "#9c755f", ("brotli", "flate2", "miniz", "zlib")),
    ("node, in Rust", "#e0a030", ("ocn_core", "ocn_net", "_native::")),
    (
        "HTTP and tasks",
        "#5aa469",
        ("tokio", "hyper", "httparse", "h2::", "mio::", "granian", "uv__", "loop.cpython"),
    ),
    ("kernel", "#9aa5b1", ("[kernel",)),
    ("Python", "#4a7ebb", ("pyo3", "libpython", "python3", "_Py", "Py_")),
)
"""Kinds of code, their colours, and what names of functions or files say of them; the first that fits."""
_OTHER = ("other", "#cdbf9a")
_PLUMBING = (
    "clone3", "start_thread", "std::sys", "<std::sys", "std::thread", "std::panic", "<core::panic",
    "core::ops", "tokio::runtime", "<tokio::runtime", "entry_SYSCALL", "do_syscall", "__x64_sys",
)  # fmt: skip
"""Frames that only lead to others; they are left out unless time is spent in themselves."""
_HASH = re.compile(r"::h[0-9a-f]{16}$|\.llvm\.\d+$|\+0x[0-9a-f]+$")


@dataclass(frozen=True)
class Frame:
    """A function and the file that it is in."""

    name: str
    file: str

    @property
    def kind(self) -> int:
        """Which of the kinds; one more than the last, if none fits."""
        told = f"{self.name} {self.file}"
        fitting = (number for number, (*_, signs) in enumerate(_KINDS) if any(sign in told for sign in signs))
        return next(fitting, len(_KINDS))

    @property
    def plumbing(self) -> bool:
        return self.name.startswith(_PLUMBING)


@dataclass
class Place:
    """A frame in the tree of all stacks."""

    frame: Frame
    samples: int = 0
    alone: int = 0
    """Samples in this very frame, and in none that it called."""
    called: dict[Frame, Place] = field(default_factory=dict)


def stacks(script: str) -> Iterator[list[Frame]]:
    """The stacks of `perf script -F comm,ip,sym,dso`, outermost frame first: that is the thread's name."""
    for block in script.split("\n\n"):
        head, *lines = block.strip().splitlines() or [""]
        if not lines:
            continue
        frames = [frame for line in lines if (frame := _frame(line))]
        thread = Frame(head.strip(), "")
        telling = [frame for place, frame in enumerate(frames) if place == 0 or not frame.plumbing]
        # A function that calls itself again and again is one frame.
        yield [thread, *(frame for frame, _ in groupby(reversed(telling)))]


def _frame(line: str) -> Frame | None:
    """None for what could not be unwound."""
    _, _, rest = line.strip().partition(" ")
    name, _, file = rest.rpartition(" (")
    file = file.rstrip(")")
    if file == "[unknown]":
        return None
    while (shorter := _HASH.sub("", name)) != name:
        name = shorter
    file = file.rpartition("/")[2]
    return Frame(name if name and name != "[unknown]" else f"[{file}]", file)


def tree(found: Iterable[list[Frame]]) -> Place:
    """All stacks in one."""
    root = Place(Frame("worker", ""))
    for stack in found:
        place = root
        place.samples += 1
        for frame in stack:
            place = place.called.setdefault(frame, Place(frame))
            place.samples += 1
        place.alone += 1
    return root


def shares(root: Place) -> dict[str, float]:
    """Part of the samples that each kind of code has by itself; what libraries of C and others without a
    name do counts for whoever called them."""
    counted = dict.fromkeys((*(name for name, *_ in _KINDS), _OTHER[0]), 0)

    def walk(place: Place, kind: int) -> None:
        own = place.frame.kind
        kind = kind if own == len(_KINDS) else own
        counted[[*counted][kind]] += place.alone
        for below in place.called.values():
            walk(below, kind)

    walk(root, len(_KINDS))
    return {name: count / root.samples for name, count in counted.items() if count}


def draw(root: Place, title: str) -> str:
    """The flame graph: callers below, what they call above, as wide as their part of the samples."""
    parts: list[str] = []
    depth = _depth(root, root.samples)
    height = _TOP + depth * _ROW + 8

    def place_at(place: Place, x: float, level: int) -> None:
        width = place.samples / root.samples * _WIDTH
        y = height - 8 - (level + 1) * _ROW
        kind = place.frame.kind
        colour = _KINDS[kind][1] if kind < len(_KINDS) else _OTHER[1]
        name = escape(place.frame.name)
        box = f'x="{x:.1f}" y="{y}" width="{max(width - 0.4, 0.2):.1f}" height="{_ROW - 1}"'
        parts.append(f"<g><title>{name}, {place.samples / root.samples:.1%}</title>")
        parts.append(f'<rect {box} fill="{colour}"/>')
        if (room := int((width - 4) / _CHARACTER)) > 2:
            told = _short(place.frame.name, room)
            parts.append(f'<text x="{x + 3:.1f}" y="{y + 11}">{escape(told)}</text>')
        parts.append("</g>")
        for below in sorted(place.called.values(), key=lambda one: one.frame.name):
            if below.samples >= root.samples * _LEAST:
                place_at(below, x, level + 1)
            x += below.samples / root.samples * _WIDTH

    place_at(root, 0, 0)
    x, legend = 8.0, []
    colours = {name: colour for name, colour, _ in _KINDS} | dict([_OTHER])
    for name, share in shares(root).items():
        told = f"{name} {share:.0%}"
        legend.append(f'<rect x="{x:g}" y="34" width="12" height="12" fill="{colours[name]}"/>')
        legend.append(f'<text x="{x + 17:g}" y="44">{told}</text>')
        x += 34 + round(_CHARACTER * len(told))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">'
        "<style>text{font:11px ui-monospace,monospace;fill:#111}</style>"
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/><text x="8" y="20">{escape(title)}</text>'
    )
    return "\n".join([head, *legend, *parts, "</svg>", ""])


def _depth(place: Place, total: int) -> int:
    """Rows that are drawn."""
    drawn = (one for one in place.called.values() if one.samples >= total * _LEAST)
    return 1 + max((_depth(one, total) for one in drawn), default=0)


def _short(name: str, room: int) -> str:
    """The end of a path of Rust says more than its beginning."""
    plain = re.sub(r"<[^<>]*>", "", name) if len(name) > room else name
    if len(plain) > room:
        plain = plain.rpartition("::")[2] or plain
    return plain[:room]


def main(
    seconds: Annotated[int, typer.Option(help="How long to sample.", min=1)] = 10,
    native: Annotated[Path, typer.Option(help="The extension with symbols: cargo build --release.")] = NATIVE,
    messages: Annotated[int, typer.Option(help="Different session PUTs.", min=1_000)] = 100_000,
    out: Annotated[Path, typer.Option()] = RESULTS / "flame-worker.svg",
) -> None:
    """Ends with status 2 where a tool or the extension is missing."""
    missing = [*relay.missing_tools(), *(name for name in ("perf", "c++filt") if not shutil.which(name))]
    if missing or not native.is_file():
        print(f"not there: {', '.join(missing or [str(native)])}", file=sys.stderr)
        raise typer.Exit(2)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ocn-fast-flame-")))
        stack.enter_context(_with_symbols(folder / "package", native.resolve()))
        end = stack.enter_context(network.backend(folder / "end", signed=True))
        (one,) = stack.enter_context(network.nodes(folder / "node", end, network.Plan()))
        track = Track(Row("node, signed"), [one], end, Batch.of("session", messages), one.tokens)
        asyncio.run(track.check(_CHECKED))
        track.run(1)
        script = _sampled(track, node.workers(one.pid)[0], seconds, folder / "perf.data")
    root = tree(stacks(script))
    if not root.samples:
        raise BenchError("perf has seen nothing")
    title = f"One worker under signed load, 1.2 kB, 64 connections: {root.samples:,} samples of its CPU time"
    out.write_text(draw(root, title))
    for name, share in shares(root).items():
        print(f"{share:6.1%}  {name}")
    print(f"written to {out}, {out.stat().st_size / 1e3:.0f} kB")


@contextlib.contextmanager
def _with_symbols(folder: Path, native: Path) -> Iterator[None]:
    """Processes that are started meanwhile take the package with this extension in place of its own."""
    package = folder / "ocn_fast"
    package.mkdir(parents=True)
    for entry in Path(ocn_fast.__file__).parent.iterdir():
        (package / entry.name).symlink_to(native if entry.name.startswith("_native.abi3") else entry)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _sampled(track: Track, worker: int, seconds: int, data: Path) -> str:
    """What perf saw of the worker's stacks while messages came."""
    failed: list[BaseException] = []

    def load() -> None:
        try:
            track.run(seconds + 2)
        except BenchError as error:
            failed.append(error)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        _perf(
            "record", "--quiet", "--event", "cpu-clock", "--freq", str(_HERTZ), "--pid", str(worker),
            "--call-graph", f"dwarf,{_STACK_BYTES}", "--output", str(data), "--", "sleep", str(seconds),
        )  # fmt: skip
    finally:
        loading.join()
    if failed:
        raise failed[0]
    script = _perf("script", "--input", str(data), "--no-inline", "--fields", "comm,ip,sym,dso")
    return subprocess.run(["c++filt"], input=script, capture_output=True, text=True, check=True).stdout


def _perf(*arguments: str) -> str:
    done = subprocess.run(["perf", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"perf {arguments[0]} failed: {done.stderr[-2_000:]}")
    return done.stdout


if __name__ == "__main__":
    typer.run(main)
