"""Two workers are one node: what one makes the other knows; told apart by the process ids in the log."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from peers import VERSION, Network, envelope, network
from processes import until
from signed import Line, raw_request, signed_answer, signing, status_code


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    flags = ("http.workers=2", "signatures.required=true")
    with network(tmp_path_factory.mktemp("workers"), *flags) as net:
        yield net


def worker_of(net: Network, correlation_id: str) -> int:
    """The process that relayed the message of that correlation id."""

    def line() -> dict[str, Any] | None:
        return next((line for line in net.node.lines() if line.get("correlation_id") == correlation_id), None)

    return int(until(line, what="the log line")["pid"])


def lines_by_worker(net: Network) -> dict[int, Line]:
    """A connection to each of the two workers."""
    found: dict[int, Line] = {}
    with net["CPO"].play(signing(net["CPO"])):
        for _ in range(200):
            line = Line(net)
            correlation_id = str(uuid.uuid4())
            status, _, body = line.exchange(raw_request(net, body=b'{"a":1}', correlation_id=correlation_id))
            assert (status, status_code(body)) == (200, 1000), body
            worker = worker_of(net, correlation_id)
            if worker in found:
                line.close()
            else:
                found[worker] = line
            if len(found) == 2:
                return found
    raise AssertionError(f"only {list(found)} answered")


def relay(net: Network, lines: dict[int, Line], worker: int, **request: Any) -> tuple[dict[str, str], bytes]:
    """One message through that worker."""
    correlation_id = str(uuid.uuid4())
    status, headers, body = lines[worker].exchange(raw_request(net, correlation_id=correlation_id, **request))
    assert (status, status_code(body)) == (200, 1000), body
    assert worker_of(net, correlation_id) == worker
    return headers, body


def test_I18_links_made_by_one_worker_work_on_the_other(net: Network) -> None:
    lines = lines_by_worker(net)
    one, other = lines
    got: list[bytes] = []
    cpo, msp = net["CPO"], net["MSP"]

    def command(request: bytes) -> bytes:
        got.append(request)
        if b"/locations" in request.partition(b"\r\n")[0]:
            more = f'<{cpo.url}/SENDER/locations?offset=1>; rel="next"'
            return signed_answer(cpo, headers=[("X-Limit", "1"), ("Link", more)])
        return signed_answer(cpo)

    def called(request: bytes) -> bytes:
        got.append(request)
        return signed_answer(
            msp, headers=[("Location", "/RECEIVER/cdrs/7")] if b"/cdrs HTTP" in request else []
        )

    with cpo.play(signing(cpo, command)), msp.play(signing(msp, called)):
        body = json.dumps({"response_url": f"{msp.url}/cb/1", "session_id": "1"}).encode()
        target = f"/ocpi/receiver/{VERSION}/commands/STOP_SESSION"
        relay(net, lines, one, method="POST", target=target, body=body)
        ours = json.loads(got.pop().partition(b"\r\n\r\n")[2])["response_url"]
        callback = {"sender": "CPO", "to": "MSP", "method": "POST", "body": b'{"result":"ACCEPTED"}'}
        relay(net, lines, other, target=ours.removeprefix(net.node.url), **callback)
        assert got.pop().startswith(b"POST /cb/1 HTTP/1.1\r\n")

        headers, _ = relay(net, lines, one, method="GET", target=f"/ocpi/sender/{VERSION}/locations")
        got.clear()
        page = headers["link"].partition("<")[2].partition(">")[0].removeprefix(net.node.url)
        relay(net, lines, other, method="GET", target=page)
        assert got.pop().startswith(b"GET /SENDER/locations?offset=1 HTTP/1.1\r\n")

        cdr = {"sender": "CPO", "to": "MSP"}
        target = f"/ocpi/receiver/{VERSION}/cdrs"
        headers, _ = relay(net, lines, one, method="POST", target=target, body=b'{"id":"1"}', **cdr)
        got.clear()
        place = headers["location"].removeprefix(net.node.url)
        relay(net, lines, other, method="GET", target=place, **cdr)
        assert got.pop().startswith(b"GET /RECEIVER/cdrs/7 HTTP/1.1\r\n")
    for line in lines.values():
        line.close()


def test_I19_a_suspended_platform_is_refused_by_every_worker_within_a_second(net: Network) -> None:
    lines = lines_by_worker(net)
    admin = {"authorization": f"Token {net.admin_key}"}
    listed = json.loads(net.call("GET", "/admin/platforms", admin).body)
    platform = next(row["id"] for row in listed if "CPO" in json.dumps(row))
    assert net.call("POST", f"/admin/platforms/{platform}/suspend", admin).status == 200

    def refused(line: Line) -> bool:
        _, _, body = line.exchange(raw_request(net, body=b'{"a":1}'))
        return status_code(body) == 4003

    for line in lines.values():
        until(lambda line=line: refused(line), 1.0, "the suspension")
    assert net.call("POST", f"/admin/platforms/{platform}/resume", admin).status == 200
    with net["CPO"].play(signing(net["CPO"], lambda _: signed_answer(net["CPO"], envelope()))):
        for line in lines.values():
            until(lambda line=line: not refused(line), 1.0, "the platform's return")
            line.close()
