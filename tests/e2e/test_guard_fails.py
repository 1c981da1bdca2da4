"""The guard sees what it is for: a copy of the sources in which a body is hashed once more does not pass."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.guard, pytest.mark.timeout(1_800)]

CHECKED = "    check_body(walk, &envelope, &body)?;\n"
HASHED = "    std::hint::black_box(crate::eth::keccak256(&body));\n"

STAGE = re.compile(r", stage (?P<stage>\w+): (?P<before>[\d,]+) -> (?P<now>[\d,]+) ")
LAYOUT = 1_000
"""Instructions by which a stage may move with the layout of another build, in code and in memory: of a small
one that can be more than 3 %. The hash costs from 6,000 on."""


def _count(figures: str) -> int:
    return int(figures.replace(",", ""))


def test_one_more_keccak_of_the_body_fails_the_guard(tool: Callable[[str], str]) -> None:
    tool("valgrind")
    # Beside the target of the guard, so that a second run builds only what differs.
    copy = ROOT / "target" / "guard-with-one-more-keccak"
    shutil.rmtree(copy, ignore_errors=True)
    # Without their times: what an earlier run has built must look older.
    shutil.copytree(ROOT / "rust", copy / "rust", copy_function=shutil.copyfile)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copyfile(ROOT / name, copy / name)
    place = copy / "rust/core/src/relay/authenticate.rs"
    source = place.read_text()
    assert source.count(CHECKED) == 1
    place.write_text(source.replace(CHECKED, HASHED + CHECKED))

    command = [sys.executable, "-m", "bench.guard", "--sources", str(copy)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stdout + done.stderr
    worse = [line for line in done.stdout.splitlines() if line.startswith("worse: ")]
    found = [STAGE.search(line) for line in worse]
    stages = {
        match["stage"]
        for match in found
        if match is not None and _count(match["now"]) - _count(match["before"]) > LAYOUT
    }
    assert stages == {"authenticate"}, worse
    assert any(line.startswith("worse: unsigned local, 1.2 kB: ") for line in worse), worse
    assert "The guard fails" in done.stdout
