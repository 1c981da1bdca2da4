"""Builds `rust/guard` of some sources and counts its instructions with callgrind, by row and stage."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "target" / "guard"
"""Build products of the present sources; those of others lie beside it."""

BUILT_FROM = ("Cargo.toml", "Cargo.lock", "rust")
"""What instructions depend on, tools apart."""

_MARK = "ocn_guard_mark"
_CPU = ("avx2", "bmi2", "erms", "movbe")
"""What callgrind's processor may have, by which the C library and others choose between variants of code."""

Counts = dict[str, dict[str, int]]
"""Instructions of one message (or piece of work), by row and stage."""


class GuardError(Exception):
    """Nothing could be counted, or there is nothing to compare it with."""


def made_with() -> dict[str, str]:
    """All that counts depend on beside the sources: counts made with something else are not compared."""
    rustc = dict(line.split(": ", 1) for line in _told("rustc", "-vV").splitlines() if line.count(": ") == 1)
    flags = _flags_of_the_cpu()
    return {
        "rustc": f"{rustc['release']} ({rustc.get('commit-hash', 'unknown')[:9]})",
        "host": rustc["host"],
        "cc": _told("cc", "--version").splitlines()[0],
        "libc": " ".join(platform.libc_ver()),
        "valgrind": _told("valgrind", "--version").strip(),
        "cpu": " ".join(flag for flag in _CPU if flag in flags),
    }


def count(sources: Path, target: Path = TARGET) -> Counts:
    """Builds with an optimised profile as it ships, and counts. Raises GuardError."""
    program = _build(sources, target)
    out = target / "callgrind.out"
    # An empty environment: the program's stack begins at the same place wherever it runs.
    command = [
        "env", "-i", _path_of("valgrind"), "--quiet", "--tool=callgrind", "--combine-dumps=yes",
        f"--callgrind-out-file={out}", f"--dump-before={_MARK}", str(program),
    ]  # fmt: skip
    ledger = json.loads(_run(command, cwd=target))
    counts = _by_stage(ledger, list(_totals(out)))
    out.unlink()
    return counts


def extract(commit: str, folder: Path) -> Path:
    """The sources of a commit, in that folder. Raises GuardError."""
    if not folder.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        with subprocess.Popen(
            ["git", "archive", commit, *BUILT_FROM], cwd=ROOT, stdout=subprocess.PIPE
        ) as archive:
            # Not with the commit's times: whatever was built before has to look older.
            subprocess.run(["tar", "-x", "-m"], cwd=fresh, stdin=archive.stdout, check=True)
        if archive.returncode != 0:
            raise GuardError(f"the sources of {commit} are not in this clone")
        fresh.rename(folder)
    return folder


def target_of(folder: Path) -> Path:
    """Where to build other sources. Begins as a copy of the present ones' target, so that only what differs
    is built. Never the same one: Cargo tells what changed by its time, and a copy may be older."""
    target = folder.with_name(folder.name + "-target")
    if not target.exists() and TARGET.exists():
        shutil.copytree(TARGET, target, symlinks=True)
    return target


def _build(sources: Path, target: Path) -> Path:
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "ocn-guard"]
    without = ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in without}
    _run(command, cwd=sources, env={**environment, "CARGO_TARGET_DIR": str(target)})
    return target / "release" / "ocn-guard"


def _totals(out: Path) -> Iterator[int]:
    """Instructions of each part, in order."""
    with out.open() as lines:
        for line in lines:
            if line.startswith("totals: "):
                yield int(line.split()[1])


def _by_stage(ledger: dict[str, object], totals: list[int]) -> Counts:
    owners, times = ledger["parts"], ledger["times"]
    assert isinstance(owners, list)
    assert isinstance(times, dict)
    if len(owners) != len(totals):
        raise GuardError(f"callgrind closed {len(totals)} parts, the program knows of {len(owners)}")
    sums: Counts = {}
    for owner, total in zip(owners, totals, strict=True):
        if owner is not None:
            row, stage = owner
            stages = sums.setdefault(row, {})
            stages[stage] = stages.get(stage, 0) + total
    return {
        row: {stage: round(total / times[row]) for stage, total in stages.items()}
        for row, stages in sums.items()
    }


def _flags_of_the_cpu() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _path_of(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise GuardError(f"{program} is not on the path")
    return path


def _told(program: str, *arguments: str) -> str:
    return _run([_path_of(program), *arguments])


def _run(command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuardError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4_000:]}")
    return done.stdout
