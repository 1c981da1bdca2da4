"""What a message costs in Python, counted: calls of this package, of what it calls, and of functions in C."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import pytest
import uvloop
from loopback import Request, worker

import ocn_fast

pytestmark = pytest.mark.guard

PACKAGE = str(Path(ocn_fast.__file__).parent)
TESTS = str(Path(__file__).parents[1])
WARM_UP, COUNTED = 20, 31

WITHOUT_A_BODY = {
    # A coroutine that goes on after a wait is called again.
    "RelayDoor.__call__": 2,
    "RelayDoor._relay": 2,
    "RelayDoor._read": 1,
    "NodeService.change_number": 1,
    "NodeService.admit": 1,
    "_Answer.__init__": 1,
    "Watch.add": 1,
    "Watch.drop": 1,
}
"""Calls of functions of the package."""

WITH_A_BODY = WITHOUT_A_BODY | {"_Body.__init__": 1, "Watch.add": 2, "Watch.drop": 2}

OTHERS_WITHOUT_A_BODY = 3
"""Calls of everything else: two cross into Rust."""

OTHERS_WITH_A_BODY = 14
"""The difference is the limit of time within which a body has to arrive, and putting its chunks together."""

MORE = 2
"""So many more calls of others may come from another version of Python."""


@contextmanager
def counted() -> Iterator[Counter[tuple[bool, str]]]:
    """Calls of this thread meanwhile: whether of a function of the package, and its name."""
    calls: Counter[tuple[bool, str]] = Counter()

    def note(frame: FrameType, event: str, callee: Any) -> None:
        if event == "call" and _is_ours(frame):
            calls[_is_in_the_package(frame), frame.f_code.co_qualname] += 1
        elif event == "c_call" and _is_ours(frame):
            calls[False, callee.__qualname__] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _is_in_the_package(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)


def _is_ours(frame: FrameType | None) -> bool:
    """Whether the package runs there, or something that it has called; the scripted server is not ours."""
    while frame is not None and not frame.f_code.co_filename.startswith(TESTS):
        if _is_in_the_package(frame):
            return True
        frame = frame.f_back
    return False


def calls_of_a_message(folder: Path, **request: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Calls of the package, and of others: the median over many messages, since timers call as well."""

    async def run() -> list[Counter[tuple[bool, str]]]:
        async with asyncio.timeout(60), worker(folder, log__level="warning") as one:
            for _ in range(WARM_UP):
                assert (await one.relay(Request(one.token, **request))).status == 200
            each = []
            for _ in range(COUNTED):
                with counted() as calls:
                    await one.relay(Request(one.token, **request))
                each.append(calls)
            return each

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        each = runner.run(run())
    kinds: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for own, name in {key for calls in each for key in calls}:
        if times := int(median(calls[own, name] for calls in each)):
            kinds[not own][name] = times
    return kinds


def test_a_message_without_a_body_calls_what_it_called(tmp_path: Path) -> None:
    own, others = calls_of_a_message(tmp_path, method="GET", chunks=())
    assert own == WITHOUT_A_BODY
    assert sum(others.values()) <= OTHERS_WITHOUT_A_BODY + MORE, others


def test_a_message_with_a_body_calls_what_it_called(tmp_path: Path) -> None:
    own, others = calls_of_a_message(tmp_path)
    assert own == WITH_A_BODY
    assert sum(others.values()) <= OTHERS_WITH_A_BODY + MORE, others
