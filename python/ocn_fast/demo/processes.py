"""Processes of the demo: commands of this package, each ended with the demo, however that ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from ocn_fast.errors import OcnError

START_S = 120.0
STOP_S = 10.0
_AT_ONCE = os.cpu_count() or 1
"""Commands that run at the same time: more of them would only wait for each other."""


class DemoError(OcnError):
    """The demo could not be set up; nothing was proven either way."""


class Child:
    """One process and everything it may leave behind."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._gone = False
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Signals the process itself, not its children."""
        # Not by the process object, which would take the exit status away from whoever waits for it.
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self, seconds: float) -> bool:
        """Whether it ended within the time."""
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Asks it to end; kills it, and whatever it started, if it does not or has left something."""
        if self._gone:
            return
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        await self.ended(STOP_S)
        with suppress(ProcessLookupError, TimeoutError):
            async with asyncio.timeout(STOP_S):
                while True:  # until there is nobody left in its group, children of children included
                    os.killpg(self.pid, signal.SIGKILL)
                    await asyncio.sleep(0.01)
        await self._process.wait()
        self._gone = True

    async def ready(self, file: Path) -> bytes:
        """Its ready file, once that is there. Raises `DemoError` if it ends first or takes too long."""
        try:
            async with asyncio.timeout(START_S):
                while (content := _content(file)) is None:
                    if not self.running:
                        raise DemoError(f"{self.name} did not start: {self._last_words()}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            text = f"{self.name} was not ready within {START_S:.0f} s: {self._last_words()}"
            raise DemoError(text) from None
        return content

    def _last_words(self) -> str:
        """The end of its log, for when it failed."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])


class Processes:
    """Everything that one demo has started."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def start(self, name: str, home: Path, *arguments: str, stdin: str = "") -> Child:
        """Starts a command that goes on, in a folder of its own, where its log is."""
        log = home / "log.txt"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ocn_fast", *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=out, stderr=out, cwd=home,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        child = Child(name, process, log)
        self._children.append(child)
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        return child

    async def run(self, *arguments: str) -> bytes:
        """Runs one command to its end; what it printed. Raises `DemoError` if it fails."""
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ocn_fast", *arguments, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, preexec_fn=_end_with_parent,
            )  # fmt: skip
            try:
                out, errors = await process.communicate()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
        if process.returncode != 0:
            words = " ".join(word for word in arguments[:2] if not word.startswith("-"))
            raise DemoError(f"ocn-fast {words} failed: {errors.decode(errors='replace').strip()}")
        return out

    async def end(self) -> None:
        """Ends whoever is left."""
        await asyncio.gather(*(child.end() for child in self._children))


def since_ms(started: float) -> float:
    """Milliseconds since a moment of `time.perf_counter`."""
    return (time.perf_counter() - started) * 1000


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """A demo that is killed cannot end its children: on Linux the kernel does it.

    It kills them: one of them is stopped on purpose and would never see a request to end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
