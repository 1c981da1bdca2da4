"""The change number and what the table is told."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocn_fast import store
from ocn_fast.errors import StoreConflict
from ocn_fast.store import Party, Rule, Rules, Store

from .conftest import registered
from .story import CPO, MSP, registration

pytestmark = pytest.mark.anyio

OPERATOR = "0x" + "A" * 40


def snapshot(block: int, *parties: Party, domain: str = "https://node.example") -> Any:
    """A registry in which one operator has these parties."""
    return SimpleNamespace(
        network="test",
        chain_id=1,
        contract=None,
        block=block,
        block_hash=None,
        time="2026-01-01T00:00:00Z",
        operators=(SimpleNamespace(address=OPERATOR, domain=domain),),
        parties=tuple(
            SimpleNamespace(
                country_code=party.country_code,
                party_id=party.party_id,
                address="0x" + "B" * 40,
                operator=OPERATOR,
                roles=("CPO",),
                modules=(),
            )
            for party in parties
        ),
        services=(),
        agreements=(),
    )


async def change(database: Store, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await database.changes_since(number))
    return found


async def test_an_empty_database_is_a_full_change(database: Store) -> None:
    assert await change(database, 0) == {
        "number": 1,
        "full": True,
        "registry": None,
        "platforms": [],
        "gone_platforms": [],
    }


async def test_a_platform_is_told_with_everything_the_relay_needs(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    assert await database.change_rules(
        platform_id, lambda _: Rules(True, "whitelist", (Rule(MSP, ("cdrs",)),))
    )
    told = (await change(database, 1))["platforms"]
    digest = told[0]["tokens"][0]["digest"]
    assert told == [
        {
            "id": platform_id,
            "status": "CONNECTED",
            "version": "2.2.1",
            "parties": [{"country_code": "DE", "party_id": "CPO", "role": "CPO"}],
            "tokens": [{"digest": digest, "expires_at": None}],
            "token_b": "token-b-of-the-peer",
            "token_encoding": "base64",
            "endpoints": [
                {"module": "locations", "role": "SENDER", "url": "http://127.0.0.1:9000/ocpi/locations"}
            ],
            "origins": [],
            "versions_url": "http://127.0.0.1:9000/ocpi/versions",
            "rules": {
                "signatures": True,
                "mode": "whitelist",
                "entries": [{"country_code": "NL", "party_id": "MSP", "modules": ["cdrs"]}],
            },
            "sign_for_party": False,
            "exempt": [],
        }
    ]


async def test_every_change_of_a_platform_bumps_the_number_and_names_it(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    changes = [
        lambda: database.set_status(platform_id, "SUSPENDED"),
        lambda: database.set_sign_for_party(platform_id, True),
        lambda: database.change_rules(platform_id, lambda _: Rules(True)),
        lambda: database.rotate_token(platform_id),
    ]
    for make in changes:
        before = await database.change_number()
        assert await make()
        told = await change(database, before)
        assert told["number"] > before
        assert [row["id"] for row in told["platforms"]] == [platform_id]
    before = await database.change_number()
    platform = await database.platform(platform_id)
    assert platform is not None
    await database.update_registration(platform, registration(CPO, MSP))
    assert len((await change(database, before))["platforms"][0]["parties"]) == 2


async def test_a_deleted_platform_is_told_as_gone_and_no_more_in_full(database: Store) -> None:
    platform_id, _ = await registered(database, CPO)
    before = await database.change_number()
    assert await database.delete_platform(platform_id)
    assert (await change(database, before))["gone_platforms"] == [platform_id]
    assert (await change(database, 0))["platforms"] == []
    again, _ = await registered(database, CPO)
    assert again != platform_id


async def test_a_number_from_the_future_gets_everything(database: Store) -> None:
    """The database was restored from a backup."""
    await registered(database, CPO)
    told = await change(database, 1_000)
    assert told["full"]
    assert len(told["platforms"]) == 1


async def test_only_differences_of_the_registry_are_written_and_told(database: Store) -> None:
    first = await database.apply_registry(snapshot(1, CPO, MSP))
    assert (first.written, first.removed) == (3, 0)
    assert (await database.apply_registry(snapshot(1, CPO, MSP))).number is None
    before = await database.change_number()
    second = await database.apply_registry(snapshot(2, CPO))
    assert (second.written, second.removed) == (0, 1)
    told = (await change(database, before))["registry"]
    assert (told["block"], told["operators"], told["parties"]) == (2, [], [])
    assert told["gone_parties"] == [["NL", "MSP"]]
    listed = await database.registered_party(CPO)
    assert listed is not None
    assert (listed.operator, listed.domain) == (OPERATOR, "https://node.example")
    assert await database.registered_party(MSP) is None


async def test_it_is_known_which_file_the_registry_is_of_until_it_is_written_otherwise(
    database: Store,
) -> None:
    async def file() -> str | None:
        state = await database.registry_state()
        assert state is not None
        return state.file

    lease = await database.take_lease("registry", "test", lambda _: False)
    assert lease is not None
    await database.apply_registry(snapshot(1, CPO), lease, file="a")
    assert await file() == "a"
    # The same registry in another file: nobody else has to hear of that.
    number = await database.change_number()
    await database.apply_registry(snapshot(1, CPO), lease, file="b")
    assert (await file(), await database.change_number()) == ("b", number)
    with pytest.raises(StoreConflict):
        await database.apply_registry(snapshot(0, CPO), lease, file="c")
    assert await file() == "b"
    await database.apply_registry(snapshot(2, CPO), lease)
    assert await file() is None
    # Without the lease somebody else may have written since they were compared.
    await database.apply_registry(snapshot(2, CPO), file="d")
    assert await file() is None
    await database.apply_registry(snapshot(3, CPO), lease, file="e")
    await database.release_lease(lease)
    other = await database.take_lease("registry", "other", lambda _: False)
    assert other is not None
    with pytest.raises(store.LeaseLost):
        await database.apply_registry(snapshot(3, CPO), lease, file="f")
    assert await file() == "e"


async def test_a_look_at_the_chain_forgets_the_file(database: Store) -> None:
    lease = await database.take_lease("registry", "test", lambda _: False)
    assert lease is not None
    await database.apply_registry(snapshot(1, CPO), lease, file="a")
    cursor = store.Cursor("chain", 2, "0x" + "2" * 64, 1_767_225_600, None, 0, "[]")
    await database.write_mirror(store.Progress(cursor, (), 0, 0, {}), None, lease)
    state = await database.registry_state()
    assert state is not None
    assert (state.block, state.file) == (2, None)


async def test_an_earlier_block_is_refused_and_changes_nothing(database: Store) -> None:
    await database.apply_registry(snapshot(5, CPO))
    before = await change(database, 0)
    with pytest.raises(StoreConflict):
        await database.apply_registry(snapshot(4, CPO, MSP))
    assert await change(database, 0) == before


async def test_whatever_the_registry_holds_is_told_to_the_letter(database: Store) -> None:
    odd = [*('"', "\\", "\\u0041", "\x01", "\x7f", "é\u2028\U0001f697", "{}", "null", ""), "x" * 5_000]
    listed = snapshot(1)
    listed.operators = tuple(
        SimpleNamespace(address=f"0x{i:040}", domain=domain) for i, domain in enumerate(odd)
    )
    listed.parties = (
        SimpleNamespace(
            country_code="DE",
            party_id="CPO",
            address="0x" + "B" * 40,
            operator=OPERATOR,
            roles=tuple(odd),
            modules=("1e400", "01"),
        ),
    )
    await database.apply_registry(listed)
    told = (await change(database, 0))["registry"]
    assert [operator["domain"] for operator in told["operators"]] == odd
    (party,) = told["parties"]
    assert (party["roles"], party["modules"]) == (odd, ["1e400", "01"])
    assert list(party) == ["country_code", "party_id", "address", "operator", "roles", "modules"]


PARTIES = st.lists(st.sampled_from([CPO, MSP, Party("FR", "AAA"), Party("FR", "BBB")]), unique=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(PARTIES, st.sampled_from(["https://a.example", "https://b.example"])), max_size=5
    )
)
async def test_differences_add_up_to_the_whole(database: Store, steps: list[tuple[list[Party], str]]) -> None:
    """Whoever applies every difference holds what a full change holds."""
    state = await database.registry_state()
    block = 0 if state is None else state.block
    number = 0
    operators: dict[str, str] = {}
    parties: dict[tuple[str, str], str] = {}
    for listed, domain in steps:
        block += 1
        await database.apply_registry(snapshot(block, *listed, domain=domain))
        told = await change(database, number)
        if told["full"]:
            operators, parties = {}, {}
        number, registry = told["number"], told["registry"]
        for address in registry["gone_operators"]:
            operators.pop(address, None)
        for gone in registry["gone_parties"]:
            parties.pop(tuple(gone), None)
        operators |= {row["address"]: row["domain"] for row in registry["operators"]}
        parties |= {(row["country_code"], row["party_id"]): row["operator"] for row in registry["parties"]}
        whole = (await change(database, 0))["registry"]
        assert operators == {row["address"]: row["domain"] for row in whole["operators"]}
        assert set(parties) == {(row["country_code"], row["party_id"]) for row in whole["parties"]}
        assert set(parties) == {(party.country_code, party.party_id) for party in listed}


async def test_a_poll_is_one_statement(database: Store) -> None:
    before = database.statements()
    for _ in range(3):
        await database.change_number()
    after = database.statements()
    assert after["poll"] - before["poll"] == 3
    assert after["other"] == before["other"]
