"""The application of one worker: the hot door, and everything else behind Starlette.

`create` is the factory that the server calls in each worker. Paths of functional and custom modules go to the
relay before any routing happens, and so does what other nodes bring; versions, credentials, rules, the admin
API and health are ordinary routes. Nothing imports this file.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount, Route, request_response
from starlette.types import Receive, Send

from ocn_fast import keyfiles, lifecycle, store
from ocn_fast.config import Settings
from ocn_fast.errors import OcpiError, StoreError
from ocn_fast.http import (
    admin,
    credentials,
    heads,
    health,
    hubclientinfo,
    metrics,
    nodes,
    responses,
    rules,
    unread,
    versions,
)
from ocn_fast.http.callers import Callers
from ocn_fast.http.context import Context
from ocn_fast.http.directory import Directory
from ocn_fast.http.handshake import Handshakes
from ocn_fast.http.relay import RelayDoor
from ocn_fast.node import NodeService

_RELAYED = (
    "/ocn/relay/",
    "/ocpi/sender/",
    "/ocpi/receiver/",
    "/ocpi/custom/",
    *(f"/ocpi/{version}/{side}/" for version in versions.VERSIONS for side in ("sender", "receiver")),
)
YOUNG = 20_000
"""Objects that are made, and not given up, before the next search for cycles."""

_RULES = tuple(
    path
    for version in versions.VERSIONS
    for path in (f"/ocpi/receiver/{version}/ocnrules", f"/ocpi/{version}/receiver/ocnrules")
)
_BELOW_RULES = tuple(path + "/" for path in _RULES)


def create(settings: Settings | None = None) -> Application:
    """The application. Settings default to the complete ones that the supervisor put into the environment."""
    return Application(settings or Settings.from_json(os.environ[lifecycle.SETTINGS_VARIABLE]))


def is_relayed(path: str) -> bool:
    """Whether a path belongs to the hot door: the modules that are relayed, which `ocnrules` is not."""
    return path.startswith(_RELAYED) and not (path in _RULES or path.startswith(_BELOW_RULES))


class Application:
    """An ASGI application. `cold` is the part behind Starlette; its routes are all there are beside the
    relay.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._door: RelayDoor | None = None
        self.cold = Starlette(
            routes=_routes(settings),
            lifespan=self._lifespan,
            middleware=[Middleware(heads.BoundedHead, settings.http)],
            exception_handlers={
                OcpiError: responses.on_ocpi_error,
                StoreError: responses.on_store_error,
                HTTPException: responses.on_http_exception,
                Exception: responses.on_defect,
            },
        )
        # A redirect would carry a token to an address that nobody asked for.
        self.cold.router.redirect_slashes = False
        self._whole_cold = unread.Drop(self.cold, settings.http.linger_ms / 1_000)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._door is not None and is_relayed(scope["path"]):
            await self._door(scope, receive, send)
        else:
            await self._whole_cold(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        settings = self._settings
        database = await store.open(settings)
        try:
            node = NodeService(settings, database)
            directory = Directory(database, node, settings.registry.list_rows)
            await node.open()
            try:
                app.state.context = Context(
                    settings=settings,
                    store=database,
                    node=node,
                    callers=Callers(settings, database),
                    handshakes=Handshakes(settings, database, node),
                    directory=directory,
                )
                self._door = RelayDoor(
                    node,
                    body_timeout_s=settings.http.body_timeout_ms / 1_000,
                    linger_s=settings.http.linger_ms / 1_000,
                )
                # What is here now stays: looking through it again and again for cycles was a thirtieth of
                # what an unsigned message costs. Messages leave none: what is young is not searched often.
                gc.freeze()
                # Texts and copies of a whole table, needed once.
                lifecycle.give_back_memory()
                gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
                yield
            finally:
                self._door = None
                await directory.close()
                await node.close()
        finally:
            await database.close()


def _routes(settings: Settings) -> list[BaseRoute]:
    key = keyfiles.read_admin_key(settings.admin.key_file, settings.admin.key_chars)
    figures = request_response(metrics.metrics)
    guarded = admin.AdminGuard(admin.ROUTER, settings, key)
    return [
        *health.ROUTES,
        *versions.ROUTES,
        *credentials.ROUTES,
        *rules.ROUTES,
        *hubclientinfo.ROUTES,
        Mount("/ocn", nodes.OpenRate(nodes.ROUTER, settings)),
        Mount("/admin", admin.OperatorNetworks(guarded, settings)),
        Route("/metrics", admin.OperatorNetworks(figures, settings), methods=["GET"]),
    ]
