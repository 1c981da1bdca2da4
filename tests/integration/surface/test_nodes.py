"""What other nodes ask without a token: who we are, what the registry says, and what they tell us."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ocn_fast import _native
from ocn_fast.http.directory import LEAST_PAUSE_S
from ocn_fast.http.sources import SOURCES, Rate
from ocn_fast.registry import snapshot

from .conftest import CPO, ELSEWHERE, MSP, OTHER_OPERATOR, UNLISTED, Node, StartNode

pytestmark = pytest.mark.anyio

REGISTRY = "/ocn/registry"
KEY = bytes(31) + b"\7"
"""The key of another node."""
ADDRESS = _native.address_of(KEY)
ITS_PARTY = ("NL", "ITS")


async def publish(node: Node, *parties: tuple[str, str, str], block: int = 2, **changed: Any) -> None:
    """Makes a registry of these parties (country code, party id, operator) known to the node."""
    roles = changed.pop("roles", ("CPO", "EMSP"))
    operators = changed.pop(
        "operators",
        {node.context.node.address: node.context.settings.node.url, ADDRESS: "https://its.example"},
    )
    await node.context.store.apply_registry(
        snapshot.Snapshot(
            network="test",
            chain_id=1,
            contract=None,
            block=block,
            block_hash=None,
            time="2026-01-01T00:00:00Z",
            operators=tuple(snapshot.Operator(*entry) for entry in operators.items()),
            parties=tuple(
                snapshot.Party(country_code, party_id, OTHER_OPERATOR, operator, roles)
                for country_code, party_id, operator in parties
            ),
        )
    )


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    """Waits until the condition gives something true."""
    end = time.monotonic() + seconds
    while not (got := await condition()):
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.01)
    return got


def address(node: Node) -> str:
    return node.context.node.address.lower()


async def test_node_info_is_that_of_the_existing_nodes_and_says_what_we_speak(start_node: StartNode) -> None:
    node = await start_node()
    answer = await node.client.get(f"{REGISTRY}/node-info")
    assert answer.status_code == 200
    assert answer.json() == {
        "url": "http://127.0.0.1:8080",
        "address": address(node),
        "relay": ["ocn-relay/3"],
    }
    talkative = await start_node(node__show_software=True)
    assert (await talkative.client.get(f"{REGISTRY}/node-info")).json()["software"].startswith("ocn-fast")


@pytest.mark.parametrize(
    ("path", "operator"),
    [("DE/CPO", "own"), ("de/cpo", "own"), ("NL/MSP", "own"), ("FR/ELS", "other")],
)
async def test_the_node_of_a_party_is_told_as_by_a_v1_node(node: Node, path: str, operator: str) -> None:
    answer = await node.client.get(f"{REGISTRY}/node/{path}")
    expected = {
        "own": {"url": "http://127.0.0.1:8080/", "address": address(node)},
        "other": {"url": "https://another.example", "address": OTHER_OPERATOR},
    }
    assert (answer.status_code, answer.json()) == (200, expected[operator])


@pytest.mark.parametrize("path", ["FR/NOT", "DE/CP", "D/CPO", "DEE/CPO", "DE/%00%01%02", "%C3%84%C3%84/CPO"])
async def test_an_unknown_party_is_a_text_as_of_a_v1_node(node: Node, path: str) -> None:
    answer = await node.client.get(f"{REGISTRY}/node/{path}")
    assert (answer.status_code, answer.text) == (200, "Party not registered on OCN")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_a_party_whose_operator_is_not_listed_has_no_node(node: Node) -> None:
    await publish(node, (*ITS_PARTY, ADDRESS), operators={})
    await until(lambda: _answers(node, "node/DE/CPO", "Party not registered on OCN"))
    assert (await node.client.get(f"{REGISTRY}/node/NL/ITS")).text == "Party not registered on OCN"


async def _answers(node: Node, path: str, text: str) -> bool:
    return (await node.client.get(f"{REGISTRY}/{path}")).text == text


@pytest.mark.parametrize(
    "domain", ["<script>alert(1)</script>", 'https://x"}],', "unknown", "http://u:p@10.0.0.1"]
)
async def test_A106_a_strange_domain_is_shown_as_data(node: Node, domain: str) -> None:
    await publish(node, (*ITS_PARTY, ADDRESS), operators={ADDRESS: domain})
    await until(lambda: _answers(node, "node/DE/CPO", "Party not registered on OCN"))
    for path in ("node/NL/ITS", "operators", "all-parties"):
        answer = await node.client.get(f"{REGISTRY}/{path}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert domain in json.dumps(answer.json(), ensure_ascii=False).replace('\\"', '"')


async def test_lists_have_the_form_of_v2_nodes(node: Node) -> None:
    """`operators` answers 200, so that whoever probes as the existing nodes do takes us for v2."""
    operators = (await node.client.get(f"{REGISTRY}/operators")).json()
    assert sorted(operators, key=lambda one: one["domain"]) == [
        {"id": address(node), "domain": "http://127.0.0.1:8080/"},
        {"id": OTHER_OPERATOR, "domain": "https://another.example"},
    ]
    for name, expected in (
        ("all-parties", ["DE/CPO", "FR/ELS", "NL/MSP"]),
        ("nodes", ["DE/CPO", "FR/ELS", "NL/MSP"]),
        ("my-parties", ["DE/CPO", "NL/MSP"]),
        ("my-parties/emsp", []),
    ):
        answer = await node.client.get(f"{REGISTRY}/{name}")
        assert [party["id"] for party in answer.json()] == expected, name
        assert answer.headers["x-total-count"] == str(len(expected))
    assert (await node.client.get(f"{REGISTRY}/all-parties")).json()[1] == {
        "id": "FR/ELS",
        "countryCode": "FR",
        "partyId": "ELS",
        "partyAddress": OTHER_OPERATOR,
        "roles": [],
        "operator": {"id": OTHER_OPERATOR, "domain": "https://another.example"},
    }


async def test_own_emsps_are_listed_by_their_role(node: Node) -> None:
    await publish(node, (*MSP, node.context.node.address), (*ITS_PARTY, ADDRESS))

    async def found() -> bool:
        answer = await node.client.get(f"{REGISTRY}/my-parties/emsp")
        return [party["id"] for party in answer.json()] == ["NL/MSP"]

    await until(found)


async def test_A101_lists_are_cut_and_say_so(start_node: StartNode) -> None:
    node = await start_node(registry__list_rows=2)
    answer = await node.client.get(f"{REGISTRY}/all-parties")
    assert [party["id"] for party in answer.json()] == ["DE/CPO", "FR/ELS"]
    assert (answer.headers["x-total-count"], answer.headers["x-limit"]) == ("3", "2")
    # A list that is cut hides nobody from a question by name.
    assert (await node.client.get(f"{REGISTRY}/node/NL/MSP")).json()["address"] == address(node)


async def test_A101_queries_cost_no_sql(start_node: StartNode) -> None:
    node = await start_node(http__open_rate=1_000)
    await node.client.get(f"{REGISTRY}/operators")
    before = node.context.store.statements()["other"]
    for path in ("node-info", "operators", "all-parties", "my-parties", "node/DE/CPO", "node/XX/XXX"):
        for _ in range(20):
            assert (await node.client.get(f"{REGISTRY}/{path}")).status_code == 200
    assert node.context.store.statements()["other"] == before


async def test_A101_a_registry_that_changes_all_the_time_is_read_seldom(start_node: StartNode) -> None:
    node = await start_node(http__open_rate=100_000)
    reads = 0
    listing = node.context.store.registry_listing

    def counted() -> Any:
        nonlocal reads
        reads += 1
        return listing()

    node.context.store.registry_listing = counted  # type: ignore[method-assign]
    began = time.monotonic()
    for block in range(2, 42):
        await publish(node, (*ITS_PARTY, ADDRESS), block=block, roles=("CPO",) if block % 2 else ("EMSP",))
        assert (await node.client.get(f"{REGISTRY}/all-parties")).status_code == 200
    took = time.monotonic() - began
    assert 1 <= reads <= took / LEAST_PAUSE_S + 2


async def test_A101_one_source_may_ask_so_often_and_others_go_on(start_node: StartNode) -> None:
    node = await start_node(http__open_rate=5)

    async def refused() -> httpx.Response | None:
        burst = [node.client.get(f"{REGISTRY}/node-info") for _ in range(20)]
        answers = [answer for answer in await asyncio.gather(*burst) if answer.status_code == 429]
        return answers[0] if answers else None

    # On a slow machine a second may begin in the middle of each burst.
    answer = await until(refused)
    assert answer.json()["status_code"] == 2000
    assert answer.headers["retry-after"] == "1"
    transport = httpx.ASGITransport(node.app, raise_app_exceptions=False, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as elsewhere:
        assert (await elsewhere.get(f"{REGISTRY}/node-info")).status_code == 200


def test_A101_so_many_a_second_for_each_source_and_no_more_memory_than_that() -> None:
    now = 0.0
    rate = Rate(3, clock=lambda: now)
    one, other = (ipaddress.ip_address(text) for text in ("192.0.2.1", "2001:db8::1"))
    assert [rate.take(one) for _ in range(4)] == [True, True, True, False]
    assert rate.take(other)
    now = 0.99
    assert not rate.take(one)
    now = 1.0
    assert rate.take(one)
    flood = sum(rate.take(ipaddress.IPv4Address(number)) for number in range(SOURCES + 5))
    assert flood == SOURCES - 1


async def test_queries_answer_while_the_store_is_away(node: Node) -> None:
    """Once there is a copy, it serves."""
    assert (await node.client.get(f"{REGISTRY}/operators")).status_code == 200
    await node.context.store.close()
    assert (await node.client.get(f"{REGISTRY}/node/DE/CPO")).status_code == 200


# -- client infos


def said(moment: float | str = 0, party: tuple[str, str] = ITS_PARTY, **changed: Any) -> bytes:
    """A client info as another node says it, `moment` seconds from now."""
    if not isinstance(moment, str):
        moment = datetime.fromtimestamp(time.time() + moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    info = {
        "party_id": party[1],
        "country_code": party[0],
        "role": "CPO",
        "status": "CONNECTED",
        "last_updated": moment,
    }
    return json.dumps(info | changed, separators=(",", ":")).encode()


async def put(node: Node, body: bytes, signature: str | None = "", key: bytes = KEY) -> httpx.Response:
    """Sends it as existing nodes do, signed by `key` unless another signature is given."""
    headers = {"content-type": "text/plain; charset=UTF-8"}
    if signature is not None:
        headers["ocn-signature"] = signature or _native.personal_sign(key, body)[2:]
    return await node.client.put("/ocn/client-info", content=body, headers=headers)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "node.db") as connection:
        return connection.execute(
            "SELECT country_code, party_id, role, operator, status FROM client_infos ORDER BY 1, 2, 3"
        ).fetchall()


@pytest.fixture
async def informed(start_node: StartNode) -> Node:
    """A node whose registry lists a party of another operator, and one of its own."""
    node = await start_node(http__open_rate=10_000)
    await publish(node, (*ITS_PARTY, ADDRESS), (*CPO, node.context.node.address))
    await until(lambda: _answers(node, "node/NL/MSP", "Party not registered on OCN"))
    return node


async def test_a_client_info_of_an_operator_is_kept(informed: Node, tmp_path: Path) -> None:
    answer = await put(informed, said())
    assert (answer.status_code, answer.content) == (200, b"")
    assert rows(tmp_path) == [(*ITS_PARTY, "CPO", ADDRESS, "CONNECTED")]
    body = said(1, status="OFFLINE")
    assert (await put(informed, body, _native.personal_sign(KEY, body))).status_code == 200
    assert rows(tmp_path) == [(*ITS_PARTY, "CPO", ADDRESS, "OFFLINE")]


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (None, (400, 2001)),
        ("0x", (200, 4003)),
        ("00", (200, 4003)),
        ("0" * 129, (200, 4003)),
        ("0" * 130, (200, 4003)),
        ("f" * 130, (200, 4003)),
        ("0" * 131, (200, 4003)),
        ("0" * 4_000, (200, 4003)),
        ("g" * 130, (200, 4003)),
        ("\u00b2" * 130, (200, 4003)),
        ("Token abc", (200, 4003)),
    ],
)
async def test_A89_a_signature_that_is_none(
    informed: Node, tmp_path: Path, signature: str | None, expected: tuple[int, int]
) -> None:
    headers = {} if signature is None else {"ocn-signature": signature.encode()}
    answer = await informed.client.put("/ocn/client-info", content=said(), headers=headers)
    assert (answer.status_code, answer.json()["status_code"]) == expected
    assert rows(tmp_path) == []


async def test_A100_a_forged_signer_is_refused(informed: Node, tmp_path: Path) -> None:
    other = bytes(31) + b"\x08"
    for answer in (
        await put(informed, said(), key=other),
        # Signed, and then changed.
        await put(informed, said(status="SUSPENDED"), _native.personal_sign(KEY, said())),
    ):
        assert answer.status_code == 400
        assert f"operator {ADDRESS.lower()} but update signed by 0x" in answer.json()["status_message"]
    assert rows(tmp_path) == []


@pytest.mark.parametrize("party", [ELSEWHERE, UNLISTED, ("NL", "IT"), ("\u00c4\u00c4", "ITS"), (None, 1)])
async def test_A100_a_party_that_is_not_registered_is_refused(
    informed: Node, tmp_path: Path, party: tuple[str, str]
) -> None:
    assert (await put(informed, said(party=party))).status_code == 400
    assert rows(tmp_path) == []


async def test_A100_our_own_word_sent_back_is_refused(informed: Node, tmp_path: Path) -> None:
    key = bytes.fromhex((tmp_path / "node.key").read_text().strip().removeprefix("0x"))
    answer = await put(informed, said(party=CPO), key=key)
    assert answer.status_code == 400
    assert rows(tmp_path) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "KING"},
        {"role": None},
        {"role": ["CPO"]},
        {"status": "GONE"},
        {"status": 1},
        {"status": {}},
        {"last_updated": "yesterday"},
        {"last_updated": "2026-02-30T00:00:00Z"},
        {"last_updated": 5},
        {"last_updated": "2026-01-01T00:00:00.1234567890Z"},
    ],
)
async def test_A100_what_is_no_client_info_is_refused(
    informed: Node, tmp_path: Path, changed: dict[str, Any]
) -> None:
    answer = await put(informed, said(**changed))
    assert (answer.status_code, answer.json()["status_code"]) == (400, 2001)
    assert rows(tmp_path) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"party_id":', b"\xff", b'"x"', b"[" * 9_000])
async def test_A100_a_signed_body_of_another_kind_is_refused(informed: Node, body: bytes) -> None:
    answer = await put(informed, body)
    assert (answer.status_code, answer.json()["status_code"]) == (400, 2001)


async def test_A100_an_older_word_is_refused_and_a_repeated_one_changes_nothing(
    informed: Node, tmp_path: Path
) -> None:
    first = said(-10, status="OFFLINE")
    for body, expected in (
        (first, 200),
        (said(-20), 400),
        (first, 200),
        (said(-5), 200),
        (first, 400),
    ):
        assert (await put(informed, body)).status_code == expected
    assert rows(tmp_path) == [(*ITS_PARTY, "CPO", ADDRESS, "CONNECTED")]


async def test_A100_a_word_from_the_future_is_refused(start_node: StartNode, tmp_path: Path) -> None:
    node = await start_node(node__clock_skew_s=30)
    await publish(node, (*ITS_PARTY, ADDRESS))
    await until(lambda: _answers(node, "node/DE/CPO", "Party not registered on OCN"))
    assert (await put(node, said(40))).status_code == 400
    assert rows(tmp_path) == []
    assert (await put(node, said(20))).status_code == 200
    assert len(rows(tmp_path)) == 1


async def test_A100_a_flood_is_bounded_in_rate_and_rows(start_node: StartNode, tmp_path: Path) -> None:
    node = await start_node(http__open_rate=20)
    await publish(node, (*ITS_PARTY, ADDRESS))
    await until(lambda: _answers(node, "node/DE/CPO", "Party not registered on OCN"))
    began = time.monotonic()
    answers = [await put(node, said(-1 + i / 1_000)) for i in range(100)]
    took = time.monotonic() - began
    taken = sum(answer.status_code == 200 for answer in answers)
    assert taken <= 20 * (took + 2)
    assert {answer.status_code for answer in answers} <= {200, 400, 429}
    assert len(rows(tmp_path)) == 1


async def test_A100_a_party_that_moved_is_its_new_operators(informed: Node, tmp_path: Path) -> None:
    """Also where the new operator's clock is behind the old one's; the old one is heard no more."""
    assert (await put(informed, said(30))).status_code == 200
    key = bytes(31) + b"\x09"
    new = _native.address_of(key)
    await publish(informed, (*ITS_PARTY, new), operators={new: "https://new.example"}, block=3)

    async def moved() -> bool:
        return (await put(informed, said(status="PLANNED"), key=key)).status_code == 200

    await until(moved)
    assert rows(tmp_path) == [(*ITS_PARTY, "CPO", new, "PLANNED")]
    assert (await put(informed, said(50))).status_code == 400


async def test_A44_what_is_signed_and_sent_elsewhere_is_not_taken(informed: Node) -> None:
    """A client info is a JSON object; a signature over anything else counts for nothing here."""
    assert (await put(informed, b"0x" + b"1" * 64)).status_code == 400
