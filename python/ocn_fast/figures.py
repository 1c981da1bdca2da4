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


class Keeper(msgspec.Struct, frozen=True):
    """What the keeper says of itself. `registry_refused`: the registry file as it is now cannot be used."""

    pid: int
    registry_files_refused: int = 0
    registry_refused: bool = False


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
