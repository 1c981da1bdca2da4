"""The rows of `test_boundary.py`, timed by pytest-benchmark, as a table beside the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import BenchError, Row
from bench.report import Column, Section

_TESTS = Path(__file__).with_name("test_boundary.py")


def measure(rounds: int) -> Section:
    """Runs the tests, each so often; raises BenchError if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "pytest", "-q", str(_TESTS), f"--benchmark-json={figures}"]
        command.append("--benchmark-timer=time.process_time")
        told = os.environ | {"CROSSING_ROUNDS": str(rounds)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=told)
        if done.returncode != 0:
            raise BenchError(f"the crossing is not correct:\n{done.stdout[-4_000:]}{done.stderr[-1_000:]}")
        document = json.loads(figures.read_text())
    rows = []
    for test in document["benchmarks"]:
        extra = test["extra_info"]
        name = test["name"].removeprefix("test_").replace("_", " ")
        row = Row(name.replace("[1]", ", one at a time").replace("[64]", ", 64 in flight"))
        for seconds in test["stats"]["data"]:
            row.add(microseconds=seconds * 1e6 / extra["messages"])
        if "wakes_per_message" in extra:
            row.add(wakes=extra["wakes_per_message"])
        rows.append(row)
    columns = (Column("microseconds", "us CPU/message", 1), Column("wakes", "wakes/message", 3))
    return Section("Crossing, event loop to Rust and back, no network; CPU of all threads", columns, rows)
