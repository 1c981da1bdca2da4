"""URLs that point back, across two running nodes: R6, R7 of `ocn-relay.md`; A93, A94, A96 of `safety.md`."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from node_messages import VERSION, acting, relayed, request, sign
from peers import Peer, Reply
from processes import until
from signed import signed_answer
from two_nodes import DOOR, STRANGER, Message, Node, Nodes, receiving, two_nodes

STOP = f"/ocpi/receiver/{VERSION}/commands/STOP_SESSION"
PROFILE = f"/ocpi/receiver/{VERSION}/chargingprofiles/S1"
LOCATIONS = f"/ocpi/sender/{VERSION}/locations"
CDRS = f"/ocpi/receiver/{VERSION}/cdrs"
RESULT = b'{"result":"ACCEPTED"}'
OTHERS = {"MSP": "MS2", "CPO": "CP2"}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes"), required=True) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def open_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two workers each; messages need no signatures of parties."""
    with two_nodes(tmp_path_factory.mktemp("open"), "http.workers=2") as nodes:
        yield nodes


def ok(reply: Reply) -> Reply:
    assert (reply.status, reply.document["status_code"]) == (200, 1000), reply.body
    return reply


def unknown(reply: Reply) -> None:
    """No such link: the same for what is foreign, expired and never was."""
    assert (reply.status, reply.document["status_code"]) == (404, 2003), reply.body
    assert reply.headers["ocn-delivery"] == "no"


def refused(answer: Message, status: int, code: int, text: str = "") -> None:
    """A node refused a message of another, and nothing left."""
    assert (answer.status, json.loads(answer.body)["status_code"]) == (status, code), answer
    assert answer.get("ocn-delivery") == "no"
    assert text in json.loads(answer.body)["status_message"]


@dataclass
class Given:
    """A link that one party got, and how it is used."""

    node: Node
    """Where it is used."""
    use: dict[str, Any]
    owner: Peer
    """Who is reached by it."""
    reached: str
    """The first line of what its owner gets."""


def given_page(nodes: Nodes) -> Given:
    """A page link of CPO's list, given to MSP."""
    more = f'<{nodes.b["CPO"].url}/SENDER/locations?offset=1&x=a%2Fb>; rel="next"'
    with receiving(nodes.b["CPO"], lambda _: signed_answer(nodes.b["CPO"], headers=[("Link", more)])):
        reply = ok(nodes.a.ask(method="GET", target=LOCATIONS))
    url = re.fullmatch(r'<(.*)>; rel="next"', reply.headers["link"])
    assert url is not None
    path = nodes.a.path(url[1])
    assert path.startswith(f"{LOCATIONS}/page/")
    reached = "GET /SENDER/locations?offset=1&x=a%2Fb HTTP/1.1"
    return Given(nodes.a, {"method": "GET", "target": path}, nodes.b["CPO"], reached)


def given_response_url(nodes: Nodes, *, place: str = "commands/STOP_SESSION", **message: Any) -> Given:
    """A `response_url` of MSP, given to CPO: of a command, or of another message."""
    own = f"{nodes.a['MSP'].url}/callback/1?x=a%2Fb"
    body = json.dumps({"response_url": own, "session_id": "1"}).encode()
    command = {"method": "POST", "target": STOP, "body": body}
    with receiving(nodes.b["CPO"]) as seen:
        ok(nodes.a.ask(**command | message))
    (got,) = seen
    if got.body:
        url = json.loads(got.body)["response_url"]
    else:
        url = parse_qs(urlsplit(got.target).query)["response_url"][0]
    path = nodes.b.path(url)
    # The query stays to be seen: it is what the other party signs when it calls.
    assert re.fullmatch(rf"/ocpi/sender/{VERSION}/{place}/[0-9a-f]{{32}}\?x=a%2Fb", path), path
    assert len(url) <= 255
    use: dict[str, Any] = {"sender": "CPO", "to": "MSP", "method": "POST", "target": path, "body": RESULT}
    return Given(nodes.b, use, nodes.a["MSP"], "POST /callback/1?x=a%2Fb HTTP/1.1")


def given_profile_url(nodes: Nodes) -> Given:
    """The `response_url` of a charging profile."""
    return given_response_url(nodes, place="chargingprofiles/result", method="PUT", target=PROFILE)


def given_url_by_query(nodes: Nodes) -> Given:
    """A `response_url` in a query."""
    own = quote(f"{nodes.a['MSP'].url}/callback/1?x=a%2Fb", safe="")
    target = f"{PROFILE}?duration=900&response_url={own}"
    return given_response_url(nodes, place="chargingprofiles/result", method="GET", target=target, body=b"")


def given_location(nodes: Nodes) -> Given:
    """The `Location` of a CDR that CPO sent to MSP."""
    place = f"{nodes.a['MSP'].url}/RECEIVER/cdrs/7"
    with receiving(nodes.a["MSP"], lambda _: signed_answer(nodes.a["MSP"], headers=[("Location", place)])):
        reply = ok(nodes.b.ask(sender="CPO", to="MSP", method="POST", target=CDRS, body=b'{"id":"7"}'))
    path = nodes.b.path(reply.headers["location"])
    assert re.fullmatch(rf"{CDRS}/[0-9a-f]{{32}}", path), path
    use: dict[str, Any] = {"sender": "CPO", "to": "MSP", "method": "GET", "target": path}
    return Given(nodes.b, use, nodes.a["MSP"], "GET /RECEIVER/cdrs/7 HTTP/1.1")


KINDS = {
    "page": given_page,
    "command": given_response_url,
    "profile": given_profile_url,
    "query": given_url_by_query,
    "cdr": given_location,
}


def used(given: Given) -> Message:
    """Uses it; what its owner got."""
    with receiving(given.owner) as seen:
        ok(given.node.ask(**given.use))
    (got,) = seen
    assert got.line == given.reached
    return got


@pytest.mark.parametrize("kind", KINDS)
def test_R6_a_link_works_across_two_nodes(nodes: Nodes, kind: str) -> None:
    given = KINDS[kind](nodes)
    assert used(given).body == given.use.get("body", b"")
    if kind in ("page", "cdr"):
        used(given)


def test_R6_a_page_of_a_page_works(nodes: Nodes) -> None:
    given = given_page(nodes)
    more = f'<{nodes.b["CPO"].url}/SENDER/locations?offset=2>; rel="next"'
    with receiving(given.owner, lambda _: signed_answer(given.owner, headers=[("Link", more)])):
        reply = ok(given.node.ask(**given.use))
    path = nodes.a.path(reply.headers["link"].partition("<")[2].partition(">")[0])
    with receiving(given.owner) as seen:
        ok(nodes.a.ask(method="GET", target=path))
    assert [got.line for got in seen] == ["GET /SENDER/locations?offset=2 HTTP/1.1"]


@pytest.mark.parametrize("kind", KINDS)
def test_R6_a_link_is_refused_to_another_party(nodes: Nodes, kind: str) -> None:
    given = KINDS[kind](nodes)
    caller = str(given.use.get("sender", "MSP"))
    with receiving(given.owner) as seen:
        unknown(given.node.ask(**given.use | {"sender": OTHERS[caller]}))
        wrong_way = given.use | {"to": OTHERS[given.owner.party]}
        unknown(given.node.ask(**wrong_way))
        assert seen == []
    used(given)


@pytest.mark.parametrize("kind", KINDS)
def test_R6_A93_a_link_is_refused_to_others_behind_the_door(open_nodes: Nodes, kind: str) -> None:
    """The path that one node told the other is of no use to others, not even to that node's other party."""
    nodes = open_nodes
    given = KINDS[kind](nodes)
    owner = nodes.b if given.node is nodes.a else nodes.a
    with owner.proxy.altering() as passed:
        used(given)
    (exchange,) = passed
    asked = exchange.request
    caller = str(given.use.get("sender", "MSP"))
    with receiving(given.owner) as seen:
        for sender, key in ((STRANGER, nodes.stranger_key), (OTHERS[caller], given.node.key)):
            message = request(
                owner,
                sender=sender,
                to=given.owner.party,
                method=asked.method,
                target=asked.target,
                body=asked.body,
            )
            refused(owner.proxy.send(sign(message, key)), 404, 2003)
        assert seen == []


@pytest.mark.parametrize("which", ["a", "b", "both"])
def test_R6_links_survive_a_restart(nodes: Nodes, which: str) -> None:
    given = {kind: give(nodes) for kind, give in KINDS.items()}
    for node in {"a": [nodes.a], "b": [nodes.b], "both": [nodes.a, nodes.b]}[which]:
        nodes.restart(node)
    for link in given.values():
        used(link)


def test_R6_a_link_expires(tmp_path: Path) -> None:
    """Those of CDRs live for days at least, so theirs is not waited for."""
    with two_nodes(tmp_path, "links.page_ttl_s=1", "links.command_ttl_s=1", required=True) as nodes:
        for give in (given_page, given_response_url, given_profile_url):
            given = give(nodes)
            with receiving(given.owner):

                def gone(given: Given = given) -> bool:
                    return given.node.ask(**given.use).status == 404

                until(gone, 30, "the end of the link")
                unknown(given.node.ask(**given.use))


def test_R6_a_guessed_or_altered_link_is_unknown(nodes: Nodes) -> None:
    page, command = given_page(nodes), given_response_url(nodes)
    with receiving(page.owner) as seen, receiving(command.owner) as called:
        for given in (page, command):
            path = str(given.use["target"])
            at = path.find("?") - 1 if "?" in path else len(path) - 3
            other = "0" if path[at] != "0" else "1"
            unknown(given.node.ask(**given.use | {"target": path[:at] + other + path[at + 1 :]}))
        assert seen == called == []


# R7, A93, A94: the stranger is a node that lies


def command(nodes: Nodes, response_url: str, *, to: str = "CPO", version: str = VERSION) -> Message:
    """A command of the stranger, which asks for the result at this URL."""
    body = json.dumps({"response_url": response_url, "session_id": "1"}).encode()
    target = f"{DOOR}receiver/commands/STOP_SESSION"
    headers = {"OCN-OCPI-Version": version}
    message = request(nodes.b, to=to, method="POST", target=target, body=body, headers=headers)
    return sign(message, nodes.stranger_key)


def a_response_url(node: Node, uid: str | None = None) -> str:
    return f"{node.proxy.url}/ocpi/sender/{VERSION}/commands/STOP_SESSION/{uid or uuid.uuid4().hex}"


def test_R7_A93_a_response_url_of_another_node_has_one_form(open_nodes: Nodes) -> None:
    nodes = open_nodes
    own, uid = nodes.b.proxy.url, uuid.uuid4().hex
    with receiving(nodes.b["CPO"]) as seen, receiving(nodes.stranger) as called:
        for url in (
            f"{nodes.stranger.url}/x",
            f"{nodes.stranger.url}/ocpi/sender/{VERSION}/commands/STOP_SESSION/{uid}",
            f"{own}.evil.example/ocpi/sender/{VERSION}/commands/STOP_SESSION/{uid}",
            f"{own.replace('://', '://user@')}/ocpi/sender/{VERSION}/commands/STOP_SESSION/{uid}",
            f"{own}/ocpi/sender/{VERSION}/commands/START_SESSION/{uid}",
            f"{own}/ocpi/sender/{VERSION}/chargingprofiles/result/{uid}",
            f"{own}/ocpi/sender/{VERSION}/commands/STOP_SESSION/{uid}/more",
            f"{own}/ocpi/sender/{VERSION}/commands/../commands/STOP_SESSION/{uid}",
            f"{own}/ocpi/sender/9.9/commands/STOP_SESSION/{uid}",
            f"{own}/ocpi/sender/2.2/commands/STOP_SESSION/{uid}",
            a_response_url(nodes.b, "short"),
            a_response_url(nodes.b, uid.upper()),
            a_response_url(nodes.b, "../" + uid),
            "",
            "not a URL",
        ):
            refused(nodes.b.proxy.send(command(nodes, url)), 400, 2001)
        assert seen == []
        # In the version of the message it is taken, and arrives as it was sent.
        for version in ("2.2", VERSION):
            url = a_response_url(nodes.b).replace(VERSION, version)
            assert nodes.b.proxy.send(command(nodes, url, version=version)).status == 200
            assert json.loads(seen[-1].body)["response_url"] == url
        assert called == []


def test_A94_an_id_is_taken_once(open_nodes: Nodes) -> None:
    """By whomever: in one process or another, for the same party or another, and a uid of the node itself."""
    nodes = open_nodes
    url = a_response_url(nodes.b)
    with receiving(nodes.b["CPO"]) as seen, receiving(nodes.b["CP2"]) as seen_by_other:
        assert nodes.b.proxy.send(command(nodes, url)).status == 200
        for _ in range(8):
            refused(nodes.b.proxy.send(command(nodes, url)), 400, 2001, "duplicate message")
        refused(nodes.b.proxy.send(command(nodes, url, to="CP2")), 400, 2001, "duplicate message")
        assert (len(seen), len(seen_by_other)) == (1, 0)


def test_A94_an_id_that_the_node_gave_out_itself_is_not_overwritten(nodes: Nodes) -> None:
    given = given_location(nodes)
    uid = str(given.use["target"]).rpartition("/")[2]
    message = command(nodes, a_response_url(nodes.b, uid))
    with receiving(nodes.b["CPO"]) as seen:
        assert nodes.b.proxy.send(message).get("ocn-delivery") == "no"
        assert seen == []
    used(given)


def test_A96_A151_a_command_is_delivered_once_whatever_worker_gets_the_copy(open_nodes: Nodes) -> None:
    """Each worker remembers for itself what it has seen; the id of the command is everybody's."""
    nodes = open_nodes
    with receiving(nodes.b["CPO"]) as seen, nodes.b.proxy.altering() as passed:
        body = json.dumps({"response_url": f"{nodes.a['MSP'].url}/cb", "session_id": "1"}).encode()
        ok(nodes.a.ask(method="POST", target=STOP, body=body, sign=False))
        (exchange,) = passed
        for _ in range(16):
            copy = nodes.b.proxy.send(exchange.request)
            assert (copy.status, copy.get("ocn-delivery")) in ((400, "no"), (401, "no"))
        assert len(seen) == 1


def test_A93_a_result_reaches_only_the_url_that_was_kept_for_the_pair(open_nodes: Nodes) -> None:
    """The stranger got a command of MSP; it may answer that one, once it names it, and nothing else."""
    nodes = open_nodes
    with receiving(nodes.stranger, acting(nodes)) as seen, receiving(nodes.a["MSP"]) as called:
        body = json.dumps({"response_url": f"{nodes.a['MSP'].url}/cb/9", "session_id": "1"}).encode()
        reply = nodes.a.ask(to=STRANGER, method="POST", target=STOP, body=body, sign=False)
        assert reply.status == 200, reply.body
        (sent,) = relayed(seen)
        url = json.loads(sent.body)["response_url"]
        assert url.startswith(f"{nodes.stranger.url}/ocpi/sender/{VERSION}/commands/STOP_SESSION/")
        uid = url.rpartition("/")[2].partition("?")[0]

        def result(uid: str, place: str = "STOP_SESSION", to: str = "MSP") -> Message:
            target = f"{DOOR}sender/commands/{place}/{uid}"
            message = request(nodes.a, to=to, method="POST", target=target, body=RESULT)
            return nodes.a.proxy.send(sign(message, nodes.stranger_key))

        for wrong in (result(uuid.uuid4().hex), result(uid, place="START_SESSION"), result(uid, to="MS2")):
            refused(wrong, 404, 2003)
        assert called == []
        assert result(uid).status == 200
        assert [got.line for got in called] == ["POST /cb/9 HTTP/1.1"]


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/ocn/relay/sender/locations/page/AAAA",
        "{evil}/ocn/relay/sender/locations/page/AAAA",
        "{theirs}/admin/platforms",
        "{theirs}/ocn/relay/../../admin",
        "{theirs}/ocn/relay/%2e%2e/x",
        "{theirs}.evil.example/ocn/relay/sender/locations/page/AAAA",
        "{cpo}/SENDER/locations?offset=1",
    ],
)
def test_R7_a_link_of_another_node_leads_to_that_node_or_is_dropped(open_nodes: Nodes, link: str) -> None:
    nodes = open_nodes
    evil = Peer("EVL")
    places = {"evil": evil.url, "theirs": nodes.stranger.url, "cpo": nodes.b["CPO"].url}
    url = link.format(**places)
    respond = acting(nodes, headers={"Link": f'<{url}>; rel="next"', "Location": url})
    with receiving(nodes.stranger, respond), receiving(evil) as called:
        listed = ok(nodes.a.ask(to=STRANGER, method="GET", target=LOCATIONS, sign=False))
        assert "link" not in listed.headers
        posted = ok(nodes.a.ask(to=STRANGER, method="POST", target=CDRS, body=b'{"id":"1"}', sign=False))
        assert "location" not in posted.headers
        assert called == []
    evil.close()


def test_R7_a_page_of_another_node_is_asked_only_there(open_nodes: Nodes) -> None:
    """The control of the test above: this link is kept, and leads back under the domain of that operator."""
    nodes = open_nodes
    page = "/ocn/relay/sender/locations/page/AAAA"
    respond = acting(nodes, headers={"Link": f'<{nodes.stranger.url}{page}>; rel="next"'})
    with receiving(nodes.stranger, respond) as seen:
        listed = ok(nodes.a.ask(to=STRANGER, method="GET", target=LOCATIONS, sign=False))
        path = nodes.a.path(listed.headers["link"].partition("<")[2].partition(">")[0])
        ok(nodes.a.ask(to=STRANGER, method="GET", target=path, sign=False))
    assert seen[-1].line == f"GET {page} HTTP/1.1"
