"""The crossing: bodies in, answers out, hang-ups and limits, through the hot door with a real receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import ANSWER, CPO, MSP, Request, Worker, worker

from ocn_fast.errors import OutboundError
from ocn_fast.http import urls

COMMAND = json.dumps(
    {"response_url": "http://127.0.0.1:{port}/result", "token": {}, "location_id": "L1"},
    separators=(",", ":"),
)


def in_worker(folder: Path, story: Callable[[Worker], Awaitable[None]], **flags: Any) -> None:
    """Tells one story in a worker of its own."""

    async def run() -> None:
        async with asyncio.timeout(60), worker(folder, **flags) as one:
            await story(one)

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop run until that holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def outcomes(one: Worker) -> dict[str, int]:
    """How many messages ended in which way."""
    found: dict[str, int] = {}
    for cell in one.stats()["relay"]["messages"]:
        found[cell["outcome"]] = found.get(cell["outcome"], 0) + cell["count"]
    return found


def command(one: Worker) -> Request:
    """A message that needs SQL before it may leave."""
    body = COMMAND.replace("{port}", str(one.receiver.port)).encode()
    return Request(one.token, "POST", "/ocpi/receiver/2.2.1/commands/START_SESSION", (body,))


def test_a_message_goes_through_and_its_answer_comes_back(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        request = Request(one.token, chunks=(b'{ "id" : "S1", "x": 1.0e2 }',))
        answer = await one.relay(request)
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.headers["x-request-id"] == "r-1"
        [seen] = one.receiver.requests
        assert seen.startswith(b"PUT /ocpi/sessions/DE/CPO/S1 HTTP/1.1\r\n")
        assert seen.endswith(b'\r\n\r\n{ "id" : "S1", "x": 1.0e2 }')
        assert request.received == 1, "one receive() is enough where the length is announced"

    in_worker(tmp_path, story)


def test_without_a_body_nothing_is_received(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        request = Request(one.token, "GET", chunks=())
        assert (await one.relay(request)).status == 200
        assert request.received == 0

    in_worker(tmp_path, story)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_in_pieces_arrives_whole(tmp_path: Path, *, chunked: bool) -> None:
    pieces = (b'{"id":', b'"S1"', b"}")

    async def story(one: Worker) -> None:
        headers = ((b"transfer-encoding", b"chunked"),) if chunked else ()
        answer = await one.relay(Request(one.token, chunks=pieces, headers=headers))
        assert answer.status == 200
        assert one.receiver.requests[0].endswith(b'\r\n\r\n{"id":"S1"}')

    in_worker(tmp_path, story)


def test_at_64_requests_in_flight_there_are_fewer_wakes_than_completions(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        one.receiver.may_answer.clear()
        relays = [asyncio.create_task(one.relay()) for _ in range(64)]
        await until(lambda: len(one.receiver.requests) == 64)
        before = one.stats()
        one.receiver.may_answer.set()
        assert [answer.status for answer in await asyncio.gather(*relays)] == [200] * 64
        after = one.stats()
        completions = after["completions"] - before["completions"]
        assert completions == 64
        assert after["wakes"] - before["wakes"] < completions

    in_worker(tmp_path, story)


def test_a_refusal_by_the_head_leaves_the_body_unread(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        request = Request("nobody")
        answer = await one.relay(request)
        assert (answer.status, request.received_first) == (401, 0)
        assert answer.headers["ocn-delivery"] == "no"
        assert not one.receiver.requests

    in_worker(tmp_path, story)


def test_A07_a_body_announced_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        at = b'"%b"' % (b"x" * 98)
        assert (await one.relay(Request(one.token, chunks=(at,)))).status == 200
        above = Request(one.token, chunks=(), announced=101)
        answer = await one.relay(above)
        assert (answer.status, answer.code, above.received_first) == (413, 2001, 0)
        assert answer.headers["connection"] == "close"

    in_worker(tmp_path, story, http__body_bytes=100, http__config_body_bytes=100)


def test_A08_an_endless_body_is_refused_past_the_limit(tmp_path: Path) -> None:
    chunked = ((b"transfer-encoding", b"chunked"),)

    async def story(one: Worker) -> None:
        at = (b'"' + b"x" * 50, b"x" * 48 + b'"')
        assert (await one.relay(Request(one.token, chunks=at, headers=chunked))).status == 200
        endless = Request(one.token, chunks=(b"x" * 60,) * 1_000, headers=chunked)
        answer = await one.relay(endless)
        assert (answer.status, answer.code, answer.headers["connection"]) == (413, 2001, "close")
        assert endless.received_first == 2
        assert one.stats()["buffered_bytes"] == 0

    in_worker(tmp_path, story, http__body_bytes=100, http__config_body_bytes=100)


def test_A138_bodies_that_do_not_fit_are_refused_before_they_are_read(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        one.receiver.may_answer.clear()
        body = b'"%b"' % (b"x" * 98)
        first = asyncio.create_task(one.relay(Request(one.token, chunks=(body,))))
        await one.receiver.arrived.wait()
        left = 200 - one.stats()["buffered_bytes"]
        late = Request(one.token, chunks=(b"x" * left, b"x"), headers=((b"transfer-encoding", b"chunked"),))
        answer = await one.relay(late)
        assert (answer.status, answer.code, late.received_first) == (503, 3000, 2)
        announced = Request(one.token, chunks=(b"x" * (left + 1),))
        answer = await one.relay(announced)
        assert (answer.status, answer.code, announced.received_first) == (503, 3000, 0)
        assert answer.headers["retry-after"] == "1"
        one.receiver.may_answer.set()
        assert (await first).status == 200

    in_worker(
        tmp_path,
        story,
        http__body_bytes=200,
        http__config_body_bytes=100,
        limits__buffered_bytes=200,
        limits__response_bytes=200,
    )


def test_A02_a_body_that_stalls_is_never_forwarded(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        stalled = Request(one.token, chunks=(b"x" * 50,), announced=100, cut_off=True)
        answer = await one.relay(stalled)
        assert (answer.status, answer.code) == (408, 2001)
        assert answer.headers["connection"] == "close"
        assert one.receiver.connections == 0
        assert one.node.in_flight() == 0

    in_worker(tmp_path, story, http__body_timeout_ms=50, http__linger_ms=50)


@pytest.mark.parametrize("cut_off", [False, True])
def test_A02_a_body_that_ends_early_is_never_forwarded(tmp_path: Path, *, cut_off: bool) -> None:
    async def story(one: Worker) -> None:
        early = Request(one.token, chunks=(b"{}",), announced=100, cut_off=cut_off)
        early.gone.set()
        await one.relay(early)
        assert one.receiver.connections == 0
        assert outcomes(one) == {"closed": 1}

    in_worker(tmp_path, story)


def test_A24_hang_up_before_forwarding_leaves_nothing_at_the_receiver(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        async with one.store._database.writing():
            # The link of a command cannot be written down now, so the message waits in front of `forward`.
            request = command(one)
            relay = asyncio.create_task(one.relay(request))
            request.gone.set()
            # The look for hang-ups has come by and taken the message back.
            await until(lambda: request.received > 2)
            for _ in range(10):
                await asyncio.sleep(0)
        await relay
        assert one.receiver.requests == []
        assert outcomes(one) == {"closed": 1}
        assert one.node.in_flight() == 0
        request = command(one)
        assert (await one.relay(request)).status == 200

    in_worker(tmp_path, story)


def test_A24_hang_up_after_forwarding_lets_the_relay_run_to_its_end(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        one.receiver.may_answer.clear()
        request = Request(one.token)
        relay = asyncio.create_task(one.relay(request))
        await one.receiver.arrived.wait()
        request.gone.set()
        await until(lambda: request.received > 2)
        assert one.node.in_flight() == 1
        one.receiver.may_answer.set()
        await relay
        assert len(one.receiver.requests) == 1
        assert outcomes(one) == {"answered": 1}

    in_worker(tmp_path, story)


def test_cancel_says_whether_anything_has_left(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        early = one.node.admit(Request(one.token).scope())
        assert early.cancel() is True
        reply = await early.relay(b'{"id":"S1"}')
        assert reply.start["status"] == 499
        assert one.receiver.requests == []

        one.receiver.may_answer.clear()
        late = one.node.admit(Request(one.token).scope())
        future = late.relay(b'{"id":"S1"}')
        await one.receiver.arrived.wait()
        assert late.cancel() is False
        one.receiver.may_answer.set()
        assert (await future).start["status"] == 200

    in_worker(tmp_path, story)


def test_a_handler_that_is_ended_does_not_end_a_message_that_has_left(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        one.receiver.may_answer.clear()
        relay = asyncio.create_task(one.relay())
        await one.receiver.arrived.wait()
        relay.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relay
        assert one.node.in_flight() == 1
        one.receiver.may_answer.set()
        await until(lambda: one.node.in_flight() == 0)
        assert outcomes(one) == {"answered": 1}

    in_worker(tmp_path, story)


def test_a_gate_that_is_dropped_counts_as_closed(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        gate = one.node.admit(Request(one.token).scope())
        assert one.node.in_flight() == 1
        del gate
        assert one.node.in_flight() == 0
        assert outcomes(one) == {"closed": 1}

    in_worker(tmp_path, story)


def test_a_gate_is_passed_once(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        gate = one.node.admit(Request(one.token).scope())
        assert (await gate.relay(b'{"id":"S1"}')).start["status"] == 200
        for again in (lambda: gate.relay(b""), lambda: gate.grow(1), lambda: gate.refuse("gone")):
            with pytest.raises(RuntimeError, match="passed"):
                again()
        assert len(one.receiver.requests) == 1

    in_worker(tmp_path, story)


def test_closing_waits_for_messages_that_have_left(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        one.receiver.may_answer.clear()
        relay = asyncio.create_task(one.relay())
        await one.receiver.arrived.wait()
        closing = asyncio.create_task(one.node.close())
        await asyncio.sleep(0)
        assert not closing.done()
        one.receiver.may_answer.set()
        await closing
        assert (await relay).status == 200
        with pytest.raises(RuntimeError, match="not open"):
            one.node.admit(Request(one.token).scope())
        await one.node.open()

    in_worker(tmp_path, story)


def test_sql_work_of_a_message_is_done_before_it_leaves(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        answer = await one.relay(command(one))
        assert answer.status == 200
        [seen] = one.receiver.requests
        url: str = json.loads(seen.partition(b"\r\n\r\n")[2])["response_url"]
        link = await one.store.find_link(url.rpartition("/")[2])
        assert link is not None
        assert (link.caller, link.owner, link.method) == (MSP, CPO, "POST")
        assert link.url == f"http://127.0.0.1:{one.receiver.port}/result"

    in_worker(tmp_path, story)


def test_F09_a_store_that_does_not_answer_in_time_refuses_the_message(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        async with one.store._database.writing():
            answer = await one.relay(command(one))
        assert (answer.status, answer.code) == (503, 3000)
        assert answer.headers["ocn-delivery"] == "no"
        assert one.receiver.requests == []

    in_worker(tmp_path, story, store__timeout_ms=100)


def test_a_platform_that_was_connected_elsewhere_is_known_at_its_first_message(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        # What another worker would do; this one would hear of it a minute from now.
        await one.store.rotate_token(1)
        token = await one.store.rotate_token(1)
        assert token is not None
        request = Request(token)
        assert (await one.relay(request)).status == 200
        assert (await one.relay(Request(one.token))).status == 401

    in_worker(tmp_path, story, store__poll_ms=60_000)


def test_strangers_cannot_buy_sql(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        before = one.store.statements()["poll"]
        answers = await asyncio.gather(*(one.relay(Request("stranger")) for _ in range(100)))
        assert {answer.status for answer in answers} == {401}
        shared = one.store.statements()["poll"] - before
        assert shared <= 2, "one look under way, and one for all who came meanwhile"
        assert (await one.relay(Request("stranger"))).status == 401
        assert one.store.statements()["poll"] - before == shared, "known to be unknown"
        for number in range(100):
            await one.relay(Request(f"stranger {number}"))
        # Five at once, and what the budget regains while this runs.
        assert one.store.statements()["poll"] - before < 60

    in_worker(tmp_path, story, store__poll_ms=60_000, auth__sql_lookups_per_s=5)


def test_a_store_that_is_away_makes_unknown_tokens_503_and_never_401(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        await one.store.close()
        (tmp_path / "node.db").rename(tmp_path / "away.db")
        answer = await one.relay(Request("unknown"))
        assert (answer.status, answer.code) == (503, 3000)
        assert answer.headers["x-request-id"] == "r-1"
        assert "[not delivered]" in json.loads(answer.body)["status_message"]
        assert (await one.relay()).status == 200, "whoever is known goes on"
        await one.store.close()
        (tmp_path / "away.db").replace(tmp_path / "node.db")

    in_worker(tmp_path, story, store__poll_ms=60_000)


def test_fetch_calls_with_the_same_checks_as_messages(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        url = f"http://127.0.0.1:{one.receiver.port}/versions"
        status, headers, body = await one.node.fetch(
            "GET", url, [("authorization", "Token a")], None, 5_000, 1_000
        )
        assert (status, body) == (200, ANSWER)
        assert ("content-type", b"application/json") in headers
        with pytest.raises(OutboundError) as caught:
            await one.node.fetch("GET", "http://10.0.0.1/", [], None, 5_000, 1_000)
        assert caught.value.kind == "not_sent"
        with pytest.raises(OutboundError) as caught:
            await one.node.fetch("GET", url, [], None, 5_000, len(ANSWER) - 1)
        assert caught.value.kind == "unusable"

    in_worker(tmp_path, story)


def test_A84_a_url_that_is_kept_is_one_that_can_be_called(tmp_path: Path) -> None:
    """The check before a URL is kept and the reading at each call are two: the first must be the stricter."""

    async def story(one: Worker) -> None:
        port = one.receiver.port
        hosts = ("HTTP://127.0.0.1:{}", "http://127.0.0.1.:{}/", "http://127.1:{}/", "http://0x7f.0.0.1:{}/",
                 "http://2130706433:{}/", "http://[::1]:{}/", "http://[0:0::1]:{}",
                 "http://[::1%251]:{}/")  # fmt: skip
        places = ("{}http://{host}/", "http{}://{host}/",
                  "http://{host}/a{}b", "http://{host}?a{}b", "http://{host}/?a{}b")  # fmt: skip
        candidates = [host.format(port) for host in hosts]
        for place in places:
            candidates += [place.format(chr(code), host=f"127.0.0.1:{port}") for code in range(256)]
        kept = [url for url in candidates if urls.is_usable(url)]
        assert len(kept) > 250, "what is plain is kept"
        unusable = []
        for url in kept:
            try:
                await one.node.fetch("GET", url, [], None, 5_000, 1_000)
            except OutboundError as error:
                if error.text == "URL not usable":
                    unusable.append(url)
        assert unusable == []
        with pytest.raises(OutboundError, match="URL not usable"):
            await one.node.fetch("GET", f"http://127.0.0.1:{port}/<", [], None, 5_000, 1_000)

    in_worker(tmp_path, story)


def test_last_seen_and_figures_are_written_down(tmp_path: Path) -> None:
    async def story(one: Worker) -> None:
        await one.relay()
        assert set(one.stats()["last_seen"]) == {"1", "2"}
        await one.node.close()
        sender = await one.store.platform(1)
        assert sender is not None
        assert sender.last_seen is not None
        await one.node.open()

    in_worker(tmp_path, story)
