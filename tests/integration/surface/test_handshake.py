"""The credentials handshake against real peers: what works, what is refused, what a refusal leaves behind."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from .conftest import CPO, CREDENTIALS, ELSEWHERE, MSP, UNLISTED, Node, StartNode
from .peer import Answer, Peer, ok

pytestmark = pytest.mark.anyio


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def post(node: Node, peer: Peer, token: str, /, **changed: Any) -> tuple[int, int]:
    """HTTP and OCPI status of a POST with this platform's credentials."""
    answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO, **changed))
    return answer.status_code, answer.json()["status_code"]


# -- the ordinary way


async def test_a_platform_registers_changes_and_leaves(node: Node, peer: Peer) -> None:
    token_a = await node.token_a(CPO)
    listed = (await node.call("GET", "/ocpi/versions", token_a)).json()["data"]
    assert [entry["version"] for entry in listed] == ["2.2", "2.2.1"]
    for entry in listed:
        path = entry["url"].removeprefix("http://127.0.0.1:8080")
        details = (await node.call("GET", path, token_a)).json()["data"]
        assert details["version"] == entry["version"]
        endpoints = {(one["identifier"], one["role"]): one["url"] for one in details["endpoints"]}
        assert len(endpoints) == 2 * 7 + 3
        assert endpoints["credentials", "SENDER"].endswith(f"/ocpi/{entry['version']}/credentials")

    answer = await node.call("POST", CREDENTIALS, token_a, peer.credentials(CPO))
    own = answer.json()["data"]
    assert (answer.status_code, answer.json()["status_code"]) == (200, 1000)
    assert own["url"] == "http://127.0.0.1:8080/ocpi/versions"
    assert [(role["role"], role["country_code"], role["party_id"]) for role in own["roles"]] == [
        ("HUB", "CH", "OCN")
    ]
    assert [asked.path for asked in peer.asked] == ["/versions", "/details"]
    assert {"x-request-id", "x-correlation-id"} <= set(peer.asked[0].headers)
    token_c = own["token"]
    assert (await node.call("GET", CREDENTIALS, token_c)).json()["data"]["token"] == token_c
    assert (await node.call("POST", CREDENTIALS, token_c, peer.credentials(CPO))).status_code == 405

    peer.token = "another-token-b"
    changed = await node.call("PUT", CREDENTIALS, token_c, peer.credentials(CPO, MSP))
    token_d = changed.json()["data"]["token"]
    assert token_d != token_c
    platforms = await node.context.store.platforms()
    assert [len(platform.parties) for platform in platforms] == [2]

    gone = await node.call("DELETE", CREDENTIALS, token_d)
    assert gone.json().keys() == {"status_code", "timestamp"}
    for token in (token_c, token_d):
        assert (await node.call("GET", CREDENTIALS, token)).status_code == 401
    assert await node.context.store.platforms() == []


async def test_the_version_is_that_of_the_endpoint(node: Node, peer: Peer) -> None:
    token = await node.token_a(CPO)
    answer = await node.call("POST", "/ocpi/2.2/credentials", token, peer.credentials(CPO))
    assert answer.json()["status_code"] == 3002
    peer.offer(version="2.2")
    answer = await node.call("POST", "/ocpi/2.2/credentials", token, peer.credentials(CPO))
    assert answer.json()["status_code"] == 1000
    assert [platform.version for platform in await node.context.store.platforms()] == ["2.2"]


async def test_what_we_do_not_know_is_passed_over(node: Node, peer: Peer) -> None:
    peer.answers["/versions"] = ok(
        [{"version": "9.9", "url": 7}, "rubbish", {"version": "2.2.1", "url": f"{peer.url}/details", "x": 1}]
    )
    peer.answers["/details"] = ok(
        {
            "version": "2.2.1",
            "extra": {},
            "endpoints": [
                {"identifier": "credentials", "role": "RECEIVER", "url": f"{peer.url}/credentials"},
                {"identifier": "tokens", "role": "BYSTANDER", "url": f"{peer.url}/tokens"},
                {"identifier": "tokens", "url": f"{peer.url}/tokens"},
                {"identifier": "com.example-custom", "role": "RECEIVER", "url": f"{peer.url}/custom"},
                {"identifier": "com.example-custom", "role": "RECEIVER", "url": f"{peer.url}/second"},
            ],
        }
    )
    await node.register(peer, CPO)
    platform = (await node.context.store.platforms())[0]
    assert [(one.module, one.url.removeprefix(peer.url)) for one in platform.endpoints] == [
        ("com.example-custom", "/custom"),
        ("credentials", "/credentials"),
    ]


# -- token A


async def test_A50_a_registration_token_is_good_for_one_registration(node: Node, peer: Peer) -> None:
    token = await node.token_a(CPO)
    for path in ("/ocpi/receiver/2.2.1/ocnrules", "/ocpi/sender/2.2.1/locations"):
        assert (await node.call("GET", path, token)).status_code == 401
    for method in ("PUT", "DELETE"):
        assert (await node.call(method, CREDENTIALS, token, peer.credentials(CPO))).status_code == 405
    first = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    again = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    assert again.json()["data"] == first.json()["data"]
    other = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO, MSP))
    assert (other.status_code, other.json()["status_code"]) == (405, 2000)
    for method, path in (("GET", "/ocpi/versions"), ("GET", CREDENTIALS), ("PUT", CREDENTIALS)):
        assert (await node.call(method, path, token, peer.credentials(CPO))).status_code == 401
    assert len(await node.context.store.platforms()) == 1


async def test_A50_the_answer_is_not_repeated_once_the_token_is_used_or_time_is_up(
    node: Node, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await node.token_a(CPO)
    first = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    assert (await node.call("GET", CREDENTIALS, first.json()["data"]["token"])).status_code == 200
    again = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
    assert (again.status_code, again.json()["status_code"]) == (405, 2000)
    monkeypatch.setattr("ocn_fast.http.handshake.REPEAT_MS", 0)
    assert (await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))).status_code == 401


async def test_A50_A66_two_at_once_with_one_token_on_two_workers(start_node: StartNode, peer: Peer) -> None:
    workers = [await start_node(), await start_node()]
    token = await workers[0].token_a(CPO, MSP)
    bodies = [peer.credentials(CPO), peer.credentials(MSP)]
    answers = await asyncio.gather(
        *(worker.call("POST", CREDENTIALS, token, body) for worker, body in zip(workers, bodies, strict=True))
    )
    statuses = sorted((answer.status_code, answer.json()["status_code"]) for answer in answers)
    assert statuses == [(200, 1000), (405, 2000)]
    assert len(await workers[0].context.store.platforms()) == 1


async def test_A50_A66_the_same_request_twice_at_once_gets_one_registration(
    start_node: StartNode, peer: Peer
) -> None:
    workers = [await start_node(), await start_node()]
    token = await workers[0].token_a(CPO)
    answers = await asyncio.gather(
        *(worker.call("POST", CREDENTIALS, token, peer.credentials(CPO)) for worker in (*workers, *workers))
    )
    assert len({answer.json()["data"]["token"] for answer in answers}) == 1
    assert len(await workers[0].context.store.platforms()) == 1


async def test_a_registration_token_is_for_its_parties_only(node: Node, peer: Peer) -> None:
    token = await node.token_a(MSP)
    assert await post(node, peer, token) == (200, 2001)
    assert peer.connections == 0


# -- spellings of tokens


async def test_A51_a_token_is_read_raw_first_then_decoded_once(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    for shown in (token, base64_of(token), base64_of(token + "\n")):
        assert (await node.call("GET", CREDENTIALS, shown)).status_code == 200, shown
    foreign = base64_of("a token of somebody else")
    url_safe = base64.urlsafe_b64encode(f"{token}??>".encode()).decode()
    for shown in (base64_of(base64_of(token)), foreign, url_safe, base64_of(token).rstrip("="), "////", "=="):
        assert (await node.call("GET", CREDENTIALS, shown)).status_code == 401, shown


@pytest.mark.parametrize(
    "header",
    [None, "", "Token", "Token ", "Token unknown", "Token  two-blanks", "Token a b", "Token " + "x" * 9_000],
)
async def test_A46_whatever_is_wrong_with_a_token_gets_one_answer(node: Node, header: str | None) -> None:
    for path in ("/ocpi/versions", "/ocpi/2.2.1", CREDENTIALS, "/ocpi/receiver/2.2.1/ocnrules"):
        answer = await node.client.get(path, headers={} if header is None else {"authorization": header})
        assert answer.status_code == 401
        assert answer.json()["status_code"] == 2001
        assert answer.json()["status_message"] == "Invalid authorization token"
        assert answer.headers["ocn-delivery"] == "no"


async def test_A46_any_scheme_word_is_taken(node: Node) -> None:
    token = await node.token_a(CPO)
    answer = await node.client.get("/ocpi/versions", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_a_peer_is_called_in_the_form_that_it_uses_and_then_in_the_other(
    node: Node, peer: Peer
) -> None:
    token = await node.token_a(CPO)
    answer = await node.call("POST", CREDENTIALS, base64_of(token), peer.credentials(CPO))
    assert answer.json()["status_code"] == 1000
    assert peer.asked[0].headers["authorization"] == f"Token {base64_of(peer.token)}"
    peer.plain_only = True
    peer.asked.clear()
    changed = await node.call(
        "PUT", CREDENTIALS, base64_of(answer.json()["data"]["token"]), peer.credentials(CPO)
    )
    assert changed.json()["status_code"] == 1000
    assert [asked.path for asked in peer.asked] == ["/versions", "/versions", "/details"]
    platform = (await node.context.store.platforms())[0]
    assert platform.token_encoding == "plain"


# -- whose parties


@pytest.mark.parametrize("party", [ELSEWHERE, UNLISTED])
async def test_A58_a_party_that_the_registry_does_not_list_here(
    node: Node, peer: Peer, party: tuple[str, str]
) -> None:
    answer = await node.call("POST", CREDENTIALS, await node.token_a(party), peer.credentials(party))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    assert "not listed in OCN Registry with my node info!" in answer.json()["status_message"]
    assert peer.connections == 0
    token = await node.register(peer, CPO)
    before = await node.context.store.changes_since(0)
    answer = await node.call("PUT", CREDENTIALS, token, peer.credentials(CPO, party))
    assert (answer.status_code, answer.json()["status_code"]) == (200, 2001)
    assert await node.context.store.changes_since(0) == before


async def test_A59_a_party_that_is_connected_by_another_platform(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    other = await node.register(peer, MSP)
    before = await node.context.store.changes_since(0)
    answer = await node.call("POST", CREDENTIALS, await node.token_a(CPO), peer.credentials(CPO))
    assert answer.json()["status_code"] == 2001
    assert "already connected to this node!" in answer.json()["status_message"]
    answer = await node.call("PUT", CREDENTIALS, other, peer.credentials(MSP, CPO))
    assert answer.json()["status_code"] == 2001
    assert await node.context.store.changes_since(0) == before
    assert (await node.call("GET", CREDENTIALS, token)).status_code == 200


# -- where the call-backs go

SPELLINGS = [
    "http://localhost:{port}/versions",
    "http://localhost.:{port}/versions",
    "http://127.1:{port}/versions",
    "http://127.0.0.2:{port}/versions",
    "http://0:{port}/versions",
    "http://0.0.0.0:{port}/versions",
    "http://2130706433:{port}/versions",
    "http://0x7f.1:{port}/versions",
    "http://0x7f000001:{port}/versions",
    "http://0177.0.0.1:{port}/versions",
    "http://017700000001:{port}/versions",
    "http://127.0.0.1.:{port}/versions",
    "http://[::1]:{port}/versions",
    "http://[::]:{port}/versions",
    "http://[0:0:0:0:0:0:0:1]:{port}/versions",
    "http://[::127.0.0.1]:{port}/versions",
    "http://[::ffff:127.0.0.1]:{port}/versions",
    "http://[::ffff:10.0.0.1]:{port}/versions",
    "http://[64:ff9b::7f00:1]:{port}/versions",
    "http://[64:ff9b::a00:1]:{port}/versions",
    "http://[2002:7f00:1::]:{port}/versions",
    "http://[2002:a00:1::]:{port}/versions",
    "http://[fd00::1]:{port}/versions",
    "http://[fe80::1]:{port}/versions",
    "http://[fe80::1%25lo]:{port}/versions",
    "http://[fec0::1]:{port}/versions",
    "http://[ff02::1]:{port}/versions",
    "http://[100::1]:{port}/versions",
    "http://[2001:db8::1]:{port}/versions",
    "http://10.0.0.1:{port}/versions",
    "http://10.255.255.255:{port}/versions",
    "http://172.16.0.1:{port}/versions",
    "http://172.31.255.255:{port}/versions",
    "http://192.168.0.1:{port}/versions",
    "http://169.254.169.254/latest/meta-data",
    "http://169.254.169.254:{port}/versions",
    "http://100.64.0.1:{port}/versions",
    "http://100.127.255.255:{port}/versions",
    "http://198.18.0.1:{port}/versions",
    "http://198.19.255.255:{port}/versions",
    "http://192.0.0.1:{port}/versions",
    "http://192.0.2.1:{port}/versions",
    "http://198.51.100.1:{port}/versions",
    "http://203.0.113.1:{port}/versions",
    "http://224.0.0.1:{port}/versions",
    "http://240.0.0.1:{port}/versions",
    "http://255.255.255.255:{port}/versions",
    "http://127.0.0.1:0/versions",
    "http://127.0.0.1:65536/versions",
    "http://127.0.0.1:{port}x/versions",
    "http://127.0.0.1:-1/versions",
    "http://user@127.0.0.1:{port}/versions",
    "http://user:password@127.0.0.1:{port}/versions",
    "http://@127.0.0.1:{port}/versions",
    "http://example.com@127.0.0.1:{port}/versions",
    "http://127.0.0.1:{port}#@example.com/versions",
    "http://127.0.0.1:{port}/versions#fragment",
    "http://example.com#@127.0.0.1:{port}/versions",
    "http://127.0.0.1:{port}\\@example.com/versions",
    "http:\\\\127.0.0.1:{port}/versions",
    "http:/\\127.0.0.1:{port}/versions",
    "http:127.0.0.1:{port}/versions",
    "http:/127.0.0.1:{port}/versions",
    "http:///127.0.0.1:{port}/versions",
    "//127.0.0.1:{port}/versions",
    "/versions",
    "versions",
    "",
    " http://127.0.0.1:{port}/versions",
    "http://127.0.0.1:{port}/versions ",
    "http://127.0.0.1:{port}/ver sions",
    "http://127.0.0.1\t:{port}/versions",
    "ht\ttp://127.0.0.1:{port}/versions",
    "http://127.0.0.1\n:{port}/versions",
    "http://127.0.0.1:{port}/versions\r\nX-Injected: 1",
    "http://127.0.0.1\x00:{port}/versions",
    "http://127\u30020\u30020\u30021:{port}/versions",
    "http://127\uff0e0\uff0e0\uff0e1:{port}/versions",
    "http://\uff11\uff12\uff17.0.0.1:{port}/versions",
    "http://\u2460\u2461\u2466.0.0.1:{port}/versions",
    "http://l\u00f6calhost:{port}/versions",
    "http://%31%32%37.0.0.1:{port}/versions",
    "http://127.0.0.1%2f@example.com:{port}/versions",
    "http://[::1:{port}/versions",
    "http://::1:{port}/versions",
    "http://[127.0.0.1]:{port}/versions",
    "http://1.2.3.4.5:{port}/versions",
    "http://256.0.0.1:{port}/versions",
    "http://.:{port}/versions",
    "http://..:{port}/versions",
    "http://a..b:{port}/versions",
    "http://xn--:{port}/versions",
    "http://" + "a" * 64 + ":{port}/versions",
    "https://127.0.0.1:{port}/versions",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/versions",
    "gopher://127.0.0.1:{port}/versions",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:application/json,[]",
    "ws://127.0.0.1:{port}/versions",
]


async def test_A56_no_spelling_leads_to_a_private_address(start_node: StartNode, peer: Peer) -> None:
    """The peer listens on loopback, which this node may not call: as versions, details and endpoint URL."""
    assert len(SPELLINGS) >= 100
    assert len(set(SPELLINGS)) == len(SPELLINGS)
    node = await start_node(outbound__private_networks=[], outbound__dns_timeout_ms=500)
    token = await node.token_a(CPO)
    port = peer.url.rpartition(":")[2]
    for spelling in SPELLINGS:
        url = spelling.replace("{port}", port)
        answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO, url=url))
        assert answer.status_code == 200, url
        assert answer.json()["status_code"] in (2001, 3001), url
        assert peer.connections == 0, url
        assert url == "" or url not in answer.json()["status_message"]
    assert await node.context.store.platforms() == []


async def test_A56_a_scheme_that_is_not_allowed_is_not_called(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(outbound__schemes=["https"])
    assert await post(node, peer, await node.token_a(CPO)) == (200, 3001)
    assert peer.connections == 0


@pytest.mark.parametrize("path", ["", "/", "/ocpi/versions", "/ocpi/2.2.1"])
async def test_A63_our_own_url_is_refused(node: Node, peer: Peer, path: str) -> None:
    own = f"http://127.0.0.1:8080{path}"
    token = await node.token_a(CPO)
    assert await post(node, peer, token, url=own) == (200, 2001)
    assert peer.connections == 0
    peer.answers["/versions"] = ok([{"version": "2.2.1", "url": own}])
    assert await post(node, peer, token) == (200, 2001)
    peer.offer()
    credentials = {"identifier": "credentials", "role": "SENDER", "url": f"{peer.url}/credentials"}
    tokens = {"identifier": "tokens", "role": "SENDER", "url": own}
    peer.answers["/details"] = ok({"version": "2.2.1", "endpoints": [credentials, tokens]})
    assert await post(node, peer, token) == (200, 2001)
    assert await node.context.store.platforms() == []


# -- peers that misbehave


async def test_A60_answers_that_are_no_answer(node: Node, peer: Peer) -> None:
    token = await node.token_a(CPO)
    target = {"Location": f"{peer.url}/details"}
    bad: list[Answer] = [
        *(Answer(status=status, headers=target) for status in (301, 302, 303, 307, 308)),
        Answer(status=401),
        Answer(status=500),
        Answer(b"<html></html>"),
        Answer(b""),
        Answer(b"[1,"),
        Answer([]),
        Answer({"data": []}),
        Answer({"status_code": 2000, "data": []}),
        Answer({"status_code": "1000", "data": []}),
        Answer({"status_code": 1000}),
        Answer({"status_code": 1000, "data": {}}),
        Answer(b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"}),
    ]
    for answer in bad:
        peer.answers["/versions"] = answer
        peer.asked.clear()
        assert await post(node, peer, token) == (200, 3001), answer
        assert {asked.path for asked in peer.asked} == {"/versions"}
    peer.offer()
    for answer in bad:
        peer.answers["/details"] = answer
        assert await post(node, peer, token) == (200, 3001), answer
    peer.offer()
    assert await post(node, peer, token) == (200, 1000)


async def _silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("path", ["/versions", "/details"])
@pytest.mark.parametrize("script", [_silent, _dripping, _endless])
async def test_A61_a_slow_or_endless_answer(
    start_node: StartNode, peer: Peer, path: str, script: Any
) -> None:
    node = await start_node(handshake__deadline_ms=700)
    peer.answers[path] = script
    token = await node.token_a(CPO)
    started = time.monotonic()
    assert await post(node, peer, token) == (200, 3001)
    assert time.monotonic() - started < 5
    peer.offer()
    assert await post(node, peer, token) == (200, 1000)


async def test_A61_both_call_backs_share_one_deadline(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__deadline_ms=1_000)
    released = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        body = json.dumps(
            {"status_code": 1000, "data": [{"version": "2.2.1", "url": f"{peer.url}/details"}]}
        ).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async def never(writer: asyncio.StreamWriter) -> None:
        await released.wait()

    peer.answers |= {"/versions": late, "/details": never}
    started = time.monotonic()
    assert await post(node, peer, await node.token_a(CPO)) == (200, 3001)
    assert 0.9 < time.monotonic() - started < 1.6
    released.set()


async def test_A61_a_document_at_the_limit_and_one_above(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__document_bytes=4_096)
    token = await node.token_a(CPO)
    document = {"status_code": 1000, "data": [{"version": "2.2.1", "url": f"{peer.url}/details"}]}
    body = json.dumps(document).encode()
    peer.answers["/versions"] = Answer(body + b" " * (4_097 - len(body)))
    assert await post(node, peer, token) == (200, 3001)
    peer.answers["/versions"] = Answer(body + b" " * (4_096 - len(body)))
    assert await post(node, peer, token) == (200, 1000)


async def test_A61_a_deeply_nested_document(node: Node, peer: Peer) -> None:
    peer.answers["/versions"] = Answer(
        b'{"status_code":1000,"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    )
    assert await post(node, peer, await node.token_a(CPO)) == (200, 3001)


async def test_A62_versions_and_endpoints_are_counted(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__versions=3, handshake__endpoints=3)
    token = await node.token_a(CPO)
    version = {"version": "2.2.1", "url": f"{peer.url}/details"}
    endpoint = {"identifier": "locations", "role": "SENDER", "url": f"{peer.url}/locations"}
    details = [{"identifier": "credentials", "role": "SENDER", "url": f"{peer.url}/credentials"}, endpoint]
    peer.answers["/versions"] = ok([version] * 4)
    assert await post(node, peer, token) == (200, 3001)
    peer.answers["/versions"] = ok([version] * 3)
    peer.answers["/details"] = ok({"version": "2.2.1", "endpoints": [*details, endpoint, endpoint]})
    assert await post(node, peer, token) == (200, 3001)
    peer.answers["/details"] = ok({"version": "2.2.1", "endpoints": [*details, endpoint]})
    assert await post(node, peer, token) == (200, 1000)


async def test_A62_urls_of_endpoints_are_judged(node: Node, peer: Peer) -> None:
    token = await node.token_a(CPO)
    credentials = {"identifier": "credentials", "role": "SENDER", "url": f"{peer.url}/credentials"}
    longest = f"{peer.url}/" + "x" * (255 - len(peer.url) - 1)
    for url in ("javascript:alert(1)", longest + "x", "", None, 7, "http://a@b/", "/relative", "http://[::1"):
        tokens = {"identifier": "tokens", "role": "SENDER", "url": url}
        peer.answers["/details"] = ok({"version": "2.2.1", "endpoints": [credentials, tokens]})
        assert await post(node, peer, token) == (200, 2001), url
    tokens = {"identifier": "tokens", "role": "SENDER", "url": longest}
    peer.answers["/details"] = ok({"version": "2.2.1", "endpoints": [credentials, tokens]})
    assert await post(node, peer, token) == (200, 1000)


@pytest.mark.parametrize("modules", [(), ("credentials",), ("locations", "tokens")])
async def test_required_endpoints_that_are_missing(node: Node, peer: Peer, modules: tuple[str, ...]) -> None:
    peer.offer(modules=modules)
    assert await post(node, peer, await node.token_a(CPO)) == (200, 3003)


async def test_A64_malformed_credentials(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__roles=2)
    token = await node.token_a(CPO)
    role = peer.credentials(CPO)["roles"][0]
    for changed in (
        {"token": ""},
        {"token": "x" * 65},
        {"token": "with blank"},
        {"token": "tab\t"},
        {"token": "t\u00f6ken"},
        {"token": 7},
        {"token": None},
        {"url": None},
        {"roles": []},
        {"roles": None},
        {"roles": {}},
        {"roles": [role, role]},
        {"roles": [role | {"country_code": "de"}, role]},
        {"roles": [role, role | {"role": "NSP"}, role | {"role": "NAP"}]},
        {"roles": ["x"]},
        {"roles": [role | {"country_code": "DEU"}]},
        {"roles": [role | {"party_id": "CP"}]},
        {"roles": [role | {"party_id": "C\u00d6P"}]},
        {"roles": [role | {"party_id": None}]},
        {"roles": [role | {"role": ""}]},
        {"roles": [role | {"role": None}]},
        {"roles": [role | {"business_details": None}]},
        {"roles": [role | {"business_details": {}}]},
    ):
        assert await post(node, peer, token, **changed) == (200, 2001), changed
    assert peer.connections == 0
    peer.token = "x" * 64
    assert await post(node, peer, token, roles=[role, role | {"role": "NSP"}]) == (200, 1000)


async def test_A64_a_body_that_is_no_credentials_object(node: Node) -> None:
    token = await node.token_a(CPO)
    for body, http, ocpi in (
        (b"", 400, 2001),
        (b"{", 400, 2001),
        (b"\xff", 400, 2001),
        (b"[" * 100_000, 400, 2001),
        (b"[]", 200, 2001),
        (b'"x"', 200, 2001),
    ):
        answer = await node.call("POST", CREDENTIALS, token, body)
        assert (answer.status_code, answer.json()["status_code"]) == (http, ocpi), body[:10]


# -- changes


async def test_a_failed_put_leaves_everything_as_it_was(node: Node, peer: Peer) -> None:
    token = await node.register(peer, CPO)
    before = await node.context.store.changes_since(0)
    peer.answers["/details"] = Answer(status=500)
    answer = await node.call("PUT", CREDENTIALS, token, peer.credentials(CPO))
    assert answer.json()["status_code"] == 3001
    assert await node.context.store.changes_since(0) == before
    assert (await node.call("GET", CREDENTIALS, token)).status_code == 200


async def test_A66_a_put_while_the_platform_leaves(start_node: StartNode, peer: Peer) -> None:
    workers = [await start_node(), await start_node()]
    token = await workers[0].register(peer, CPO)
    asked, released = asyncio.Event(), asyncio.Event()
    details = peer.answers["/details"]
    assert isinstance(details, Answer)

    async def held(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await released.wait()
        body = json.dumps(details.body).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    peer.answers["/details"] = held
    put = asyncio.create_task(workers[0].call("PUT", CREDENTIALS, token, peer.credentials(CPO)))
    await asked.wait()
    gone = await workers[1].call("DELETE", CREDENTIALS, token)
    assert gone.json()["status_code"] == 1000
    released.set()
    assert (await put).status_code == 405
    assert await workers[0].context.store.platforms() == []


async def test_A69_the_old_token_is_good_until_the_new_one_is_used(node: Node, peer: Peer) -> None:
    old = await node.register(peer, CPO)
    new = (await node.call("PUT", CREDENTIALS, old, peer.credentials(CPO))).json()["data"]["token"]
    assert (await node.call("GET", CREDENTIALS, old)).status_code == 200
    assert (await node.call("GET", CREDENTIALS, new)).status_code == 200
    assert (await node.call("GET", CREDENTIALS, old)).status_code == 401


async def test_A65_urls_on_a_new_origin_wait_for_the_operator(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__origin_change="confirm")
    token = await node.register(peer, CPO)
    before = await node.context.store.changes_since(0)
    peer.answers["/details"] = ok(
        {
            "version": "2.2.1",
            "endpoints": [
                {"identifier": "credentials", "role": "SENDER", "url": f"{peer.url}/credentials"},
                {"identifier": "tokens", "role": "SENDER", "url": "https://elsewhere.example/tokens"},
            ],
        }
    )
    answer = await node.call("PUT", CREDENTIALS, token, peer.credentials(CPO))
    assert answer.json()["status_code"] == 3001
    assert await node.context.store.changes_since(0) == before


async def test_A68_handshakes_are_bounded(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(handshake__concurrent=1)
    tokens = [await node.token_a(CPO), await node.token_a(MSP)]
    asked, released = asyncio.Event(), asyncio.Event()

    async def held(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await released.wait()

    peer.answers["/versions"] = held
    first = asyncio.create_task(node.call("POST", CREDENTIALS, tokens[0], peer.credentials(CPO)))
    await asked.wait()
    other = await node.call("POST", CREDENTIALS, tokens[0], peer.credentials(MSP))
    assert (other.status_code, other.json()["status_code"]) == (429, 2000)
    refused = await node.call("POST", CREDENTIALS, tokens[1], peer.credentials(MSP))
    assert (refused.status_code, refused.json()["status_code"]) == (429, 2000)
    peer.offer()
    released.set()
    assert (await first).json()["status_code"] == 3001
    assert (await node.call("POST", CREDENTIALS, tokens[1], peer.credentials(MSP))).json()[
        "status_code"
    ] == 1000
