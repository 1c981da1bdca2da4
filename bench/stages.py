"""What is measured in Rust, without HTTP and Python: the pieces of a message's work, all of it, look-ups."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

from bench.measure import TARGET, BenchError, Row, cargo
from bench.report import Column, Section

TITLE = "Stages"
PARTY_BYTES = "a registered party, of 100,000"
_LOOK_UP = "registered party and its address"


def look_up_name(parties: str) -> str:
    return f"table, {parties} parties: {_LOOK_UP}"


def measure() -> Section:
    """Runs criterion, and the test that counts the bytes of a party. Raises BenchError if one fails."""
    rows = _criterion("stages", "--warm-up-time", "1", "--measurement-time", "2") + _look_ups()
    said = cargo("test", "-p", "ocn-core", "--test", "table_allocation", "--", "--nocapture")
    counted = re.search(r"one party: (\d+) bytes", said)
    if counted is None:
        raise BenchError("the test that counts the bytes of a party did not tell them")
    party = Row(PARTY_BYTES)
    party.add(bytes=float(counted[1]))
    columns = (Column("nanoseconds", "ns"), Column("bytes", "bytes"))
    notes = ("one thread, no network; medians of criterion's samples of one run",)
    return Section(TITLE, columns, [*rows, party], notes)


def look_ups() -> dict[int, float]:
    """Nanoseconds of a look-up by how many parties there are. Raises BenchError."""
    found = {}
    for row in _look_ups():
        if named := re.search(r"(\d+) parties", row.name):
            found[int(named[1])] = row.samples["nanoseconds"][0]
    return found


def _look_ups() -> list[Row]:
    return _criterion("table", _LOOK_UP)


def _criterion(bench: str, *told: str) -> list[Row]:
    """Runs a bench, with a filter or how long to take; a row for each function."""
    started = time.time()
    cargo("bench", "-p", "ocn-core", "--bench", bench, "--", "--noplot", *told)
    files = sorted(TARGET.glob("criterion/**/new/benchmark.json"))
    return [_read(file) for file in files if file.stat().st_mtime >= started]


def missing_tools() -> list[str]:
    return [] if shutil.which("cargo") else ["cargo"]


def _read(file: Path) -> Row:
    named = json.loads(file.read_bytes())
    estimates = json.loads(file.with_name("estimates.json").read_bytes())
    row = Row(f"{named['group_id']}: {named['function_id']}")
    row.add(nanoseconds=estimates["median"]["point_estimate"])
    return row
