"""Files by which the processes of a node tell each other their figures: one a process, beside the database.

Whoever answers `/metrics` or `/health` reads those of all. A file is replaced in one step, and counts only as
long as its process lives.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ocn_fast.config import Settings

_KEEPER = "keeper.json"


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint of a chain. `state` is good, failing, shunned or unknown; `head` its newest block.

    `url` is without what may be secret in it; `error` is what was wrong last, empty if nothing is.
    """

    url: str
    state: str
    failures: int
    error: str
    head: int | None


class Mirror(msgspec.Struct, frozen=True):
    """How the mirror of a chain is. Blocks are None before the first; times are in Unix seconds.

    `brake`: how many operators and parties are held back from vanishing. `waiting`: how many moves wait for
    a quorum. `differences`: what comparisons found to be other than events had told. `left_out`: what of the
    registry is not used, by kind. `own`: what is wrong with our own listing. `error`: what was wrong last.
    """

    block: int | None = None
    block_hash: str | None = None
    block_time: int | None = None
    head: int | None = None
    endpoints: tuple[Endpoint, ...] = ()
    requests: int = 0
    brake: int = 0
    waiting: int = 0
    full_readings: int = 0
    reorganisations: int = 0
    differences: int = 0
    left_out: dict[str, int] = {}
    own: str = ""
    error: str = ""

    def age(self, now: float) -> int:
        """Seconds from the time of the block to `now`. There is a block."""
        assert self.block_time is not None, "a block was read"
        return int(now) - self.block_time

    @property
    def lag(self) -> int | None:
        """Blocks between the chain's newest and the one that was read last."""
        return None if self.head is None or self.block is None else self.head - self.block


class Keeper(msgspec.Struct, frozen=True):
    """What the keeper says of itself. `registry_refused`: the registry file as it is now cannot be used.

    `mirror` is there if the registry comes from a chain; `active` tells whether this keeper writes it, which
    of several on one database only one does.
    """

    pid: int
    registry_files_refused: int = 0
    registry_refused: bool = False
    mirror: Mirror | None = None
    active: bool = True


def worker_file(settings: Settings) -> Path:
    """Where this process, a worker, writes its figures."""
    return folder(settings) / f"{os.getpid()}.json"


def write_keeper(settings: Settings, keeper: Keeper) -> None:
    """Says how the keeper is."""
    write(folder(settings) / _KEEPER, msgspec.json.encode(keeper))


def read_keeper(settings: Settings) -> Keeper | None:
    """How the keeper is; None if none runs."""
    try:
        keeper = msgspec.json.decode((folder(settings) / _KEEPER).read_bytes(), type=Keeper)
    except FileNotFoundError:
        return None
    return keeper if lives(keeper.pid) else None


def folder(settings: Settings) -> Path:
    """Where all of them are."""
    database = settings.store.url.partition(":///")[2]
    return Path(f"{database}.figures")


def write(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old one or the new one."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def lives(pid: int) -> bool:
    """Whether a process of ours has that id."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        # One that we may not signal is not ours.
        return False
    return True
