"""Prometheus metrics of the whole node, whichever worker is asked.

Each worker writes its figures into a file every second (`ocn_fast.node`); the worker that answers adds up
those of the others and its own, fresh. Figures of a worker that has ended leave the sums: to Prometheus that
is a counter that was reset. Labels come from closed sets only.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from ocn_fast import figures
from ocn_fast.http.context import context_of

Figures = dict[str, Any]
"""What one worker counts: `ocn_fast.node.NodeService.stats`."""

_COUNTED: dict[str, tuple[str, Callable[[Figures], int]]] = {
    "ocn_fast_messages_received": ("Messages that arrived.", lambda one: one["relay"]["received"]),
    "ocn_fast_messages_signed": (
        "Messages whose signature was found good.",
        lambda one: one["relay"]["signed"],
    ),
    "ocn_fast_uncovered_leaves": (
        "Values that a signature did not cover and its policy let pass.",
        lambda one: one["relay"]["uncovered_leaves"],
    ),
    "ocn_fast_links_dropped": (
        "Links of answers that were left out.",
        lambda one: one["relay"]["links_dropped"],
    ),
    "ocn_fast_tokens_refused": (
        "Answers by which a receiver refused the hub's token.",
        lambda one: one["relay"]["tokens_refused"],
    ),
    "ocn_fast_nodes_asked": (
        "Questions to other nodes what they speak.",
        lambda one: one["relay"]["nodes_asked"],
    ),
    "ocn_fast_node_strangers": (
        "Times that another operator answered under a node's domain.",
        lambda one: one["relay"]["node_strangers"],
    ),
    "ocn_fast_node_answers_refused": (
        "Answers of other nodes that were not signed by them.",
        lambda one: one["relay"]["node_answers_refused"],
    ),
    "ocn_fast_sessions_given": (
        "Session keys given to other nodes.",
        lambda one: one["relay"]["sessions"]["given"],
    ),
    "ocn_fast_sessions_opened": (
        "Session keys that other nodes gave.",
        lambda one: one["relay"]["sessions"]["opened"],
    ),
    "ocn_fast_sessions_refused": (
        "Times that another node was asked for a session key and gave none.",
        lambda one: one["relay"]["sessions"]["refused"],
    ),
    "ocn_fast_sessions_lost": (
        "Messages signed again because the other node no longer knew the session.",
        lambda one: one["relay"]["sessions"]["lost"],
    ),
    "ocn_fast_panics": (
        "Defects that were caught.",
        lambda one: one["relay"]["panics"] + one["panics"],
    ),
    "ocn_fast_completions": ("Results handed over to Python.", lambda one: one["completions"]),
    "ocn_fast_wakes": ("Wakes of the event loop for them.", lambda one: one["wakes"]),
    "ocn_fast_log_lines_dropped": (
        "Log lines of messages that a slow sink cost.",
        lambda one: one["log"]["dropped"],
    ),
    "ocn_fast_connections_dialled": (
        "Connections made to receivers.",
        lambda one: one["connections"]["dialled"],
    ),
    "ocn_fast_connections_reused": (
        "Messages sent on a connection that was there.",
        lambda one: one["connections"]["reused"],
    ),
}
_LEVELS: dict[str, tuple[str, Callable[[Figures], int]]] = {
    "ocn_fast_in_flight": ("Messages in work.", lambda one: one["in_flight"]),
    "ocn_fast_buffered_bytes": ("Bodies held in memory.", lambda one: one["buffered_bytes"]),
    "ocn_fast_connections_used": ("Connections to receivers in use.", lambda one: one["connections"]["used"]),
    "ocn_fast_connections_idle": (
        "Connections to receivers kept for later.",
        lambda one: one["connections"]["idle"],
    ),
}
_TABLE = {
    "version": "Change number of the oldest table in use.",
    "parties": "Parties in the registry.",
    "operators": "Operators in the registry.",
    "platforms": "Platforms of this node.",
    "local_parties": "Parties of this node's platforms.",
}


async def metrics(request: Request) -> Response:
    """GET /metrics: the text form of Prometheus."""
    context = context_of(request)
    own = orjson.loads(context.node.stats())
    others = await asyncio.to_thread(_read_others, figures.folder(context.settings))
    registry = CollectorRegistry()
    keeper = await asyncio.to_thread(figures.read_keeper, context.settings)
    registry.register(_Workers([own, *others], None if keeper is None else keeper.mirror))
    registry.register(_Keeper(keeper))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Keeper(Collector):
    """What the keeper says of itself and of the registry file."""

    def __init__(self, keeper: figures.Keeper | None) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ocn_fast_keeper_up", "Whether the keeper runs.", value=int(self._keeper is not None)
        )
        if self._keeper is not None:
            yield CounterMetricFamily(
                "ocn_fast_registry_files_refused",
                "Registry files that the keeper refused.",
                value=self._keeper.registry_files_refused,
            )
            if self._keeper.mirror is not None:
                yield from _mirror(self._keeper.mirror)


_MIRROR_LEVELS: dict[str, tuple[str, Callable[[figures.Mirror], int | None]]] = {
    "head": ("Newest block of the chain.", lambda mirror: mirror.head),
    "lag_blocks": ("Blocks between the chain's newest and the registry's.", lambda mirror: mirror.lag),
    "brake_entries": ("Operators and parties held back from vanishing.", lambda mirror: mirror.brake),
    "waiting_moves": ("Moves that wait for a quorum of endpoints.", lambda mirror: mirror.waiting),
    "own_fault": ("Whether this node's own listing is wrong.", lambda mirror: int(bool(mirror.own))),
}
_MIRROR_COUNTED: dict[str, tuple[str, Callable[[figures.Mirror], int]]] = {
    "requests": ("Requests to endpoints of the chain.", lambda mirror: mirror.requests),
    "full_readings": ("Readings of the whole registry.", lambda mirror: mirror.full_readings),
    "reorganisations": ("Reorganisations of the chain.", lambda mirror: mirror.reorganisations),
    "differences": ("Records that a full reading found to be others.", lambda mirror: mirror.differences),
}


def _mirror(mirror: figures.Mirror) -> Iterator[Metric]:
    """What the keeper says of a registry on a chain."""
    for name, (text, level) in _MIRROR_LEVELS.items():
        if (value := level(mirror)) is not None:
            yield GaugeMetricFamily(f"ocn_fast_registry_{name}", text, value=value)
    for name, (text, figure) in _MIRROR_COUNTED.items():
        yield CounterMetricFamily(f"ocn_fast_registry_{name}", text, value=figure(mirror))
    good = GaugeMetricFamily(
        "ocn_fast_registry_endpoint_good",
        "Whether an endpoint did well when last asked.",
        labels=("endpoint",),
    )
    failures = GaugeMetricFamily(
        "ocn_fast_registry_endpoint_failures", "Its failures in a row.", labels=("endpoint",)
    )
    for number, endpoint in enumerate(mirror.endpoints):
        good.add_metric((str(number),), int(endpoint.state == "good"))
        failures.add_metric((str(number),), endpoint.failures)
    left_out = GaugeMetricFamily(
        "ocn_fast_registry_left_out", "Entries of the registry that are not used.", labels=("kind",)
    )
    for kind, count in sorted(mirror.left_out.items()):
        left_out.add_metric((kind,), count)
    yield from (good, failures, left_out)


class _Workers(Collector):
    """The figures of all workers, added up. Of a block that changed nothing only the mirror knows."""

    def __init__(self, workers: Sequence[Figures], mirror: figures.Mirror | None) -> None:
        self._workers = workers
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("ocn_fast_workers", "Worker processes.", value=len(self._workers))
        for name, (text, figure) in _COUNTED.items():
            yield CounterMetricFamily(name, text, value=sum(map(figure, self._workers)))
        for name, (text, figure) in _LEVELS.items():
            yield GaugeMetricFamily(name, text, value=sum(map(figure, self._workers)))
        yield self._messages()
        yield self._statements()
        yield self._stages()
        for name, key, text in (
            ("ocn_fast_message_seconds", "total", "Time from a message's arrival to its answer."),
            ("ocn_fast_hub_seconds", "hub", "The part of it that the hub itself took."),
        ):
            family = HistogramMetricFamily(name, text)
            family.add_metric([], *_histogram([one["relay"][key] for one in self._workers]))
            yield family
        yield from self._table()

    def _messages(self) -> Metric:
        counts: Counter[tuple[str, str, str]] = Counter()
        for one in self._workers:
            for cell in one["relay"]["messages"]:
                counts[cell["module"], cell["role"], cell["outcome"]] += cell["count"]
        family = CounterMetricFamily(
            "ocn_fast_messages", "Messages by what became of them.", labels=("module", "role", "outcome")
        )
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        return family

    def _statements(self) -> Metric:
        counts: Counter[str] = Counter()
        for one in self._workers:
            counts.update(one["statements"])
        family = CounterMetricFamily(
            "ocn_fast_sql_statements",
            "SQL statements: polls of the change number, and others.",
            labels=("kind",),
        )
        for kind, count in sorted(counts.items()):
            family.add_metric((kind,), count)
        return family

    def _stages(self) -> Metric:
        family = HistogramMetricFamily("ocn_fast_stage_seconds", "Time by stage.", labels=("stage",))
        for stage in self._workers[0]["relay"]["stages"]:
            parts = [one["relay"]["stages"][stage] for one in self._workers]
            family.add_metric((stage,), *_histogram(parts))
        return family

    def _table(self) -> Iterator[Metric]:
        tables = [one["table"] for one in self._workers]
        for key, text in _TABLE.items():
            yield GaugeMetricFamily(f"ocn_fast_table_{key}", text, value=min(table[key] for table in tables))
        block, age = self._block(tables)
        if block is not None:
            yield GaugeMetricFamily("ocn_fast_registry_block", "Block of the registry.", value=block)
            yield GaugeMetricFamily(
                "ocn_fast_registry_age_seconds", "Age of the registry's block.", value=age
            )

    def _block(self, tables: Sequence[Figures]) -> tuple[int | None, float]:
        """The registry's block and its age in seconds."""
        if self._mirror is not None and self._mirror.block is not None:
            return self._mirror.block, self._mirror.age(time.time())
        times = [table["block_time"] for table in tables]
        if None in times:
            return None, 0.0
        oldest = min(map(datetime.fromisoformat, times))
        return min(table["block"] for table in tables), (datetime.now(UTC) - oldest).total_seconds()


def _histogram(parts: Iterable[Figures]) -> tuple[list[tuple[str, float]], float]:
    """Cumulated buckets and sum of histograms with the same bounds."""
    parts = list(parts)
    counts = accumulate(map(sum, zip(*(part["counts"] for part in parts), strict=True)))
    bounds = [*map(str, parts[0]["bounds"]), "+Inf"]
    return list(zip(bounds, map(float, counts), strict=True)), sum(part["sum"] for part in parts)


def _read_others(folder: Path) -> list[Figures]:
    """The figures of the other workers that live."""
    found = []
    for file in folder.glob("*.json"):
        if not file.stem.isdecimal() or int(file.stem) == os.getpid() or not figures.lives(int(file.stem)):
            continue
        try:
            found.append(orjson.loads(file.read_bytes()))
        except FileNotFoundError:
            # It ended in this moment.
            continue
    return found
