"""What got worse, what got better: counts beside the counts of a base."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.guard.counting import Counts

TOLERANCE = 0.03
"""How much more, or less, is still the same."""

TRIFLE = 500
"""So many instructions in one stage are nothing: one of 231 cannot be held to 3 %. The row as a whole is."""


@dataclass(frozen=True)
class Change:
    """A row, or a stage of it, that is no longer what it was."""

    row: str
    stage: str | None
    before: int
    now: int

    @property
    def share(self) -> float:
        """By how much of what it was: 0.05 is 5 % more instructions."""
        return self.now / self.before - 1

    def __str__(self) -> str:
        place = self.row if self.stage is None else f"{self.row}, stage {self.stage}"
        return f"{place}: {self.before:,} -> {self.now:,} instructions ({self.share:+.1%})"


@dataclass(frozen=True)
class Verdict:
    """All changes that are larger than the tolerance; rows that one side does not have."""

    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """A row that is no longer counted is a row that is no longer guarded."""
        return not self.worse and not self.gone


def judge(base: Counts, counts: Counts) -> Verdict:
    """Compares row by row and stage by stage."""
    changes = [change for row in counts if row in base for change in _of_row(row, base[row], counts[row])]
    return Verdict(
        tuple(change for change in changes if change.now > change.before),
        tuple(change for change in changes if change.now < change.before),
        tuple(row for row in counts if row not in base),
        tuple(row for row in base if row not in counts),
    )


def _of_row(row: str, base: dict[str, int], stages: dict[str, int]) -> Iterator[Change]:
    whole = Change(row, None, sum(base.values()), sum(stages.values()))
    if abs(whole.share) > TOLERANCE:
        yield whole
    if len(base) > 1:
        for stage in base | stages:
            before, now = base.get(stage, 0), stages.get(stage, 0)
            if abs(now - before) > max(before * TOLERANCE, TRIFLE):
                yield Change(row, stage, max(before, 1), now)
