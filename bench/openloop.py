"""The generator that sends at a fixed rate, whatever comes back: `rust/load`, in a process of its own."""

from __future__ import annotations

import functools
from pathlib import Path

from bench import messages
from bench.measure import TARGET, cargo


@functools.cache
def program() -> Path:
    """Builds it, once in a run. Raises BenchError."""
    cargo("build", "--release", "-p", "ocn-load")
    return TARGET / "release" / "openloop"


def command(port: int, file: Path, token: str, first: int, rate: float, seconds: float) -> list[str]:
    """What prints the figures of a run as one line of JSON: `rate * seconds` messages of a file (as
    `bench.messages` writes them, from the `first` on) with their sender's token in Base64."""
    told = {
        "port": port,
        "file": file,
        "hole": messages.TOKEN,
        "token": token,
        "first": first,
        "rate": rate,
        "seconds": seconds,
    }
    return [str(program()), *(word for name, value in told.items() for word in (f"--{name}", str(value)))]
