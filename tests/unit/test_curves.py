"""Curves and what is reckoned from them: nothing is shown that was not measured, the arithmetic is right."""

import os
import time
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from bench import charts, curves, document, measure, messages, report, scaling
from bench.measure import Row

SVG = "{http://www.w3.org/2000/svg}"


def point(x: float, **figures: float) -> Row:
    row = Row(f"{x:g}")
    row.add(x=x, **figures)
    return row


def paths(drawn: str) -> list[ET.Element]:
    """The lines of a chart, without its grid and legend."""
    return [one for one in ET.fromstring(drawn).iter(f"{SVG}path") if one.attrib.get("fill") == "none"]


def kept(*rows: Row, title: str = scaling.OVER_WORKERS) -> dict[str, Any]:
    """A results file with one curve, as a run writes it."""
    section = report.Section(title, (report.Column("cpu", "us CPU each", 1),), rows)
    machine = {
        "date": "2026-03-01T08:30:00+00:00", "commit": "abc", "cpu": "X", "cores": 2, "load_before": 0.1,
        "kernel": "6", "python": "3.11", "packages": {"granian": "2.8"}, "nginx": "nginx/1",
        "rustc": "rustc 1", "build": "B", "command": "python -m bench.curves", "seconds": 9,
        "notes": ["a note"],
    }  # fmt: skip
    return {"machine": machine, "goals": [], "sections": [section.to_builtins()]}


def over_workers(*, cpu: float = 400.0, busiest: float = 80.0) -> dict[str, Any]:
    first = point(1, per_second=2_000.0, cpu=cpu, busiest=busiest, memory=200.0, request_bytes=2_500.0)
    second = point(2, per_second=3_000.0, cpu=cpu * 1.1, busiest=50.0, memory=290.0, request_bytes=2_500.0)
    return kept(first, second)


def test_arithmetic_is_that_of_the_figures() -> None:
    found = scaling.scaling(over_workers())
    assert found is not None
    assert found.cores == pytest.approx((6.0, 6.6))
    assert found.loop_rate == 2_500
    assert found.workers == 6
    assert found.total_memory == 200 + 5 * 90
    assert found.gigabits == pytest.approx(0.3)
    assert (found.best_rate, found.best_workers) == (3_000, 2)


@pytest.mark.parametrize(
    ("cpu", "busiest", "limit"),
    [
        (400.0, 80.0, "the cores are used up first: 41% of 16"),
        (200.0, 95.0, "the busiest threads are used up first: 8 of them"),
        (1_200.0, 80.0, "the cores are too few"),
        (400.0, 300.0, "the busiest threads are too few"),
    ],
)
def test_arithmetic_names_what_is_used_up_first(cpu: float, busiest: float, limit: str) -> None:
    found = scaling.scaling(over_workers(cpu=cpu, busiest=busiest))
    assert found is not None
    assert limit in found.limit


@pytest.mark.parametrize("rows", [(), (1,), (2, 4)])
def test_nothing_is_reckoned_without_one_worker_and_more(rows: tuple[int, ...]) -> None:
    figures = {"per_second": 1.0, "cpu": 1.0, "busiest": 1.0, "memory": 1.0, "request_bytes": 1.0}
    few = kept(*(point(count, **figures) for count in rows))
    assert scaling.scaling(few) is None
    assert "Towards" not in document.figures(None, few)


def test_document_shows_curves_and_what_follows() -> None:
    shown = document.figures(None, over_workers())
    assert "#### Over workers" in shown
    assert "| 1 | 400.0 ±0% |" in shown
    assert "| cores busy with 15,000/s | 6.0 to 6.6 of 16 |" in shown
    assert "over-workers-cpu.svg" in shown
    assert document.NO_CURVES not in shown
    assert document.NO_CURVES in document.figures(None)


def test_curves_are_drawn_with_every_point() -> None:
    drawn = document.curve_drawings(over_workers())
    assert set(drawn) == {"over-workers-per_second", "over-workers-cpu"}
    (path,) = [
        one for one in ET.fromstring(drawn["over-workers-cpu"]).iter(f"{SVG}path") if "L" in one.attrib["d"]
    ]
    assert len(path.attrib["d"].split("L")) == 2


def test_lines_that_share_a_colour_differ() -> None:
    lines = [charts.Line(f"{number} <b>", [(1, number), (10, 2 * number)]) for number in range(12)]
    drawn = charts.lines("a & b", lines)
    styles = {(one.attrib["stroke"], one.attrib.get("stroke-dasharray")) for one in paths(drawn)}
    assert len(styles) == 12


@pytest.mark.parametrize("values", [[0.0, 0.0], [0.003, 0.004], [7.0, 61.0], [1e6, 3e6]])
def test_lines_stay_within_their_chart(values: list[float]) -> None:
    drawn = charts.lines("x", [charts.Line("y", list(enumerate(values, 1)))], logarithmic=True)
    ups = [float(place.split()[1]) for one in paths(drawn) for place in one.attrib["d"][1:].split("L")]
    assert all(44 <= up <= 284 for up in ups)


def test_look_ups_join_the_points_that_were_relayed() -> None:
    relayed = Row("10,000 parties")
    relayed.add(x=10_000, cpu=400.0)
    joined = curves.add_look_ups(
        report.Section("Over parties", (), [relayed]), {1_000_000: 200.0, 10_000: 90.0}
    )
    assert [row.name for row in joined.rows] == ["10,000 parties", "1,000,000 parties"]
    assert joined.rows[0].samples == {"x": [10_000], "cpu": [400.0], "nanoseconds": [90.0]}
    assert joined.rows[1].samples == {"x": [1_000_000], "nanoseconds": [200.0]}


@pytest.mark.parametrize("kind", curves.BODIES)
def test_messages_of_every_size_are_different_and_can_be_told_apart(kind: str) -> None:
    batch = messages.Batch.of(kind, 1_000, signed=False)
    first, second = (messages.request(batch, number).partition(b"\r\n\r\n")[2] for number in (0, 1))
    assert first != second
    assert len(first) == batch.body_bytes
    assert b'"last_updated":"2026' in first


def test_threads_are_counted_one_by_one() -> None:
    """This thread works, so its own share grows, and no thread has used more than all together."""
    before = measure.thread_seconds([os.getpid()])
    spent = time.thread_time() + 0.1
    while time.thread_time() < spent:
        pass
    after = measure.thread_seconds([os.getpid()])
    assert after[os.getpid()] - before[os.getpid()] >= 0.08
    assert sum(after.values()) <= measure.cpu_seconds([os.getpid()]) + 0.02 * len(after)
