"""Tokens on their way: whose they are, where they go, and that nothing else shows them."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack

import httpx
import pytest
from structlog.testing import capture_logs

from .conftest import CPO, CREDENTIALS, MSP, UNLISTED, Node, StartNode
from .peer import Answer, Peer, ok, serving

pytestmark = pytest.mark.anyio

LOCATIONS = "/ocpi/sender/2.2.1/locations"


async def send(node: Node, token: str, sender: tuple[str, str], receiver: tuple[str, str]) -> httpx.Response:
    """A GET of the receiver's locations."""
    headers = {
        "authorization": f"Token {base64.b64encode(token.encode()).decode()}",
        "x-request-id": "request-1",
        "x-correlation-id": "correlation-1",
        "ocpi-from-country-code": sender[0],
        "ocpi-from-party-id": sender[1],
        "ocpi-to-country-code": receiver[0],
        "ocpi-to-party-id": receiver[1],
    }
    return await node.client.get(LOCATIONS, headers=headers)


async def test_A53_each_side_sees_the_hubs_token_only(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(signatures__required=False)
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(serving())
        receiver.token = "token-b-of-the-receiver"
        token = await node.register(peer, MSP)
        token_of_receiver = await node.register(receiver, CPO)
        receiver.asked.clear()
        receiver.answers["/locations"] = ok([])
        answer = await send(node, token, MSP, CPO)
        assert (answer.status_code, answer.json()["status_code"]) == (200, 1000), answer.text
        # The receiver registered with its token A as it stands: it is called in the same form.
        assert receiver.asked[0].headers["authorization"] == f"Token {receiver.token}"
        for secret in (token, token_of_receiver, receiver.token, peer.token):
            assert secret not in str(answer.headers) + answer.text

        receiver.answers["/locations"] = Answer(status=401)
        answer = await send(node, token, MSP, CPO)
        assert (answer.status_code, answer.json()["status_code"]) == (200, 4003)


async def test_A54_a_token_speaks_for_its_own_parties_only(start_node: StartNode, peer: Peer) -> None:
    node = await start_node(signatures__required=False)
    token = await node.register(peer, MSP)
    await node.register(peer, CPO)
    peer.asked.clear()
    for sender in (CPO, UNLISTED, ("XX", "XXX")):
        answer = await send(node, token, sender, CPO)
        assert (answer.status_code, answer.json()["status_code"]) == (403, 2001), sender
        text = "Could not find role on sending platform using OCPI-from-* headers"
        assert answer.json()["status_message"] == text
    assert peer.asked == []


async def test_A52_no_log_line_shows_a_token(node: Node, peer: Peer) -> None:
    """Every way of a handshake, with tokens that can be searched for."""
    peer.token = "marker-token-b"
    secrets = [peer.token, base64.b64encode(peer.token.encode()).decode(), "marker-wrong", node.admin_key]
    with capture_logs() as lines:
        token = await node.token_a(CPO)
        for broken in (Answer(status=500), Answer(b"marker-token-b"), ok([])):
            peer.answers["/versions"] = broken
            await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
        peer.offer()
        answer = await node.call("POST", CREDENTIALS, token, peer.credentials(CPO))
        token_c = answer.json()["data"]["token"]
        changed = await node.call("PUT", CREDENTIALS, token_c, peer.credentials(CPO))
        secrets += [token, token_c, changed.json()["data"]["token"]]
        await node.call("GET", CREDENTIALS, "marker-wrong")
        await node.call("GET", "/admin/platforms", "marker-wrong")
        platform = (await node.context.store.platforms())[0]
        rotated = await node.admin("POST", f"/admin/platforms/{platform.id}/rotate")
        secrets.append(rotated.json()["token"])
        await node.call("DELETE", CREDENTIALS, secrets[-1])
    assert len(lines) >= 5
    shown = repr(lines) + repr(platform) + repr(node.context.settings) + repr(node.context.store)
    for secret in secrets:
        assert secret not in shown
