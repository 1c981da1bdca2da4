"""What a server of one process needs: a port that is surely its own, and a file that says it is there."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from ocn_fast.errors import ConfigError

START_S = 20.0


def reserve(host: str, port: int) -> socket.socket:
    """Holds a port until the server has it, which binds beside this socket (SO_REUSEPORT), not after it.

    Port 0 takes a free one. Raises `ConfigError` if somebody else listens there.
    """
    try:
        if port != 0:
            # Without sharing first: a port that somebody else listens on must be refused, not shared.
            with socket.socket() as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind((host, port))
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror}") from None
    return reserved


async def accepting(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Returns once the port accepts. Raises `ConfigError` if the server gave up or takes too long."""
    try:
        async with asyncio.timeout(START_S):
            while True:
                if serving.done():
                    raise ConfigError(f"the server did not start: {serving.exception()}")
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                return
    except TimeoutError:
        raise ConfigError(f"the server did not listen within {START_S:.0f} s") from None


def write_private(file: Path, content: bytes) -> None:
    """Replaces a file in one step, readable by its owner alone."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
    draft.replace(file)
