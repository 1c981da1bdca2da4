"""`python -m bench.guard`: counts, compares with the base, ends with status 1 where something got worse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.guard.counting import (
    BUILT_FROM,
    ROOT,
    TARGET,
    Counts,
    GuardError,
    count,
    extract,
    made_with,
    target_of,
)
from bench.guard.judging import TOLERANCE, Verdict, judge

BASELINE = Path(__file__).parent / "baseline.json"


def main(
    update: Annotated[
        bool, typer.Option(help="Count and write the baseline, for a commit of its own.")
    ] = False,
    sources: Annotated[
        Path | None, typer.Option(help="Other sources than these: a folder with rust/ in it.")
    ] = None,
) -> None:
    """Counts the instructions of a message's journey and compares them with the baseline."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 150)
    try:
        if update:
            _update(console)
            return
        if not BASELINE.exists():
            raise GuardError(
                f"there is no {BASELINE.name} to compare with; make guard-update writes it, for a commit of "
                "its own"
            )
        counts = count(sources.resolve(), target_of(sources.resolve())) if sources else count(ROOT)
        base, origin = _base()
    except GuardError as error:
        console.print(f"The guard fails, nothing was judged: {error}", soft_wrap=True)
        raise typer.Exit(2) from None
    verdict = judge(base, counts)
    _print(console, base, counts, f"Instructions of one message, beside {origin}")
    _tell(console, verdict)
    if not verdict.passed:
        raise typer.Exit(1)


def _update(console: Console) -> None:
    """Writes the baseline. It belongs to a commit, whose sources are counted where the tools differ."""
    if changed := _git("status", "--porcelain", "--", *BUILT_FROM):
        raise GuardError(f"commit these first; a baseline is one of a commit:\n{changed}")
    counts = count(ROOT)
    baseline = {"made_with": made_with(), "instructions": counts}
    BASELINE.write_text(json.dumps(baseline, indent=1) + "\n")
    _print(console, counts, counts, "Instructions of one message")
    console.print(f"Written to {BASELINE.relative_to(ROOT)}: commit it alone.")


def _base() -> tuple[Counts, str]:
    """What to compare with: the committed counts where they were made with the same tools, otherwise the
    sources of the commit that they belong to, counted here and now. And what that is, in words."""
    baseline = json.loads(BASELINE.read_text())
    here = made_with()
    differing = [name for name, value in baseline["made_with"].items() if here.get(name) != value]
    if not differing:
        counts: Counts = baseline["instructions"]
        return counts, "the baseline"
    if _git("status", "--porcelain", "--", str(BASELINE.relative_to(ROOT))):
        raise GuardError("the baseline is not committed, and it was made with other tools")
    commit = _git("log", "-1", "--format=%H", "--", str(BASELINE.relative_to(ROOT))).strip()
    if not commit or _git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise GuardError(
            "the baseline was made with other tools, and its commit is not in this clone (fetch all of it)"
        )
    count(ROOT)
    folder = extract(commit, TARGET.with_name(f"guard-{commit[:12]}"))
    words = ", ".join(f"{name} {baseline['made_with'][name]}" for name in differing)
    return count(
        folder, target_of(folder)
    ), f"commit {commit[:12]} counted here (the baseline was made with {words})"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuardError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _print(console: Console, base: Counts, counts: Counts, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for head in ("row", "whole", "change"):
        table.add_column(head, justify="left" if head == "row" else "right", no_wrap=True)
    table.add_column("stages", overflow="fold")
    for row, stages in counts.items():
        now, before = sum(stages.values()), sum(base.get(row, {}).values())
        change = f"{now / before - 1:+.2%}" if before else "new"
        each = "  ".join(f"{stage} {value:,}" for stage, value in stages.items())
        table.add_row(row, f"{now:,}", change, each if len(stages) > 1 else "")
    console.print(table)


def _tell(console: Console, verdict: Verdict) -> None:
    for change in verdict.worse:
        console.print(f"worse: {change}", soft_wrap=True)
    for row in verdict.gone:
        console.print(f"gone: {row} is in the base and is not counted any more")
    for change in verdict.better:
        console.print(f"better: {change}")
    for row in verdict.new:
        console.print(f"new: {row} has nothing to be compared with")
    if not verdict.passed:
        console.print(
            f"The guard fails: more than {TOLERANCE:.0%} worse. If the price is meant, say why in its commit "
            "and renew the baseline (make guard-update) in one of its own."
        )
    elif verdict.better or verdict.new:
        console.print("The guard passes. Renew the baseline, so that what was won is kept: make guard-update")
    else:
        console.print("The guard passes.")


if __name__ == "__main__":
    typer.run(main)
