"""What is measured in Rust, without HTTP and Python: the pieces of a message's work, all of it, look-ups."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from bench.measure import BenchError, Row
from bench.report import Column, Section

TITLE = "Stages"
PARTY_BYTES = "a registered party, of 100,000"
_TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
_RUNS = (
    ("stages", ["--warm-up-time", "1", "--measurement-time", "2"]),
    ("table", ["registered party and its address"]),
)
"""Benches, and what they are told: a filter or how long to take."""


def look_up_name(parties: str) -> str:
    return f"table, {parties} parties: registered party and its address"


def measure() -> Section:
    """Runs criterion, and the test that counts the bytes of a party. Raises BenchError if one fails."""
    started = time.time()
    for bench, told in _RUNS:
        _cargo("bench", "-p", "ocn-core", "--bench", bench, "--", "--noplot", *told)
    rows = [_read(file) for file in sorted(_TARGET.glob("criterion/**/new/benchmark.json"))
            if file.stat().st_mtime >= started]  # fmt: skip
    said = _cargo("test", "-p", "ocn-core", "--test", "table_allocation", "--", "--nocapture")
    counted = re.search(r"one party: (\d+) bytes", said)
    if counted is None:
        raise BenchError("the test that counts the bytes of a party did not tell them")
    party = Row(PARTY_BYTES)
    party.add(bytes=float(counted[1]))
    columns = (Column("nanoseconds", "ns"), Column("bytes", "bytes"))
    notes = ("one thread, no network; medians of criterion's samples of one run",)
    return Section(TITLE, columns, [*rows, party], notes)


def missing_tools() -> list[str]:
    return [] if shutil.which("cargo") else ["cargo"]


def _read(file: Path) -> Row:
    named = json.loads(file.read_bytes())
    estimates = json.loads(file.with_name("estimates.json").read_bytes())
    row = Row(f"{named['group_id']}: {named['function_id']}")
    row.add(nanoseconds=estimates["median"]["point_estimate"])
    return row


def _cargo(*arguments: str) -> str:
    command = ["cargo", arguments[0], "--locked", "--quiet", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    return done.stdout
