"""What requests find of the node that serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from ocn_fast.config import Settings

if TYPE_CHECKING:
    from ocn_fast.http.callers import Callers
    from ocn_fast.http.directory import Directory
    from ocn_fast.http.handshake import Handshakes
    from ocn_fast.node import NodeService
    from ocn_fast.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """One worker: made when the application starts, the same for all requests."""

    settings: Settings
    store: Store
    node: NodeService
    callers: Callers
    handshakes: Handshakes
    directory: Directory


def context_of(request: Request) -> Context:
    """The context of the application that got this request."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context
