"""A database of its own for each test, and records to fill it with."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ocn_fast import store
from ocn_fast.config import Settings
from ocn_fast.store import Party, Store

from .story import RING, registration


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a node with its database in the test's folder; `links__per_platform=3` sets one."""

    def make(**changed: object) -> Settings:
        flags = {
            "node.url": "http://127.0.0.1:8080",
            "node.country_code": "CH",
            "node.party_id": "OCN",
            "node.dev": True,
            "store.url": f"sqlite+aiosqlite:///{tmp_path}/node.db",
        }
        return Settings.load(
            flags=flags | {name.replace("__", "."): value for name, value in changed.items()}
        )

    return make


@pytest.fixture
async def open_store(make_settings: Callable[..., Settings]) -> AsyncIterator[Callable[..., object]]:
    """Opens the test's database, any number of times, with settings as for `make_settings`."""
    opened: list[Store] = []

    async def open_one(**changed: object) -> Store:
        settings = make_settings(**changed)
        store.migrate(settings.store.url)
        opened.append(await store.open(settings, RING))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@pytest.fixture
async def database(open_store: Callable[..., object]) -> Store:
    return await open_store()  # type: ignore[misc, no-any-return]


async def registered(database: Store, *parties: Party) -> tuple[int, str]:
    """Registers a platform; its id and token C."""
    token = await database.create_registration_token(parties)
    done = await database.register(token.id, "request", registration(*parties))
    return done.platform_id, done.token_c
