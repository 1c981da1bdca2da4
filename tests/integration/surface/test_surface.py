"""The HTTP surface as a whole: who may see what, in which form errors come, and where bodies end."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route

from ocn_fast.app import Application, create, is_relayed
from ocn_fast.config import Settings
from ocn_fast.errors import ConfigError

from .conftest import CPO, CREDENTIALS, MSP, Node, StartNode
from .peer import TOKEN_B, Peer

pytestmark = pytest.mark.anyio

OPEN = {"/health", "/health/live", "/health/ready"}
BY_NETWORK = {"/metrics"}
BY_RATE = "/ocn/"
"""What other nodes ask without a token; a client info counts by its signature (A89, A100)."""


def routes(app: Application) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the application serves, as it says itself."""
    for prefix, route in _flat("", app.cold.routes):
        path = re.sub(r"{id:int}", "1", prefix + route.path)
        path = path.replace("{version}", "2.2.1").replace("{country_code}/{party_id}", "NL/MSP")
        assert "{" not in path, path
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, path


def _flat(prefix: str, listed: list[BaseRoute]) -> Iterator[tuple[str, Route]]:
    for route in listed:
        if isinstance(route, Mount):
            inner = route.app
            while not hasattr(inner, "routes"):
                inner = inner._app  # type: ignore[attr-defined]
            yield from _flat(prefix + route.path, inner.routes)
        else:
            assert isinstance(route, Route)
            yield prefix, route


async def test_A114_every_route_is_protected(node: Node, peer: Peer) -> None:
    """The list of routes comes from the application: one without protection would fail here."""
    party = await node.register(peer, CPO)
    token_a = await node.token_a(MSP)
    before = await node.context.store.changes_since(0)
    found = list(routes(node.app))
    assert len(found) > 30
    for method, path in found:
        if path in OPEN | BY_NETWORK or path.startswith(BY_RATE):
            continue
        shown: list[str | None] = [None, "", "Token", "Token unknown"]
        if path.startswith("/admin"):
            shown += [f"Token {party}", f"Token {token_a}", f"Token {TOKEN_B}"]
        elif "ocnrules" in path:
            shown += [f"Token {token_a}", f"Token {node.admin_key}"]
        else:
            shown += [f"Token {node.admin_key}", f"Token {TOKEN_B}"]
        for header in shown:
            # Each from an address of its own: failures are counted by source.
            client = _client(node, f"127.0.{len(header or '') % 250}.{hash((method, path)) % 250}")
            answer = await client.request(
                method, path, headers={} if header is None else {"authorization": header}
            )
            assert (answer.status_code, answer.json()["status_code"]) == (401, 2001), (method, path, header)
    assert await node.context.store.changes_since(0) == before


def _client(node: Node, source: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(node.app, raise_app_exceptions=False, client=(source, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


async def test_A115_the_key_of_the_admin_api_is_taken_from_its_header_only(node: Node) -> None:
    for query in (
        f"key={node.admin_key}",
        f"token={node.admin_key}",
        f"authorization=Token%20{node.admin_key}",
    ):
        assert (await node.client.get(f"/admin/platforms?{query}")).status_code == 401
    assert (await node.admin("GET", "/admin/platforms")).status_code == 200


@pytest.mark.parametrize(("key", "works"), [("", False), ("x" * 64, False), ("0123456789abcdef" * 2, True)])
async def test_A115_a_short_or_default_key_stops_the_start(
    make_settings: Callable[..., Settings], tmp_path: Path, key: str, works: bool
) -> None:
    settings = make_settings()
    for text in (key, key[:-1]) if works else (key,):
        (tmp_path / "admin.key").write_text(text + "\n")
        if works and text == key:
            create(settings)
        else:
            with pytest.raises(ConfigError):
                create(settings)


async def test_A116_guessing_the_key_ends_soon(start_node: StartNode) -> None:
    node = await start_node(admin__failures_per_min=3)
    for _ in range(3):
        assert (await node.call("GET", "/admin/platforms", "wrong")).status_code == 401
    for token in ("wrong", node.admin_key):
        answer = await node.call("GET", "/admin/platforms", token)
        assert (answer.status_code, answer.json()["status_code"]) == (429, 2000)
    elsewhere = _client(node, "127.0.0.2")
    headers = {"authorization": f"Token {node.admin_key}"}
    assert (await elsewhere.get("/admin/platforms", headers=headers)).status_code == 200


async def test_A116_A120_nothing_for_the_operator_is_there_for_strangers(node: Node) -> None:
    stranger = _client(node, "192.0.2.1")
    headers = {"authorization": f"Token {node.admin_key}"}
    for path in ("/admin/platforms", "/metrics"):
        answer = await stranger.get(path, headers=headers)
        assert (answer.status_code, answer.json()["status_code"]) == (404, 2000)
        assert answer.json()["status_message"] == "nothing is served under this path"
    assert (await stranger.get("/health")).status_code == 200


async def test_A116_a_proxy_is_believed_only_if_it_is_trusted(start_node: StartNode) -> None:
    node = await start_node(http__trusted_proxies=["127.0.0.9/32"])
    proxied = _client(node, "127.0.0.9")
    for forwarded, status in (
        ("192.0.2.1", 404),
        ("127.0.0.1", 200),
        ("127.0.0.1, 192.0.2.1", 404),
        ("192.0.2.1, 127.0.0.1, 127.0.0.9", 200),
        ("rubbish", 404),
        ("", 404),
    ):
        answer = await proxied.get("/metrics", headers={"x-forwarded-for": forwarded})
        assert answer.status_code == status, forwarded
    lying = await node.client.get("/metrics", headers={"x-forwarded-for": "192.0.2.1"})
    assert lying.status_code == 200


async def test_wrong_tokens_of_one_source_end_soon(start_node: StartNode) -> None:
    node = await start_node(auth__failures_per_min=3)
    for number in range(3):
        assert (await node.call("GET", "/ocpi/versions", f"wrong-{number}")).status_code == 401
    assert (await node.call("GET", "/ocpi/versions", "wrong")).status_code == 429


async def test_strangers_cannot_buy_sql(start_node: StartNode) -> None:
    node = await start_node(auth__sql_lookups_per_s=3, auth__failures_per_min=1_000, auth__negative_ttl_s=60)
    before = node.context.store.statements()["other"]
    assert (await node.call("GET", "/ocpi/versions", "wrong")).status_code == 401
    cost = node.context.store.statements()["other"] - before
    for _ in range(20):
        assert (await node.call("GET", "/ocpi/versions", "wrong")).status_code == 401
    assert node.context.store.statements()["other"] - before == cost
    statuses = {
        (await node.call("GET", "/ocpi/versions", f"wrong-{number}")).status_code for number in range(20)
    }
    assert statuses == {401, 503}
    assert node.context.store.statements()["other"] - before <= 5 * cost


async def test_a_message_is_judged_again_if_the_table_was_brought_up_to_date_meanwhile(
    start_node: StartNode, peer: Peer
) -> None:
    """The other look may come between the refusal and the question whether it stands."""
    node = await start_node()
    seen = node.context.node.change_number()
    await node.register(peer, CPO)
    scope = {"headers": [(b"ocpi-to-country-code", b"DE"), (b"ocpi-to-party-id", b"CPO")]}
    assert await node.context.node.refresh("receiver", scope, seen), "it looked itself"
    now = node.context.node.change_number()
    assert now > seen
    assert await node.context.node.refresh("receiver", scope, seen), "somebody else had looked"
    assert not await node.context.node.refresh("receiver", scope, now), "nothing is newer"


async def test_A119_what_the_operator_sees_of_a_platform_is_no_secret(node: Node, peer: Peer) -> None:
    token = await node.token_a(CPO)
    answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    token_c = answer.json()["data"]["token"]
    platforms = (await node.admin("GET", "/admin/platforms")).json()
    assert [one["parties"] for one in platforms] == [
        [{"country_code": "DE", "party_id": "CPO", "role": "CPO", "name": "a name"}]
    ]
    one = await node.admin("GET", f"/admin/platforms/{platforms[0]['id']}")
    assert one.json() == platforms[0]
    for secret in (token, token_c, TOKEN_B, node.admin_key):
        assert secret not in one.text
    assert len(one.json()["tokens"][0]["digest_ends"]) == 4


async def test_the_operator_steers_platforms(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    path = f"/admin/platforms/{(await node.context.store.platforms())[0].id}"
    assert (await node.admin("POST", f"{path}/suspend")).json()["status"] == "SUSPENDED"
    assert (await node.admin("POST", f"{path}/resume")).json()["status"] == "CONNECTED"
    enabled = await node.admin("PUT", f"{path}/sign-for-party", {"enabled": True})
    assert enabled.json()["sign_for_party"] is True
    rotated = (await node.admin("POST", f"{path}/rotate")).json()["token"]
    assert (await node.call("GET", CREDENTIALS, token)).status_code == 401
    assert (await node.call("GET", CREDENTIALS, rotated)).status_code == 200
    assert (await node.admin("DELETE", path)).status_code == 204
    assert (await node.call("GET", CREDENTIALS, rotated)).status_code == 401
    for method, action, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("POST", "/rotate", None),
        ("PUT", "/sign-for-party", {"enabled": True}),
    ):
        for missing in (path, f"/admin/platforms/{10**30}"):
            answer = await node.admin(method, missing + action, body)
            assert (answer.status_code, answer.json()["status_code"]) == (404, 2000), (method, action)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"parties": []},
        {"parties": {}},
        {"parties": ["DE"]},
        {"parties": [{"country_code": "DE"}]},
        {"parties": [{"country_code": "DE\r", "party_id": "CPO"}]},
        {"parties": [{"country_code": "=1", "party_id": "CPO"}]},
    ],
)
async def test_A121_malformed_bodies_of_the_admin_api(node: Node, body: Any) -> None:
    answer = await node.admin("POST", "/admin/registration-tokens", body)
    assert (answer.status_code, answer.json()["status_code"]) == (400, 2001)


async def test_A121_bodies_end_at_the_limit(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(http__config_body_bytes=1_000)
    token = await node.token_a(CPO)
    body = json.dumps(peer.credentials(CPO)).encode()

    async def chunks(size: int) -> Any:
        yield body + b" " * (size - len(body))

    headers = {"authorization": f"Token {token}"}
    for content in (body + b" " * (1_001 - len(body)), chunks(1_001)):
        answer = await node.client.post(CREDENTIALS, content=content, headers=headers)
        assert (answer.status_code, answer.json()["status_code"]) == (413, 2001)
    answer = await node.client.post(CREDENTIALS, content=chunks(1_000), headers=headers)
    assert answer.json()["status_code"] == 1000
    coded = await node.client.put(CREDENTIALS, content=body, headers=headers | {"content-encoding": "gzip"})
    assert coded.status_code == 401


async def test_errors_come_in_one_form(node: Node) -> None:
    ids = {"x-request-id": "request-1", "x-correlation-id": "correlation-1"}
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/ocpi", 404),
        ("GET", "/ocpi/versions/", 404),
        ("GET", "//ocpi/versions", 404),
        ("GET", "/ocpi/2.1.1/credentials", 404),
        ("POST", "/ocpi/versions", 405),
        ("PATCH", CREDENTIALS, 405),
        ("DELETE", "/health", 405),
    ):
        answer = await node.client.request(method, path, headers=ids)
        assert (answer.status_code, answer.json()["status_code"]) == (status, 2000), (method, path)
        assert answer.json().keys() == {"status_code", "status_message", "timestamp"}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["ocn-delivery"] == "no"
        assert {name: answer.headers[name] for name in ids} == ids
    generated = await node.client.get("/nothing", headers={"x-request-id": "two words"})
    assert re.fullmatch("[0-9a-f-]{36}", generated.headers["x-request-id"])
    long = await node.client.get(
        "/nothing", headers={"x-request-id": "x" * 255, "x-correlation-id": "x" * 256}
    )
    assert (len(long.headers["x-request-id"]), len(long.headers["x-correlation-id"])) == (255, 36)


async def test_routing_headers_name_the_hub_except_on_configuration_modules(node: Node) -> None:
    assert (await node.client.get("/nothing")).headers["ocpi-from-party-id"] == "OCN"
    for path in ("/ocpi/versions", CREDENTIALS, "/ocpi/receiver/2.2.1/ocnrules"):
        assert "ocpi-from-party-id" not in (await node.client.get(path)).headers


async def test_F11_a_locked_database_is_said_not_hidden(
    start_node: StartNode, peer: Peer, tmp_path: Path
) -> None:
    node = await start_node(store__timeout_ms=200)
    token = await node.token_a(CPO)
    other = sqlite3.connect(tmp_path / "node.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    assert (answer.status_code, answer.json()["status_code"]) == (503, 3000)
    assert answer.json()["status_message"] == "the hub cannot look this up now [not delivered]"
    assert (await node.client.get("/health/ready")).status_code == 200
    other.rollback()
    other.close()
    answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    assert answer.json()["status_code"] == 1000


async def test_health_says_how_the_node_is(node: Node) -> None:
    assert (await node.client.get("/health/live")).json() == {"status": "live"}
    assert (await node.client.get("/health/ready")).json() == {"status": "ready"}
    health = (await node.client.get("/health")).json()
    assert health["signatures"] == {"required": True, "policy": "strict"}
    assert health["dev"] is True
    assert health["registry"]["block_time"] == "2026-01-01T00:00:00Z"
    assert health["registry"]["old"] is (health["registry"]["age_s"] > 300)
    assert any("development mode" in line for line in health["warnings"])


async def test_metrics_are_for_prometheus(node: Node) -> None:
    answer = await node.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for name in (
        "ocn_fast_workers 1.0",
        "ocn_fast_messages_received_total",
        'ocn_fast_sql_statements_total{kind="poll"}',
    ):
        assert name in answer.text
    assert 'ocn_fast_stage_seconds_bucket{le="+Inf",stage="parse"}' in answer.text


@pytest.mark.parametrize(
    ("path", "relayed"),
    [
        ("/ocpi/sender/2.2.1/locations", True),
        ("/ocpi/receiver/2.2/commands/START_SESSION", True),
        ("/ocpi/2.2.1/sender/chargingprofiles/x", True),
        ("/ocpi/2.2/receiver/chargingprofiles/x", True),
        ("/ocpi/custom/sender/com.example", True),
        ("/ocpi/receiver/2.2.1/ocnrules2", True),
        ("/ocn/relay/sender/locations", True),
        ("/ocn/relay/custom/sender/com.example", True),
        ("/ocn/relay", False),
        ("/ocn/registry/node-info", False),
        ("/ocpi/receiver/2.2.1/ocnrules", False),
        ("/ocpi/receiver/2.2/ocnrules/whitelist", False),
        ("/ocpi/2.2.1/receiver/ocnrules/signatures", False),
        ("/ocpi/2.2.1/credentials", False),
        ("/ocpi/versions", False),
        ("/ocpi/sender", False),
        ("/admin/platforms", False),
    ],
)
async def test_what_goes_to_the_relay(path: str, relayed: bool) -> None:
    assert is_relayed(path) is relayed
