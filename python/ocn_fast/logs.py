"""Log lines of the Python processes: JSON on standard error, one event a line, never in anybody's way.

A line that nobody takes waits in a bounded queue, and is dropped and counted when that is full: a slow or
closed sink delays no message. Control characters are escaped, so no value can begin a line of its own or
steer a terminal; values that would make a line longer than `log.line_bytes` are cut. Tracebacks come
without local variables.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any

from ocn_fast import config

# structlog would load rich, for tracebacks on terminals that none of our processes has: a tenth of a second
# and four megabytes of each. It takes it for not installed where importing it fails, as it does for None.
_rich = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
import structlog  # noqa: E402

if _rich is None:
    del sys.modules["rich"]

STANDARD_ERROR = 2
_CUT = "…"


class Sink:
    """Writes whole lines to a file descriptor from a thread of its own: no caller ever waits."""

    def __init__(self, descriptor: int = STANDARD_ERROR, capacity: int = 10_000) -> None:
        self._descriptor = descriptor
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._process = 0
        self.dropped = 0

    def put(self, line: bytes) -> None:
        """Queues a line, or drops and counts it if the queue is full."""
        with self._changed:
            if self._process != os.getpid():
                # Threads do not survive a fork: the first line of a new process starts its own.
                self._process = os.getpid()
                threading.Thread(target=self._write, name="log", daemon=True).start()
            if len(self._lines) >= self._capacity:
                self.dropped += 1
                return
            self._lines.append(line)
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Waits until all lines are written, for at most so long."""
        end = time.monotonic() + seconds
        with self._changed:
            while (self._lines or self._busy) and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._lines:
                    self._changed.wait()
                line = self._lines.popleft()
                self._busy = True
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                # The sink is gone. There is nowhere to say so but the counter.
                with self._changed:
                    self.dropped += 1


_sink = Sink()


def configure(settings: config.Log, process: str) -> None:
    """Sets up this process' log lines; `process` ("worker", "keeper", "supervisor") is in each of them."""
    global _sink
    _sink = Sink(capacity=settings.queue)
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _Renderer(settings.line_bytes, process),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_SinkLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    # What libraries find worth telling is not what operators of a node need to read.
    root.setLevel(max(level, logging.WARNING))


def get() -> Any:
    """The logger of this process: `get().info("what happened", key=value)`."""
    return structlog.get_logger()


def dropped() -> int:
    """How many lines of this process were lost to a full or closed sink."""
    return _sink.dropped


def flush(seconds: float = 1.0) -> None:
    """Gives waiting lines so long to be written; called once, when a process ends."""
    _sink.flush(seconds)


class _SinkLogger:
    """What structlog writes to: takes rendered lines."""

    def __init__(self, *_: Any) -> None:
        pass

    def msg(self, line: bytes) -> None:
        _sink.put(line)

    debug = info = warning = error = critical = exception = log = msg


class _Renderer:
    """Turns an event into one line of at most `limit` bytes."""

    def __init__(self, limit: int, process: str) -> None:
        self._limit = limit
        self._process = process

    def __call__(self, _logger: Any, _name: str, event: MutableMapping[str, Any]) -> bytes:
        values = {
            "time": event.pop("time", ""),
            "level": event.pop("level", ""),
            "process": self._process,
            "pid": os.getpid(),
            "event": event.pop("event", ""),
            **event,
        }
        line = _encode(values)
        if len(line) <= self._limit:
            return line
        # An escaped character takes up to twelve bytes; every value gets an even share of the line.
        share = max(self._limit // len(values) // 12 - 16, 4)
        line = _encode({key: _cut(value, share) for key, value in values.items()})
        if len(line) <= self._limit:
            return line
        kept = ("time", "level", "process", "pid")
        short = {key: values[key] for key in kept} | {"event": _cut(values["event"], 16), "cut": True}
        return _encode(short)


def _encode(values: Mapping[str, Any]) -> bytes:
    """JSON in ASCII: every control character, also the newer ones of Unicode, is an escape."""
    text = json.dumps(values, ensure_ascii=True, default=repr, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode() + b"\n"


def _cut(value: Any, characters: int) -> Any:
    if isinstance(value, int | float | bool) or value is None:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= characters else text[:characters] + _CUT


class _Bridge(logging.Handler):
    """Brings what libraries log through `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        get().log(record.levelno, message, logger=record.name, exc_info=record.exc_info or None)
