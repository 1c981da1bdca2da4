"""Log lines: one event one line, bounded, no control characters; a stuck or closed sink stops nobody."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocn_fast import config, logs

LIMIT = 512


def rendered(event: dict[str, Any], limit: int = LIMIT) -> bytes:
    renderer = logs._Renderer(limit, "test")
    return renderer(None, "info", dict(event))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(),
    st.dictionaries(st.text(min_size=1, max_size=9), st.text() | st.binary() | st.integers(), max_size=6),
)
def test_A130_one_event_is_one_bounded_line_without_control_characters(
    event: str, values: dict[str, Any]
) -> None:
    line = rendered({"event": event, "level": "info", **values})
    assert line.endswith(b"\n")
    assert len(line) <= LIMIT
    text = line[:-1].decode("ascii")
    assert all(character.isprintable() for character in text)
    assert isinstance(json.loads(text), dict)


def test_A130_hostile_values_stay_values() -> None:
    value = 'x\r\n{"level":"error"}\x1b[31m\x7f\x9b\u202e'
    line = rendered({"event": "e", "value": value})
    assert json.loads(line)["value"] == value
    assert line.count(b"\n") == 1


def test_A130_a_megabyte_is_cut() -> None:
    assert len(rendered({"event": "e" * 1_000_000, "value": "\x00" * 1_000_000}, 8_192)) <= 8_192


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    short = len(rendered({"event": "e", "value": ""}))
    whole = rendered({"event": "e", "value": "v" * (LIMIT - short)})
    assert len(whole) == LIMIT
    assert json.loads(whole)["value"] == "v" * (LIMIT - short)
    cut = rendered({"event": "e", "value": "v" * (LIMIT - short + 1)})
    assert len(cut) <= LIMIT
    assert json.loads(cut)["value"].endswith("…")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor in (read, write)  # closed by the test


def test_F08_a_sink_that_nobody_reads_costs_lines_and_nobody_time(pipe: tuple[int, int]) -> None:
    read, write = pipe
    sink = logs.Sink(write, capacity=10)
    line = b"x" * 65_535 + b"\n"
    for _ in range(50):
        sink.put(line)
    assert sink.dropped >= 50 - 10 - 3
    reader = threading.Thread(target=_drain, args=(read, len(line) * (50 - sink.dropped)))
    reader.start()
    sink.flush(10)
    reader.join(10)
    assert not reader.is_alive()


def test_F08_a_closed_sink_is_counted(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    sink = logs.Sink(write)
    sink.put(b"lost\n")
    sink.flush(10)
    assert sink.dropped == 1


def _drain(descriptor: int, size: int) -> None:
    while size > 0:
        size -= len(os.read(descriptor, 65_536))


def test_A128_tracebacks_hold_no_values(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(config.Log(), "test")
    secret = "marker" + "-secret"
    try:
        raise RuntimeError("a fault")
    except RuntimeError:
        logs.get().exception("caught", length=len(secret))
    logs.flush(10)
    sys.stderr.flush()
    [line] = capfd.readouterr().err.splitlines()
    assert "RuntimeError: a fault" in json.loads(line)["exception"]
    assert secret not in line
