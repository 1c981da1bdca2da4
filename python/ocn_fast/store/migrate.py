"""Brings a database to this version's schema. Called once, before anything else is started.

Alembic is imported where it is needed: every process imports this package, and only the first start of a
version migrates anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import OperationalError

from ocn_fast.config import Store as StoreSettings
from ocn_fast.errors import ConfigError
from ocn_fast.store import changes, schema
from ocn_fast.store.database import blocking_engine, translated_errors, writer_options

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(url: str) -> None:
    """Creates the database of `store.url` or upgrades it, in one transaction: all of it or nothing.

    Blocks, and runs no event loop, so it may be called from anywhere (from a coroutine: in a thread). A new
    SQLite file is readable by its owner only. Raises ConfigError if a newer version has written the database
    or its file cannot be made, and StoreUnavailable if it gives no answer.
    """
    _create_file(url)
    engine = blocking_engine(StoreSettings(url=url))
    try:
        if _revision(engine) != schema.REVISION:
            _upgrade(engine)
    finally:
        engine.dispose()


def _revision(engine: Engine) -> str | None:
    """The migration that the database is at; None if it is empty, or cannot be asked."""
    try:
        with engine.connect() as connection:
            found: str | None = connection.execute(changes.REVISION).scalar_one_or_none()
    except OperationalError:
        return None
    return found


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        with translated_errors(), engine.connect() as connection:
            connection.execution_options(**writer_options())
            with connection.begin():
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except CommandError:
        raise ConfigError(
            "the database was written by a newer version of ocn-fast; use that version, or restore a backup",
            key="store.url",
        ) from None


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _create_file(url: str) -> None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    try:
        os.close(os.open(parsed.database, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{parsed.database} cannot be created: {error.strerror}", key="store.url") from None
