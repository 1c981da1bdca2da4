"""OcnRules: the whole table of the published manual, and that a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import CPO, MSP, Node
from .peer import Peer

pytestmark = pytest.mark.anyio

RULES = "/ocpi/receiver/2.2.1/ocnrules"
EXCLUSIVE = "OCN Rules whitelist and blacklist cannot be active at same time"


def entry(*modules: str, party: tuple[str, str] = MSP) -> dict[str, Any]:
    return {"country_code": party[0], "party_id": party[1], "modules": list(modules)}


class Platform:
    """One registered platform that sets its rules."""

    def __init__(self, node: Node, token: str) -> None:
        self._node = node
        self._token = token

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, int, str | None]:
        """HTTP status, OCPI status and text of a call."""
        answer = await self._node.call(method, RULES + path, self._token, body)
        return answer.status_code, answer.json()["status_code"], answer.json().get("status_message")

    async def rules(self) -> dict[str, Any]:
        answer = await self._node.call("GET", RULES, self._token)
        assert answer.status_code == 200
        data: dict[str, Any] = answer.json()["data"]
        return data


@pytest.fixture
async def platform(node: Node, peer: Peer) -> Platform:
    return Platform(node, await node.register(peer, CPO))


OFF = {"active": False, "list": []}
DONE = (200, 1000, None)


async def test_rules_begin_empty_and_show_what_the_node_requires(platform: Platform) -> None:
    assert await platform.rules() == {"signatures": True, "whitelist": OFF, "blacklist": OFF}


@pytest.mark.parametrize(("name", "other"), [("whitelist", "blacklist"), ("blacklist", "whitelist")])
async def test_one_list_at_a_time(platform: Platform, name: str, other: str) -> None:
    assert await platform.call("PUT", f"/{name}", [entry("cdrs", "tokens")]) == DONE
    shown = {"active": True, "list": [entry("cdrs", "tokens")]}
    assert await platform.rules() == {"signatures": True, name: shown, other: OFF}
    for method, path, body in (
        ("PUT", f"/{other}", [entry("cdrs")]),
        ("POST", f"/{other}", entry("cdrs")),
    ):
        assert await platform.call(method, path, body) == (200, 2000, EXCLUSIVE)
    refused = (200, 2000, f"Cannot delete entry from OCN Rules {other}")
    assert await platform.call("DELETE", f"/{other}/NL/MSP") == refused
    # An empty list of the other kind has nothing to switch off.
    assert await platform.call("PUT", f"/{other}", []) == DONE
    assert (await platform.rules())[name] == shown
    assert await platform.call("PUT", f"/{name}", []) == DONE
    assert (await platform.rules())[name] == OFF
    assert await platform.call("PUT", f"/{other}", [entry("cdrs")]) == DONE


@pytest.mark.parametrize("name", ["whitelist", "blacklist"])
async def test_entries_come_and_go(platform: Platform, name: str) -> None:
    assert await platform.call("POST", f"/{name}", entry(party=("nl", "msp"))) == DONE
    assert (await platform.rules())[name] == {"active": True, "list": [entry()]}
    again = (200, 2001, f"Party already on OCN Rules {name}")
    assert await platform.call("POST", f"/{name}", entry("cdrs")) == again
    assert await platform.call("POST", f"/{name}", entry("cdrs", party=CPO)) == DONE
    assert await platform.call("DELETE", f"/{name}/nl/msp") == DONE
    assert (await platform.rules())[name]["list"] == [entry("cdrs", party=CPO)]
    assert await platform.call("DELETE", f"/{name}/XX/XXX") == DONE
    assert await platform.call("DELETE", f"/{name}/DE/CPO") == DONE
    assert (await platform.rules())[name] == OFF
    refused = (200, 2000, f"Cannot delete entry from OCN Rules {name}")
    assert await platform.call("DELETE", f"/{name}/DE/CPO") == refused


async def test_block_all_leaves_nobody(platform: Platform) -> None:
    assert await platform.call("PUT", "/whitelist", [entry("cdrs")]) == DONE
    assert await platform.call("PUT", "/block-all") == DONE
    assert (await platform.rules())["whitelist"] == {"active": True, "list": []}
    assert await platform.call("PUT", "/whitelist", []) == DONE
    assert await platform.call("PUT", "/blacklist", [entry("cdrs")]) == DONE
    assert await platform.call("PUT", "/block-all") == (200, 2000, EXCLUSIVE)
    assert (await platform.rules())["blacklist"]["list"] == [entry("cdrs")]


async def test_signatures_are_required_beyond_what_the_node_requires(platform: Platform, node: Node) -> None:
    assert await platform.call("PUT", "/signatures") == DONE
    assert [one.rules.signatures for one in await node.context.store.platforms()] == [True]
    assert await platform.call("PUT", "/signatures") == DONE
    assert [one.rules.signatures for one in await node.context.store.platforms()] == [False]
    assert (await platform.rules())["signatures"] is True


@pytest.mark.parametrize("name", ["whitelist", "blacklist"])
async def test_A121_malformed_entries_change_nothing(platform: Platform, name: str) -> None:
    party = {"country_code": "NL", "party_id": "MSP"}
    for method, body, http, ocpi in (
        ("PUT", [entry()], 200, 2000),
        ("PUT", [party], 200, 2000),
        ("PUT", [entry("cdrs", "")], 200, 2000),
        ("PUT", [entry("cdrs"), entry("tokens")], 200, 2001),
        ("PUT", {}, 200, 2001),
        ("PUT", ["x"], 200, 2001),
        ("PUT", [entry("cdrs", party=("NLD", "MSP"))], 200, 2001),
        ("PUT", [party | {"modules": "cdrs"}], 200, 2001),
        ("PUT", [party | {"modules": [1]}], 200, 2001),
        ("PUT", [entry("x" * 65)], 200, 2001),
        ("PUT", b"[", 400, 2001),
        ("POST", entry(""), 200, 2000),
        ("POST", [], 200, 2001),
        ("POST", b"\x00", 400, 2001),
    ):
        assert (await platform.call(method, f"/{name}", body))[:2] == (http, ocpi), body
    assert await platform.rules() == {"signatures": True, "whitelist": OFF, "blacklist": OFF}
    assert await platform.call("PUT", f"/{name}", [entry("x" * 64)]) == DONE


async def test_A73_rules_of_one_platform_leave_others_alone(
    platform: Platform, node: Node, peer: Peer
) -> None:
    other = Platform(node, await node.register(peer, MSP))
    assert await other.call("PUT", "/whitelist", [entry("cdrs", party=CPO)]) == DONE
    assert await platform.call("POST", "/blacklist", entry("cdrs", party=CPO)) == DONE
    assert await platform.call("PUT", "/blacklist", []) == DONE
    assert await platform.call("PUT", "/block-all") == DONE
    assert (await other.rules())["whitelist"]["list"] == [entry("cdrs", party=CPO)]


async def test_the_other_advertised_place_is_served_too(platform: Platform, node: Node, peer: Peer) -> None:
    token = await node.register(peer, MSP)
    for version in ("2.2", "2.2.1"):
        for path in (f"/ocpi/receiver/{version}/ocnrules", f"/ocpi/{version}/receiver/ocnrules"):
            assert (await node.call("GET", path, token)).status_code == 200
