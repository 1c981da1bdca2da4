"""How a process of the node begins and ends: no core dumps, an end by its parent, the drain.

A leaf, so that the supervisor, the keeper and the doors can all use it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

SETTINGS_VARIABLE = "OCN_FAST_SETTINGS_JSON"
"""The complete settings, as JSON, in the environment of keeper and workers."""

PREPARED = "prepared"
"""What the first keeper of a node says, as a line on standard output, when workers may open the database."""

DRAIN_SIGNAL = signal.SIGUSR1
"""What the supervisor sends its workers, repeatedly, for `shutdown.drain_s` before they stop accepting."""

_PR_SET_PDEATHSIG = 1
_draining = False


def harden() -> None:
    """No core dumps, and no file that others can read."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)


def belong_to(parent: int) -> None:
    """Leaves the end of this process to `parent`, which started it: killed when that ends in whatever way,
    and deaf to Ctrl-C, which a terminal sends to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It was gone before we asked.
        sys.exit(1)


def give_back_memory() -> None:
    """Returns to the system what the C library keeps of it for later; does nothing where it is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def watch_drain() -> None:
    """Has `draining` follow the supervisor's signal; called in a worker's main thread."""
    signal.signal(DRAIN_SIGNAL, _start_draining)


def draining() -> bool:
    """Whether this worker is about to stop: `/health/ready` says so and proxies send no more."""
    return _draining


def _start_draining(_signal: int, _frame: object) -> None:
    global _draining
    _draining = True
