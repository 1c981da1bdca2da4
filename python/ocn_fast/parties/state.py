"""What a party must remember over a restart: tokens, the node and its endpoints. One JSON file, mode 0600."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from ocn_fast.errors import ConfigError
from ocn_fast.listening import write_private


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of the node's version details."""

    identifier: str
    role: str
    url: str


class State(msgspec.Struct):
    """Tokens are named as OCPI names them, from the side of whoever registered first: this party."""

    token_a: str | None = None
    """Made by us for a node that wants to register here; dead once used."""
    tokens_b: list[str] = []
    """What the node presents to us, newest first; an older one lives until the newest was used."""
    token_c: str | None = None
    """What we present to the node. None: not registered."""
    versions_url: str | None = None
    """Of the node."""
    endpoints: list[Endpoint] = []
    own_url: str | None = None
    """Our versions URL as the node knows it: another one after a restart calls for a new handshake."""

    @property
    def registered(self) -> bool:
        return self.token_c is not None

    def endpoint(self, module: str, role: str) -> str | None:
        """The node's endpoint for a module and interface role; custom modules have none of their own."""
        wanted = (module.lower(), role.upper())
        found = (one.url for one in self.endpoints if (one.identifier.lower(), one.role.upper()) == wanted)
        return next(found, None)


class StateFile:
    """The state and the file it lives in; without a file it lives in memory."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.state = State()
        if file is not None and file.exists():
            try:
                self.state = msgspec.json.decode(file.read_bytes(), type=State)
            except (msgspec.DecodeError, OSError) as error:
                raise ConfigError(f"not a state file: {error}", source=str(file)) from None

    def save(self) -> None:
        """Writes it whole or not at all."""
        if self.file is None:
            return
        write_private(self.file, msgspec.json.encode(self.state))


def new_token() -> str:
    """A credentials token: 43 printable characters, 256 random bits."""
    return secrets.token_urlsafe(32)
