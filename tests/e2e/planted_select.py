"""A node whose app asks SQL once per message: shows that the count of statements would find it out.

python planted_select.py SETTINGS READY_FILE [table.key=value …]
"""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.types import Receive, Scope, Send

from ocn_fast import app, supervisor
from ocn_fast.config import Settings


class Planted(app.Application):
    """The real application, with a look-up before every relayed message."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and app.is_relayed(scope["path"]):
            await self.cold.state.context.store.find_link("0" * 32)
        await super().__call__(scope, receive, send)


def create() -> Planted:
    """The factory that workers call."""
    real = app.create()
    return Planted(real._settings)


if __name__ == "__main__":
    flags = dict(argument.split("=", 1) for argument in sys.argv[3:])
    settings = Settings.load(sys.argv[1], flags=flags)
    sys.exit(supervisor.serve(settings, ready_file=Path(sys.argv[2]), app="planted_select:create"))
