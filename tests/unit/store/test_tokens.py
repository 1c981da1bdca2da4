"""Tokens: who they belong to, and when they end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ocn_fast.errors import StoreConflict
from ocn_fast.store import Party, PartyTaken, Platform, Registered, Store

from .conftest import registered
from .story import CPO, MSP, registration

pytestmark = pytest.mark.anyio

Open = Callable[..., Awaitable[Store]]


async def platform_of(database: Store, token: str) -> int | None:
    caller = await database.find_caller([token])
    return caller.platform.id if caller is not None and caller.platform is not None else None


async def read(database: Store, platform_id: int) -> Platform:
    platform = await database.platform(platform_id)
    assert platform is not None
    return platform


async def test_A50_of_two_uses_at_once_exactly_one_wins(open_store: Open) -> None:
    """Two workers, one token A, two different requests."""
    workers = [await open_store(), await open_store()]
    token = await workers[0].create_registration_token([CPO, MSP])
    outcomes = await asyncio.gather(
        *(
            worker.register(token.id, f"request {index}", registration(party))
            for index, (worker, party) in enumerate(zip(workers, (CPO, MSP), strict=True))
        ),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Registered)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, StoreConflict)]
    assert (len(won), len(lost)) == (1, 1)
    assert [platform.id for platform in await workers[0].platforms()] == [won[0].platform_id]


async def test_A50_the_same_request_at_once_gets_the_same_answer(open_store: Open) -> None:
    workers = [await open_store(), await open_store()]
    token = await workers[0].create_registration_token([CPO])
    answers = await asyncio.gather(
        *(worker.register(token.id, "request", registration(CPO)) for worker in workers)
    )
    assert answers[0] == answers[1]
    assert len(await workers[0].platforms()) == 1


async def test_A50_the_kept_answer_goes_with_the_first_use_of_token_c(database: Store) -> None:
    token = await database.create_registration_token([CPO])
    done = await database.register(token.id, "request", registration(CPO))
    assert await database.repeated_registration(token.id, "request") == done
    assert await database.repeated_registration(token.id, "another request") is None
    await database.write_last_seen({done.platform_id: 1})
    assert await database.repeated_registration(token.id, "request") is None


async def test_A50_an_expired_token_is_nobodys(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await open_store(handshake__token_a_hours=1)
    token = await database.create_registration_token([CPO])
    assert token.token is not None
    assert await database.find_caller([token.token]) is not None
    monkeypatch.setattr("ocn_fast.store.store._now", lambda: token.expires_at)
    assert await database.find_caller([token.token]) is None
    with pytest.raises(StoreConflict):
        await database.register(token.id, "request", registration(CPO))
    assert (await database.sweep()).registration_tokens == 1


async def test_A59_a_party_has_one_home(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    before = await database.changes_since(0)
    token = await database.create_registration_token([CPO, MSP])
    with pytest.raises(PartyTaken) as refused:
        await database.register(token.id, "request", registration(MSP, CPO))
    assert refused.value.party == CPO
    assert await database.changes_since(0) == before
    other, _ = await registered(database, MSP)
    with pytest.raises(PartyTaken):
        await database.update_registration(await read(database, other), registration(MSP, CPO))
    assert (await read(database, platform_id)).parties == (CPO,)
    assert (await read(database, other)).parties == (MSP,)
    # The failed use left the token as it was.
    again = await database.register(token.id, "request", registration(Party("FR", "AAA")))
    assert again.platform_id not in (platform_id, other)


async def test_A69_the_old_token_lives_until_the_new_one_is_shown(database: Store) -> None:
    platform_id, old = await registered(database, CPO)
    new = (await database.update_registration(await read(database, platform_id), registration(CPO))).token_c
    assert await platform_of(database, old) == platform_id
    assert len((await read(database, platform_id)).tokens) == 2
    assert await platform_of(database, new) == platform_id
    assert await platform_of(database, old) is None


async def test_A69_the_old_token_ends_with_its_grace(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await open_store(handshake__grace_s=60)
    platform_id, old = await registered(database, CPO)
    await database.update_registration(await read(database, platform_id), registration(CPO))
    ends = next(token.expires_at for token in (await read(database, platform_id)).tokens if token.expires_at)
    monkeypatch.setattr("ocn_fast.store.store._now", lambda: ends - 1)
    assert await platform_of(database, old) == platform_id
    monkeypatch.setattr("ocn_fast.store.store._now", lambda: ends)
    assert await platform_of(database, old) is None
    assert (await database.sweep()).access_tokens == 1


async def test_A66_of_two_updates_at_once_one_is_refused(open_store: Open) -> None:
    workers = [await open_store(), await open_store()]
    platform_id, _ = await registered(workers[0], CPO)
    platform = await read(workers[0], platform_id)
    outcomes = await asyncio.gather(
        *(worker.update_registration(platform, registration(CPO)) for worker in workers),
        return_exceptions=True,
    )
    assert sorted(type(outcome) for outcome in outcomes if isinstance(outcome, Exception)) == [StoreConflict]
    assert await workers[0].delete_platform(platform_id)
    with pytest.raises(StoreConflict):
        await workers[1].update_registration(platform, registration(CPO))


async def test_a_rotation_ends_all_tokens_at_once(database: Store) -> None:
    platform_id, first = await registered(database, CPO)
    updated = await database.update_registration(await read(database, platform_id), registration(CPO))
    third = await database.rotate_token(platform_id)
    assert third is not None
    found = [await platform_of(database, token) for token in (first, updated.token_c, third)]
    assert found == [None, None, platform_id]
    assert await database.rotate_token(platform_id + 1) is None


async def test_a_raw_match_comes_before_a_decoded_one(database: Store) -> None:
    platform_id, token = await registered(database, CPO)
    caller = await database.find_caller(["not a token", token])
    assert caller is not None
    assert caller.platform is not None
    assert (caller.form, caller.platform.id) == (1, platform_id)


async def test_A52_no_token_can_be_read_from_the_database(database: Store, tmp_path: Path) -> None:
    platform_id, token_c = await registered(database, CPO)
    token_a = await database.create_registration_token([CPO])
    assert token_a.token is not None
    new = registration(CPO, token_b="marker-token-b")
    await database.update_registration(await read(database, platform_id), new)
    written = await asyncio.to_thread(_contents, tmp_path)
    assert len(written) > 1_000
    for secret in (token_c, token_a.token, "token-b-of-the-peer", "marker-token-b"):
        assert secret.encode() not in written
        assert secret not in repr(token_a)


def _contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())
