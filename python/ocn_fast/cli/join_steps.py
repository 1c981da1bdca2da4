"""The frame of `ocn-fast join`: one step after the other, each of which can be taken up again.

A step first looks at the world: what is there already is not done again, whoever did it. What is noted in the
folder only helps: answers given before, and transactions that were sent when the command was interrupted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import typer
from rich.console import Console

from ocn_fast import keyfiles
from ocn_fast.cli.output import print_json, print_line, print_note
from ocn_fast.errors import ConfigError, OcnError

STATE_FILE = "join.json"
LOOK_S = 0.5
"""How often it is looked whether something has come about."""
TO_BE_CONTINUED = 3
"""Exit status where somebody else must do something first."""

_STYLES = {"done": "green", "there": "green", "next": "yellow", "waiting": "yellow"}

T = TypeVar("T")


class JoinError(OcnError):
    """A step cannot be done, and repeating it would not help."""


class Waiting(OcnError):
    """Somebody else must do something first; the same command then goes on from here."""


@dataclass(frozen=True)
class Step:
    """One step on the way.

    `found` says how the world looks where the step is done, else None. `plan` says what `take` will do; a
    step that `costs` money or cannot be undone is taken only with consent. A step without `take` is for
    somebody else: `plan` says what he has to do, and this run ends there.
    """

    name: str
    title: str
    found: Callable[[], str | None]
    plan: Callable[[], Sequence[str]]
    take: Callable[[], None] | None = None
    costs: bool = False


class Notes:
    """What is kept in the folder between two runs, mode 0600. Raises ConfigError for a file that is no such
    file, or belongs to another way."""

    def __init__(self, folder: Path, kind: Literal["operator", "party"]) -> None:
        self._file = folder / STATE_FILE
        self._document: dict[str, Any] = {"kind": kind, "given": {}, "transactions": {}}
        if not self._file.exists():
            return
        try:
            found = json.loads(keyfiles.read(self._file))
            usable = isinstance(found["given"], dict) and isinstance(found["transactions"], dict)
            other = found["kind"]
        except (ValueError, KeyError, TypeError):
            usable, other = False, kind
        if not usable:
            raise ConfigError("is no state of `ocn-fast join`", source=str(self._file))
        if other != kind:
            raise ConfigError(f"somebody joins as {other} from this folder: take another one for a {kind}")
        self._document = found

    def given(self, name: str) -> Any:
        """What was given for an option before; None for nothing."""
        return self._document["given"].get(name)

    def give(self, **values: Any) -> None:
        """Keeps what options were given, for the next run."""
        self._document["given"] |= {name: value for name, value in values.items() if value is not None}
        self._write()

    def transaction(self, step: str) -> str | None:
        """The transaction that was sent for a step last, if any."""
        found: str | None = self._document["transactions"].get(step)
        return found

    def sent(self, step: str, transaction: str) -> None:
        """Keeps which transaction was sent, before anybody waits for it."""
        if self.transaction(step) != transaction:
            self._document["transactions"][step] = transaction
            self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._file.with_suffix(".new")
        beside.unlink(missing_ok=True)
        keyfiles.create(beside, json.dumps(self._document, indent=2) + "\n")
        beside.replace(self._file)


@dataclass
class Way:
    """The steps of one command, and how it talks: lines for a person, or one JSON document at the end."""

    yes: bool
    json: bool
    said: list[dict[str, Any]] = field(default_factory=list)

    def go(self, steps: Sequence[Step]) -> bool:
        """Takes the steps that are still to be taken. False where the next one is somebody else's.

        Raises Waiting, JoinError, and whatever a step raises.
        """
        for number, step in enumerate(steps, 1):
            head = f"[{number}/{len(steps)}] {step.title}"
            detail = step.found()
            if detail is not None:
                self._report(head, step, "there", detail)
                continue
            plan = list(step.plan())
            if step.take is None:
                self._report(head, step, "next", *plan)
                return False
            self._say(head)
            for line in plan:
                self._say(f"      {line}")
            if step.costs:
                self._ask(step)
            step.take()
            detail = step.found()
            if detail is None:
                raise JoinError(f"{step.title}: it was done and does not show; run the command again")
            self._report(head, step, "done", detail)
        return True

    def finish(self, **facts: Any) -> None:
        """Prints the outcome, for scripts."""
        if self.json:
            print_json({**facts, "steps": self.said})

    def _ask(self, step: Step) -> None:
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise Waiting(f"{step.title}: this needs your consent: say --yes")
        if not typer.confirm("      Shall I?", default=False, err=self.json):
            raise Waiting(f"{step.title}: not done; run the command again when you want to")

    def _report(self, head: str, step: Step, state: str, *details: str) -> None:
        self.said.append({"step": step.name, "state": state, "detail": " ".join(details)})
        match state:
            case "done":
                self._say(f"      done: {details[0]}", _STYLES[state])
            case "there":
                self._say(f"{head}: there already: {details[0]}", _STYLES[state])
            case _:
                self._say(head, _STYLES[state])
                for line in details:
                    self._say(f"      {line}")

    def _say(self, text: str, style: str = "") -> None:
        if self.json:
            print_note(text)
        else:
            print_line(text, style)
            # A script that waits for a line must see it.
            sys.stdout.flush()


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal what is being waited for; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    with console.status(text) as shown:
        yield lambda more: shown.update(more)


def wait_until(holds: Callable[[], bool], wait_s: float, *, shown: str, otherwise: str) -> None:
    """Looks at the world until something holds. Raises Waiting (`otherwise`) where it does not in time."""
    end = time.monotonic() + wait_s
    with status(shown):
        while not holds():
            if time.monotonic() > end:
                raise Waiting(otherwise)
            time.sleep(LOOK_S)


def ask(given: T | None, noted: T | None, option: str, question: str) -> T | str:
    """The value of an option: as given, as given before, or as somebody at a terminal says."""
    if given is not None:
        return given
    if noted is not None:
        return noted
    if sys.stdin.isatty():
        answer: str = typer.prompt(question, err=True)
        return answer
    raise typer.BadParameter("is needed where nobody can be asked", param_hint=option)
