"""The guard's verdict: what is worse, what is better, what may pass."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import typer
from bench.guard import __main__ as guard
from bench.guard.judging import TRIFLE, judge

BASE = {"walk": {"parse": 20_000, "verify": 100_000, "reserve": 200}, "sign": {"all": 1_000}}


def changed(row: str, stage: str, count: int) -> dict[str, dict[str, int]]:
    """The base with another count."""
    return {**BASE, row: {**BASE[row], stage: count}}


def test_the_same_passes() -> None:
    verdict = judge(BASE, BASE)
    assert verdict.passed
    assert (verdict.worse, verdict.better, verdict.new, verdict.gone) == ((), (), (), ())


def test_three_percent_more_pass_and_one_more_fails_and_names_the_stage() -> None:
    assert judge(BASE, changed("walk", "parse", 20_600)).passed
    verdict = judge(BASE, changed("walk", "parse", 20_601))
    assert not verdict.passed
    assert [str(change) for change in verdict.worse] == [
        "walk, stage parse: 20,000 -> 20,601 instructions (+3.0%)"
    ]


def test_a_row_is_judged_as_a_whole_too() -> None:
    verdict = judge(BASE, changed("walk", "verify", 104_000))
    assert {change.stage for change in verdict.worse} == {None, "verify"}
    assert not judge(BASE, changed("sign", "all", 1_031)).passed


def test_trifles_of_small_stages_pass() -> None:
    assert judge(BASE, changed("walk", "reserve", 200 + TRIFLE)).passed
    assert not judge(BASE, changed("walk", "reserve", 201 + TRIFLE)).passed


def test_what_is_better_is_told_and_passes() -> None:
    verdict = judge(BASE, changed("walk", "verify", 90_000))
    assert verdict.passed
    assert {change.stage for change in verdict.better} == {None, "verify"}


def test_a_stage_that_appears_is_worse() -> None:
    [change] = judge(BASE, changed("walk", "seal", 1_000)).worse
    assert change.stage == "seal"


def test_new_rows_pass_and_rows_that_are_gone_fail() -> None:
    verdict = judge(BASE, {**BASE, "more": {"all": 1}})
    assert (verdict.passed, verdict.new) == (True, ("more",))
    verdict = judge(BASE, {"walk": BASE["walk"]})
    assert (verdict.passed, verdict.gone) == (False, ("sign",))


def test_without_a_baseline_it_fails_at_once_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it builds anything: nobody waits for a count that has nothing to be compared with."""
    count = Mock()
    monkeypatch.setattr(guard, "count", count)
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    with pytest.raises(typer.Exit) as ended:
        guard.main(update=False, sources=None)
    assert ended.value.exit_code == 2
    assert "there is no baseline.json to compare with" in capsys.readouterr().out
    count.assert_not_called()
