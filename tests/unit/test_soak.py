"""The soak's verdict: what counts as flat, what does not, and that its charts show it."""

import os
import tempfile
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from bench import soak
from bench.measure import BenchError

SECONDS = [float(at * 15) for at in range(121)]
MB = 1_000_000


def process(memory: list[int], descriptors: list[int] | None = None) -> dict[str, Any]:
    """How a process with these samples is judged."""
    one = soak.Watched([1], "node A, workers", memory, descriptors or [40] * len(memory))
    return one.judged(SECONDS)


def test_growth_is_that_of_the_third_day_over_the_second() -> None:
    assert soak.growth(SECONDS, [3 * at for at in SECONDS]) == pytest.approx(3 * 600, rel=0.02)
    assert soak.growth(SECONDS, [min(at, 600.0) for at in SECONDS]) == 0
    assert soak.growth([0, 1, 2, 3, 4, 6], [0, 0, 1, 1, 3, 3]) == 2


def test_growth_does_not_see_the_load_of_a_day() -> None:
    assert soak.growth(SECONDS, [abs(at % 600 - 300) for at in SECONDS]) == pytest.approx(0, abs=8)


def test_growth_does_not_see_single_peaks() -> None:
    values = [100.0] * len(SECONDS)
    values[70], values[-1] = 900.0, 500.0
    assert soak.growth(SECONDS, values) == 0


@pytest.mark.parametrize("times", [[], [0.0]])
def test_growth_needs_samples(times: list[float]) -> None:
    with pytest.raises(BenchError, match="too few"):
        soak.growth(times, times)


def test_a_process_that_warms_up_and_stays_is_flat() -> None:
    warm = [50 * MB + min(at, 60) * MB // 2 for at in range(121)]
    assert process(warm)["flat"]


@pytest.mark.parametrize(("bytes_a_second", "flat"), [(3_200, True), (3_400, False)])
def test_memory_may_grow_by_two_megabytes(bytes_a_second: int, flat: bool) -> None:
    """600 seconds of it are 1.92 or 2.04 MB."""
    leaking = [50 * MB + int(at) * bytes_a_second for at in SECONDS]
    assert process(leaking)["flat"] is flat


@pytest.mark.parametrize(("bytes_a_second", "flat"), [(6_400, True), (7_400, False)])
def test_a_large_process_may_grow_by_two_percent(bytes_a_second: int, flat: bool) -> None:
    """600 seconds of it are 3.84 or 4.44 MB of some 206."""
    leaking = [200 * MB + int(at) * bytes_a_second for at in SECONDS]
    assert process(leaking)["flat"] is flat


@pytest.mark.parametrize(("samples_each", "flat"), [(11, True), (8, False)])
def test_descriptors_may_grow_by_four(samples_each: int, flat: bool) -> None:
    opened = [40 + at // samples_each for at in range(121)]
    assert process([50 * MB] * 121, opened)["flat"] is flat


def test_a_process_that_ended_is_not_flat() -> None:
    judged = process([50 * MB] * 100 + [0] * 21, [40] * 100 + [0] * 21)
    assert (judged["alive"], judged["flat"]) == (False, False)


def test_samples_are_those_of_the_process() -> None:
    one = soak.Watched([os.getpid()], "here")
    with tempfile.TemporaryFile(), tempfile.TemporaryFile():
        one.sample()
    one.sample()
    assert one.descriptors[0] == one.descriptors[1] + 2
    assert min(one.memory) > MB


def test_charts_show_every_process() -> None:
    result = {"seconds": SECONDS, "processes": [process([50 * MB] * 121), process([60 * MB] * 121)]}
    drawn = soak.drawings(result)
    assert set(drawn) == {"memory", "descriptors"}
    for text in drawn.values():
        ET.fromstring(text)
        assert text.count("node A, workers") == 2
