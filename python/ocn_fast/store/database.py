"""The engine: connections, transactions, timeouts, counted statements, and errors without values.

SQLite runs in WAL mode, so that readers never wait for a writer, and a writer takes the lock when its
transaction begins: waiting is bounded by `store.timeout_ms`, and nothing fails half-way for a lock that came
too late.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

from sqlalchemy import create_engine, event, exc, make_url
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ocn_fast.config import Store as StoreSettings
from ocn_fast.errors import StoreConflict, StoreUnavailable

Kind = Literal["poll", "other"]

_MODE = "ocn_mode"


class Statements:
    """How many SQL statements this process has sent, by kind: `poll` (the change number) and `other`."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = {"poll": 0, "other": 0}
        self._counting = threading.Lock()

    def count(self, kind: Kind) -> None:
        with self._counting:
            self._counts[kind] += 1

    def snapshot(self) -> dict[Kind, int]:
        """The counts as they stand."""
        return dict(self._counts)


class Database:
    """The ways in: `reading`, `writing` and `polling`; for threads that may block, `blocking`."""

    def __init__(self, settings: StoreSettings) -> None:
        self.statements = Statements()
        self._engine = _engine(settings)
        self._blocking_engine = blocking_engine(settings)
        for engine in (self._engine.sync_engine, self._blocking_engine):
            event.listen(engine, "before_cursor_execute", self._count)

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()
        # The last one that is closed may write the log back into the database.
        await asyncio.to_thread(self._blocking_engine.dispose)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees the database as it stood at its first statement."""
        with translated_errors():
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_MODE: "read"})
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction with the write lock: committed at the end, or rolled back whole."""
        with translated_errors():
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_MODE: "write"})
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[AsyncConnection]:
        """A connection without a transaction, for one statement."""
        with translated_errors():
            async with self._engine.connect() as connection:
                await connection.execution_options(**{_MODE: "poll"})
                yield connection

    @contextmanager
    def blocking(self, mode: Literal["read", "write"]) -> Iterator[Connection]:
        """A transaction like that of `reading` or `writing`; never on an event loop's thread.

        All of it happens on the thread that asks, where the others hop to one of the driver's for each step.
        """
        with translated_errors(), self._blocking_engine.connect() as connection:
            connection.execution_options(**{_MODE: mode})
            with connection.begin():
                yield connection

    def _count(self, connection: Connection, *_: Any) -> None:
        self.statements.count("poll" if connection.get_execution_options().get(_MODE) == "poll" else "other")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Makes `StoreError`s of the driver's errors. Their texts name the fault, never a value."""
    try:
        yield
    except exc.IntegrityError as error:
        raise StoreConflict(f"the database refused a row: {error.orig}") from None
    except (exc.DBAPIError, exc.TimeoutError) as error:
        fault = error.orig if isinstance(error, exc.DBAPIError) else "no connection became free in time"
        raise StoreUnavailable(f"the database did not answer: {fault}") from None


def prepare(engine: Engine, settings: StoreSettings) -> None:
    """Makes an engine's connections what this package expects of them."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions on its own: `_begin` does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {settings.timeout_ms:d}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {settings.sqlite_synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        match connection.get_execution_options().get(_MODE):
            case "write":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            case "read":
                connection.exec_driver_sql("BEGIN")
            case _:
                pass


def writer_options() -> dict[str, Any]:
    """Execution options of a connection whose transactions write."""
    return {_MODE: "write"}


def blocking_engine(settings: StoreSettings) -> Engine:
    """An engine of the driver without an event loop."""
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        url = url.set(drivername="sqlite")
    engine = create_engine(url, hide_parameters=True)
    prepare(engine, settings)
    return engine


def _engine(settings: StoreSettings) -> AsyncEngine:
    engine = create_async_engine(
        settings.url,
        hide_parameters=True,
        pool_size=settings.pool,
        max_overflow=0,
        pool_timeout=settings.timeout_ms / 1_000,
        connect_args={"timeout": settings.timeout_ms / 1_000},
    )
    prepare(engine.sync_engine, settings)
    return engine
