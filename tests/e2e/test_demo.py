"""The demo as a stranger runs it: green, red where it was broken on purpose, and gone afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import with_command

DEMO = [sys.executable, "-m", "ocn_fast", "demo"]
MARK = "OCN_FAST_TEST_RUN"
"""An environment variable that every process of one run inherits."""
PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(180)


def alive(run: str) -> list[str]:
    """Command lines of processes of a run, as the system knows them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={run}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked, or is not ours
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@contextmanager
def demo(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo. Whatever comes of the test, nothing of it may be alive in the end."""
    run = uuid.uuid4().hex
    process = subprocess.Popen(
        [*DEMO, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {MARK: run},
    )  # fmt: skip
    try:
        yield process, run
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not alive(run))


ONE_NODE = "--one-node"


def told(*options: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Exit status, rows and summary of a whole run; by then every process of it has ended."""
    with demo("--json", *options) as (process, run):
        output, _ = process.communicate(timeout=150)
        assert alive(run) == [], "a process outlived the demo"
    *rows, summary = [json.loads(line) for line in output.splitlines()]
    return process.returncode, rows, summary


FAILURES = {
    "tampered body": "200/2001",
    "missing signature": "200/2001",
    "unknown receiver": "200/4001",
    "receiver is down": "200/4003",
    "receiver hangs": "200/4002",
    "party of somebody else": "403/2001",
    "authorise an unknown token": "404/2004",
}
MODULES = {
    "credentials", "locations", "tariffs", "tokens", "commands", "sessions", "chargingprofiles", "cdrs",
    "decpo-echo",
}  # fmt: skip


def test_every_line_of_the_demo_is_as_expected() -> None:
    status, rows, summary = told()
    assert summary["ok"], summary
    assert status == 0
    assert all(row["ok"] for row in rows)
    statuses = {row["step"]: row["status"] for row in rows}
    assert FAILURES.items() <= statuses.items()
    assert statuses["wrong token"].startswith("401/")
    for way in ("A", "B>A|A>B"):
        there = {row["module"] for row in rows if row["way"] in way.split("|")}
        assert there >= MODULES - ({"credentials"} if ">" in way else set()), way
    assert {row["way"] for row in rows if row["step"] == "authorise a known token"} == {"A", "A>B"}
    assert [row["way"] for row in rows if row["sender"] == "NL/MSP" and row["module"] == "registry"] == [
        "B",
        "A",
    ]
    assert [row["status"] for row in rows if row["module"] == "health"] == ["200", "200"]


def test_one_node_tells_its_part_of_the_story() -> None:
    status, rows, summary = told(ONE_NODE)
    assert summary["ok"], summary
    assert status == 0
    assert FAILURES.items() <= {row["step"]: row["status"] for row in rows}.items()
    assert {row["way"] for row in rows} == {"A"}
    assert {row["module"] for row in rows} == MODULES


def test_without_the_extra_it_is_one_node_and_says_what_the_extra_adds(tmp_path: Path) -> None:
    # As if it were not installed: to Python a module that is None is not there.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['eth_tester'] = None\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=150, env=environment)
    assert done.returncode == 0, done.stdout
    assert "every line as expected" in done.stdout
    assert "pip install 'ocn-fast[chain]'" in done.stderr
    options = ["--sabotage", "node-key"]
    done = subprocess.run([*DEMO, *options], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "ocn-fast[chain]" in done.stderr


@pytest.mark.parametrize(
    ("sabotage", "step", "way"),
    [
        ("signature", "START_SESSION", "A"),
        ("route", "tariffs", "A"),
        ("callback", "START_SESSION, its result", "A"),
        ("node-key", "locations, page 1", "B>A"),
        ("node-route", "locations, page 1", "B>A"),
    ],
)
def test_a_broken_demo_fails_at_the_row_concerned(sabotage: str, step: str, way: str) -> None:
    options = [] if sabotage.startswith("node-") else [ONE_NODE]
    status, rows, summary = told("--sabotage", sabotage, *options)
    assert status == 1
    assert [row["step"] for row in rows if not row["ok"]] == [step]
    assert (rows[-1]["step"], rows[-1]["way"]) == (step, way), "the story goes on after such a line"
    assert not summary["ok"]
    assert step in summary["summary"]


def test_a_kept_demo_answers_the_calls_that_it_prints(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("curl")
    environment = with_command(tmp_path)
    with demo("--keep") as (process, run):
        assert process.stdout is not None
        text = "".join(iter(lambda: process.stdout.readline(), "Ctrl-C ends it all.\n"))  # type: ignore[union-attr]
        data = Path(re.search(r"data  (\S+)", text)[1])  # type: ignore[index]
        nodes = {home: json.loads((data / home / "state.json").read_bytes())["versions_url"] for home in
                 ("de-cpo", "de-msp", "nl-msp")}  # fmt: skip
        assert nodes["de-cpo"] == nodes["de-msp"] != nodes["nl-msp"], "a party is at each node again"
        commands = re.findall(r"^(?:curl|ocn-fast) (?:.*\\\n)*.*", text, re.MULTILINE)
        assert len(commands) >= 5
        for command in commands:
            answer = subprocess.run(
                ["sh", "-c", command], capture_output=True, text=True, timeout=60, env=environment
            )
            assert answer.returncode == 0, answer.stderr
            if "/ocpi/" in command:
                assert '"status_code":1000' in answer.stdout, command + answer.stdout
            assert not re.search(r'"error": ?"\w', answer.stdout), command + answer.stdout
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE_S)
        assert alive(run) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_demo_that_is_ended(number: signal.Signals) -> None:
    with demo(ONE_NODE) as (process, run):
        assert process.stdout is not None
        wait_until(lambda: "locations" in process.stdout.readline())  # type: ignore[union-attr]
        assert len(alive(run)) > 5
        process.send_signal(number)
        process.wait(timeout=PATIENCE_S)
        wait_until(lambda: not alive(run))
