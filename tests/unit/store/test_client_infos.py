"""Client infos: what follows from platforms and registry, and what another operator may say."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import pytest

from ocn_fast.registry import snapshot
from ocn_fast.store import ClientInfo, Party, Rule, Rules, Store
from ocn_fast.store.records import Status

from .conftest import registered
from .story import CPO, MSP

pytestmark = pytest.mark.anyio

OWN = "0x" + "A" * 40
OTHER = "0x" + "B" * 40
THIRD = "0x" + "C" * 40
ROLES = frozenset({"CPO", "EMSP"})
FOREIGN = Party("FR", "FOR")
LONG_AGO = 1_000


async def publish(
    database: Store, parties: Mapping[Party, str], *, block: int = 1, roles: Sequence[str] = ("CPO",)
) -> None:
    """Makes a registry of these parties and their operators."""
    await database.apply_registry(
        snapshot.Snapshot(
            network="test",
            chain_id=1,
            contract=None,
            block=block,
            block_hash=None,
            time="2026-01-01T00:00:00Z",
            operators=tuple(
                snapshot.Operator(address, f"https://{address[2]}.example") for address in (OWN, OTHER, THIRD)
            ),
            parties=tuple(
                snapshot.Party(party.country_code, party.party_id, THIRD, operator, tuple(roles))
                for party, operator in parties.items()
            ),
        )
    )


async def waiting(database: Store, operator: str = OTHER) -> dict[tuple[Party, str], Status]:
    """What an operator has yet to hear from us."""
    found = await database.unacknowledged_client_infos(OWN, operator, 100)
    return {(info.party, info.role): info.status for info in found}


async def test_NODE118_a_partys_way_from_planned_to_suspended(database: Store) -> None:
    await publish(database, {CPO: OWN, MSP: OWN})
    assert await database.reconcile_client_infos(OWN, ROLES) == 2
    assert await waiting(database) == {(CPO, "CPO"): "PLANNED", (MSP, "CPO"): "PLANNED"}
    platform, _ = await registered(database, CPO)
    assert await database.reconcile_client_infos(OWN, ROLES) == 1
    assert (await waiting(database))[CPO, "CPO"] == "CONNECTED"
    await database.set_status(platform, "OFFLINE")
    assert await database.reconcile_client_infos(OWN, ROLES) == 1
    assert (await waiting(database))[CPO, "CPO"] == "OFFLINE"
    await database.delete_platform(platform)
    assert await database.reconcile_client_infos(OWN, ROLES) == 1
    assert await database.reconcile_client_infos(OWN, ROLES) == 0
    assert await waiting(database) == {(CPO, "CPO"): "SUSPENDED", (MSP, "CPO"): "PLANNED"}
    await registered(database, CPO)
    await database.reconcile_client_infos(OWN, ROLES)
    assert (await waiting(database))[CPO, "CPO"] == "CONNECTED"


async def test_each_change_is_later_than_the_one_before(database: Store) -> None:
    """Two in the same millisecond, or a clock that was set back, must not look older to others."""
    await publish(database, {CPO: OWN})
    seen = []
    for _ in range(5):
        platform, _ = await registered(database, CPO)
        await database.reconcile_client_infos(OWN, ROLES)
        seen += await database.unacknowledged_client_infos(OWN, OTHER, 10)
        await database.delete_platform(platform)
        await database.reconcile_client_infos(OWN, ROLES)
        seen += await database.unacknowledged_client_infos(OWN, OTHER, 10)
    times = [info.last_updated for info in seen]
    assert times == sorted(set(times))
    assert len(times) == 10


async def test_only_differences_are_sent_and_each_operator_has_its_own(database: Store) -> None:
    await publish(database, {CPO: OWN, MSP: OWN})
    await database.reconcile_client_infos(OWN, ROLES)
    first, second = await database.unacknowledged_client_infos(OWN, OTHER, 10)
    await database.acknowledge_client_infos(OTHER, [first])
    assert await database.unacknowledged_client_infos(OWN, OTHER, 10) == [second]
    assert len(await waiting(database, THIRD)) == 2
    await database.acknowledge_client_infos(OTHER, [second])
    assert await waiting(database) == {}
    await registered(database, CPO)
    await database.reconcile_client_infos(OWN, ROLES)
    assert await waiting(database) == {(CPO, "CPO"): "CONNECTED"}


async def test_an_operator_that_left_and_came_back_hears_everything(database: Store) -> None:
    await publish(database, {CPO: OWN})
    await database.reconcile_client_infos(OWN, ROLES)
    for operator in (OTHER, THIRD):
        infos = await database.unacknowledged_client_infos(OWN, operator, 10)
        await database.acknowledge_client_infos(operator, infos)
    await database.acknowledge_client_infos("0x" + "D" * 40, infos)
    await database.reconcile_client_infos(OWN, ROLES)
    assert await waiting(database) == {}
    assert await waiting(database, "0x" + "D" * 40) == {(CPO, "CPO"): "PLANNED"}


async def test_roles_that_nobody_knows_are_not_told(database: Store) -> None:
    await publish(database, {CPO: OWN}, roles=("CPO", "UNKNOWN_9"))
    await database.reconcile_client_infos(OWN, ROLES)
    assert await waiting(database) == {(CPO, "CPO"): "PLANNED"}


async def test_a_party_that_moved_is_no_longer_ours_to_report(database: Store) -> None:
    await publish(database, {CPO: OWN})
    await registered(database, CPO)
    await database.reconcile_client_infos(OWN, ROLES)
    await publish(database, {CPO: OTHER}, block=2)
    await database.reconcile_client_infos(OWN, ROLES)
    assert await waiting(database) == {}
    # Its new operator's word counts, whatever his clock says, and our next look leaves it as it is.
    assert await database.receive_client_info(ClientInfo(CPO, "CPO", "OFFLINE", LONG_AGO), OTHER) == "stored"
    assert await database.reconcile_client_infos(OWN, ROLES) == 0
    platform = (await database.platforms())[0]
    page, total = await database.client_infos_for(platform, since=None, until=None, offset=0, limit=10)
    assert (page, total) == ([ClientInfo(CPO, "CPO", "OFFLINE", LONG_AGO)], 1)


async def test_NODE125_a_party_of_another_node_that_left_the_registry_is_suspended(database: Store) -> None:
    await publish(database, {FOREIGN: OTHER, CPO: OWN})
    await registered(database, CPO)
    await database.receive_client_info(ClientInfo(FOREIGN, "EMSP", "CONNECTED", LONG_AGO), OTHER)
    await database.reconcile_client_infos(OWN, ROLES)
    platform = (await database.platforms())[0]

    async def status() -> dict[Party, Status]:
        page, _ = await database.client_infos_for(platform, since=None, until=None, offset=0, limit=10)
        return {info.party: info.status for info in page}

    assert await status() == {FOREIGN: "CONNECTED", CPO: "CONNECTED"}
    await publish(database, {CPO: OWN}, block=2)
    assert await database.reconcile_client_infos(OWN, ROLES) == 1
    assert await status() == {FOREIGN: "SUSPENDED", CPO: "CONNECTED"}
    assert await database.reconcile_client_infos(OWN, ROLES) == 0


async def test_A100_one_row_a_role_and_the_latest_word_wins(database: Store) -> None:
    now = time.time_ns() // 1_000_000
    said = [(now, "stored"), (now, "known"), (now - 1, "older"), (now + 1, "stored")]
    for moment, outcome in said:
        info = ClientInfo(FOREIGN, "CPO", "CONNECTED", moment)
        assert await database.receive_client_info(info, OTHER) == outcome
    both = [ClientInfo(FOREIGN, "EMSP", "CONNECTED", now + i) for i in range(20)]
    outcomes = await asyncio.gather(*(database.receive_client_info(info, OTHER) for info in both))
    assert "stored" in outcomes
    await publish(database, {CPO: OWN})
    await registered(database, CPO)
    platform = (await database.platforms())[0]
    page, total = await database.client_infos_for(platform, since=None, until=None, offset=0, limit=10)
    assert total == 2
    assert {info.role: info.last_updated for info in page} == {"CPO": now + 1, "EMSP": now + 19}


async def test_NODE122_rules_decide_what_a_platform_sees(database: Store) -> None:
    await publish(database, {FOREIGN: OTHER, CPO: OWN})
    platform_id, _ = await registered(database, CPO)
    await database.receive_client_info(ClientInfo(FOREIGN, "CPO", "CONNECTED", LONG_AGO), OTHER)
    await database.reconcile_client_infos(OWN, ROLES)

    async def seen(rules: Rules) -> set[Party]:
        await database.change_rules(platform_id, lambda _: rules)
        platform = await database.platform(platform_id)
        assert platform is not None
        page, total = await database.client_infos_for(platform, since=None, until=None, offset=0, limit=10)
        assert total == len(page)
        return {info.party for info in page}

    entry = (Rule(FOREIGN, ("cdrs",)),)
    assert await seen(Rules()) == {CPO, FOREIGN}
    assert await seen(Rules(mode="none", entries=entry)) == {CPO, FOREIGN}
    assert await seen(Rules(mode="whitelist", entries=entry)) == {FOREIGN}
    assert await seen(Rules(mode="blacklist", entries=entry)) == {CPO}
    assert await seen(Rules(mode="whitelist")) == set()
