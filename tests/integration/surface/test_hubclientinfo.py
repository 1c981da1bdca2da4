"""GET hubclientinfo: who sees what, and page by page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ocn_fast import moments
from ocn_fast.registry.enums import ROLES
from ocn_fast.store import ClientInfo, Party

from .conftest import CPO, ELSEWHERE, MSP, OTHER_OPERATOR, Node, StartNode
from .peer import Peer

pytestmark = pytest.mark.anyio

PATH = "/ocpi/2.2.1/hubclientinfo"


async def listed(node: Node, token: str, query: str = "", path: str = PATH) -> list[dict[str, Any]]:
    answer = await node.call("GET", path + query, token)
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000), answer.text
    data = answer.json()["data"]
    assert isinstance(data, list)
    return data


async def reconcile(node: Node) -> None:
    """What the keeper does."""
    await node.context.store.reconcile_client_infos(node.context.node.address, frozenset(ROLES))


async def heard(node: Node, moment: int, number: int = 0, status: Any = "CONNECTED") -> None:
    """What another node has said of one of its parties."""
    info = ClientInfo(Party("FR", f"{number:03}"), "EMSP", status, moment)
    await node.context.store.receive_client_info(info, OTHER_OPERATOR)


async def test_NODE114_the_list_shows_local_and_foreign_parties_as_they_are(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    await reconcile(node)
    info = ClientInfo(Party(*ELSEWHERE), "CPO", "OFFLINE", 1_767_225_600_123)
    await node.context.store.receive_client_info(info, OTHER_OPERATOR)
    first, second = await listed(node, token)
    assert list(first.items()) == [
        ("party_id", "ELS"),
        ("country_code", "FR"),
        ("role", "CPO"),
        ("status", "OFFLINE"),
        ("last_updated", "2026-01-01T00:00:00.123Z"),
    ]
    assert (second["party_id"], second["status"]) == ("CPO", "CONNECTED")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", second["last_updated"])
    assert await listed(node, token, path="/ocpi/2.2/hubclientinfo") == [first, second]


async def test_NODE116_only_a_platforms_token_opens_it(node: Node, peer: Peer) -> None:
    await node.register(peer, CPO)
    for token in ("unknown", await node.token_a(MSP), node.admin_key):
        answer = await node.call("GET", PATH, token)
        assert (answer.status_code, answer.json()["status_code"]) == (401, 2001)


async def test_HUB22_HUB71_it_is_advertised_and_answers_without_routing_headers(
    node: Node, peer: Peer
) -> None:
    token = await node.register(peer, CPO)
    for version in ("2.2", "2.2.1"):
        details = (await node.call("GET", f"/ocpi/{version}", token)).json()["data"]["endpoints"]
        (entry,) = [entry for entry in details if entry["identifier"] == "hubclientinfo"]
        assert entry["role"] == "SENDER"
        answer = await node.client.get(entry["url"], headers={"authorization": f"Token {token}"})
        assert answer.json()["status_code"] == 1000
        wrong = await node.client.get(entry["url"] + "?limit=x", headers={"authorization": f"Token {token}"})
        for one in (answer, wrong):
            assert not [name for name in one.headers if name.startswith("ocpi-")]


async def test_HUB85_pages_by_link_to_the_end(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(client_info__page_rows=3)
    token = await node.register(peer, CPO)
    for number in range(10):
        await heard(node, 1_000 * number, number)
    everything: list[dict[str, Any]] = []
    url: str | None = f"http://127.0.0.1:8080{PATH}?date_to=1970-01-01T00%3A00%3A08Z&limit=100"
    sizes = []
    while url:
        answer = await node.client.get(url, headers={"authorization": f"Token {token}"})
        assert (answer.headers["x-total-count"], answer.headers["x-limit"]) == ("8", "3")
        page = answer.json()["data"]
        sizes.append(len(page))
        everything += page
        link = answer.headers.get("link")
        match = re.fullmatch(r'<(http://127\.0\.0\.1:8080/ocpi/[^>]+)>; rel="next"', link) if link else None
        assert (match is None) == (link is None)
        url = match[1] if match else None
    assert sizes == [3, 3, 2]
    assert [entry["party_id"] for entry in everything] == [f"{number:03}" for number in range(8)]


async def test_HUB85_date_from_counts_in_and_date_to_out(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    for number in range(4):
        await heard(node, 1_000_000 + number, number)
    bound = moments.write(1_000_001)

    async def found(query: str) -> list[str]:
        return [entry["party_id"] for entry in await listed(node, token, query)]

    assert await found(f"?date_from={bound}") == ["001", "002", "003"]
    assert await found(f"?date_to={bound}") == ["000"]
    assert await found(f"?date_from={bound}&date_to={moments.write(1_000_003)}&offset=1") == ["002"]
    assert await found("?offset=4") == []
    assert await found("?limit=2&offset=1") == ["001", "002"]


@pytest.mark.parametrize(
    "query",
    [
        "?limit=0",
        "?limit=-1",
        "?limit=x",
        "?limit=",
        "?offset=-1",
        "?offset=1.5",
        "?offset=99999999999999999999",
        "?offset=%D9%A1",
        "?date_from=yesterday",
        "?date_to=2026-13-01T00:00:00Z",
        "?date_from=",
    ],
)
async def test_parameters_that_mean_nothing_are_refused(node: Node, peer: Peer, query: str) -> None:
    token = await node.register(peer, CPO)
    answer = await node.call("GET", PATH + query, token)
    assert (answer.status_code, answer.json()["status_code"]) == (400, 2001)


async def test_NODE122_the_platforms_rules_hide_parties(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    await reconcile(node)
    await heard(node, 1_000, 7)
    assert len(await listed(node, token)) == 2
    entry = {"country_code": "FR", "party_id": "007", "modules": []}
    answer = await node.call("POST", "/ocpi/receiver/2.2.1/ocnrules/blacklist", token, entry)
    assert answer.json()["status_code"] == 1000
    assert [one["party_id"] for one in await listed(node, token)] == ["CPO"]
