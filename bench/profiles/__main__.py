"""`python -m bench.profiles steady`: one profile on a demo that was left running (`make demo KEEP=1`)."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

# Before everything else: it makes sockets and threads cooperative.
import locust  # isort: skip
import typer
from locust import FastHttpUser, LoadTestShape, constant_throughput
from locust.env import Environment
from rich.console import Console
from rich.table import Table

from bench.profiles import demo, traffic
from bench.profiles.demo import NoDemo, Party
from bench.profiles.traffic import Judge, Message

_USERS = 50
_TIMEOUT_S = 15.0


class Profile(StrEnum):
    """Which load."""

    steady = "steady"
    burst = "burst"
    authorise_storm = "authorise-storm"
    status_push = "status-push"
    mixed_day = "mixed-day"


@dataclass(frozen=True)
class Mix:
    """Kinds of messages by weight, and how the load runs: a share of the full rate at a share of the time."""

    weights: dict[Message, int]

    def share(self, at: float) -> float:
        """The same all the time."""
        return 1.0


class _Bursts(Mix):
    """Five times quiet, five times five-fold."""

    def share(self, at: float) -> float:
        return 1.0 if int(at * 10) % 2 else 0.2


class _Storm(Mix):
    """A quiet start, then everybody at once, then quiet again."""

    def share(self, at: float) -> float:
        return 1.0 if 0.2 <= at < 0.8 else 0.05


class _Day(Mix):
    """A day in one run: few at night, most in the morning and the evening."""

    def share(self, at: float) -> float:
        morning, evening = (math.exp(-(((at - peak) / 0.1) ** 2)) for peak in (0.35, 0.75))
        return 0.1 + 0.9 * max(morning, evening)


_SESSIONS: dict[Message, int] = {traffic.session: 6, traffic.status: 4}
MIXES: dict[Profile, Mix] = {
    Profile.steady: Mix(_SESSIONS),
    Profile.burst: _Bursts(_SESSIONS),
    Profile.authorise_storm: _Storm({traffic.authorise: 1}),
    Profile.status_push: Mix({traffic.status: 1}),
    Profile.mixed_day: _Day(
        {
            traffic.status: 50,
            traffic.session: 25,
            traffic.authorise: 10,
            traffic.sites: 5,
            traffic.bill: 4,
            traffic.unlock: 4,
            traffic.forged: 1,
            traffic.stranger: 1,
        }
    ),
}


class Lane(FastHttpUser):
    """Sends its part of the messages, one after the other."""

    abstract = True
    network_timeout = connection_timeout = _TIMEOUT_S
    mix: Mix
    pairs: list[tuple[Party, Party]]
    judge: Judge

    @locust.task
    def send(self) -> None:
        """One message of the mix, between one of the pairs."""
        (message,) = random.choices(list(self.mix.weights), list(self.mix.weights.values()))
        self.exchange(message, *random.choice(self.pairs))

    def exchange(self, message: Message, cpo: Party, msp: Party) -> None:
        """Sends one and judges what comes back."""
        name, request = message(cpo, msp)
        way = "near" if cpo.node == msp.node else "far"
        receiver = cpo if name in ("locations", "command") else msp
        with self.client.request(
            request.method, request.url, name=f"{name}, {way}", headers=request.headers,
            data=request.body, catch_response=True,
        ) as answer:  # fmt: skip
            complaint = self.judge.complaint(
                name, receiver, answer.status_code, answer.headers or {}, answer.content or b""
            )
            answer.failure(complaint) if complaint else answer.success()


def _lane(mix: Mix, pairs: list[tuple[Party, Party]], judge: Judge, rate: float) -> type[Lane]:
    """The users of a run."""
    wait = constant_throughput(rate / _USERS)
    return type(
        "Run",
        (Lane,),
        {"mix": mix, "pairs": pairs, "judge": judge, "wait_time": wait, "host": pairs[0][0].node},
    )


def _shape(mix: Mix, seconds: float, times: int) -> LoadTestShape:
    """Users over time, the profile so many times; ends the run."""

    class Shape(LoadTestShape):
        def tick(self) -> tuple[int, float] | None:
            at = self.get_run_time() / seconds * times
            return None if at >= times else (max(1, round(_USERS * mix.share(at % 1))), _USERS)

    return Shape()


def main(
    profile: Profile,
    seconds: Annotated[float, typer.Option(min=5)] = 60.0,
    rate: Annotated[float, typer.Option(help="Messages a second at full load.", min=1)] = 100.0,
    times: Annotated[int, typer.Option(help="How often the profile runs within these seconds.", min=1)] = 1,
    folder: Annotated[Path | None, typer.Option(help="Of the demo; else the youngest is taken.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write what is printed, as JSON.")] = None,
) -> None:
    """Ends with status 1 if an answer was not as expected."""
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        folder = folder or demo.youngest()
        pairs = demo.pairs(demo.parties(folder))
    except NoDemo as error:
        console.print(str(error), style="red")
        raise typer.Exit(2) from None
    console.print(f"{profile} on the demo in {folder}, {rate:g} messages a second at full load")
    for cpo, msp in pairs:
        way = "the same node" if cpo.node == msp.node else "two nodes"
        console.print(f"{cpo.name} at {cpo.node}, {msp.name} at {msp.node}: over {way}")
    mix, judge = MIXES[profile], Judge()
    user = _lane(mix, pairs, judge, rate)
    environment = Environment(
        user_classes=[user], shape_class=_shape(mix, seconds, times), stop_timeout=_TIMEOUT_S
    )
    runner = environment.create_local_runner()
    # The location comes first: what follows changes parts of it.
    first = user(environment)
    for cpo, msp in pairs:
        first.exchange(traffic.site, cpo, msp)
    started = time.monotonic()
    runner.start_shape()
    assert runner.shape_greenlet is not None
    runner.shape_greenlet.join()
    runner.quit()
    told = _told(environment, judge, time.monotonic() - started)
    _show(console, told)
    if out:
        out.write_text(json.dumps(told))
    if environment.stats.total.num_failures:
        raise typer.Exit(1)


def _told(environment: Environment, judge: Judge, seconds: float) -> dict[str, Any]:
    """What was sent, how long answers took, and what was refused; all messages together come last."""
    entries: list[Any] = sorted(environment.stats.entries.values(), key=lambda entry: entry.name)
    messages = [
        {
            "message": entry.name,
            "sent": entry.num_requests,
            "per_second": entry.num_requests / seconds,
            "p50_ms": entry.get_response_time_percentile(0.5),
            "p99_ms": entry.get_response_time_percentile(0.99),
            "worst_ms": entry.max_response_time,
            "not_as_expected": entry.num_failures,
        }
        for entry in (*entries, environment.stats.total)
    ]
    refusals = [
        {
            "message": name,
            "refusal": kind,
            "count": count,
            "expected": f"OCPI {traffic.EXPECTED.get(name)}" in kind,
        }
        for (name, kind), count in judge.refusals.most_common()
    ]
    return {"seconds": seconds, "messages": messages, "refusals": refusals, "checked": judge.checked}


def _show(console: Console, told: dict[str, Any]) -> None:
    table = Table(title="Messages", title_justify="left")
    for head in ("message", "sent", "per second", "p50 ms", "p99 ms", "worst ms", "not as expected"):
        table.add_column(head, justify="left" if head == "message" else "right")
    for one in told["messages"]:
        table.add_row(
            one["message"], f"{one['sent']:,}", f"{one['per_second']:,.1f}", f"{one['p50_ms']:,.0f}",
            f"{one['p99_ms']:,.0f}", f"{one['worst_ms']:,.0f}", f"{one['not_as_expected']:,}",
        )  # fmt: skip
    console.print(table)
    refused = Table(title="Refusals by kind", title_justify="left")
    for head in ("message", "refusal", "count", "expected"):
        refused.add_column(head, justify="right" if head == "count" else "left")
    for one in told["refusals"]:
        expected = "yes" if one["expected"] else "no"
        refused.add_row(one["message"], one["refusal"], f"{one['count']:,}", expected)
    console.print(refused if told["refusals"] else "Nothing was refused.")
    console.print(f"signatures of {told['checked']:,} answers were checked")


if __name__ == "__main__":
    typer.run(main)
