"""Kill of a worker and end of a node while messages are on their way: what is cut, and what is doubled."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import uuid
from collections import Counter
from pathlib import Path

from peers import Network, Talk, answer, network
from processes import children, command_of, until

CORRELATION = re.compile(rb"(?i)^x-correlation-id: *([^\r\n]+)", re.MULTILINE)


class Receiver:
    """A party that notes which messages arrive, and answers each once it is allowed to."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.arrived: Counter[str] = Counter()

    def __call__(self, talk: Talk) -> None:
        while request := talk.request():
            found = CORRELATION.search(request)
            assert found is not None
            self.arrived[found[1].decode()] += 1
            self.answers.wait(60)
            if not talk.write(answer()):
                return


class Message(threading.Thread):
    """One message on a connection of its own: its status at last, or None if there was no answer."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self._net = net
        self.id = str(uuid.uuid4())
        self.status: int | None = None

    def run(self) -> None:
        try:
            self.status = self._net.send(headers={"x-correlation-id": self.id}).status
        except (OSError, http.client.HTTPException):
            self.status = None


def workers(net: Network) -> set[int]:
    """The process ids of the workers: the children that hold the listening socket and are no keeper."""
    return {child for child in children(net.node.process.pid) if b"spawn_main" in command_of(child)}


def calls(worker: int, port: int) -> int:
    """How many connections to that port a process holds: as many as it has calls under way there."""
    held = set()
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        try:
            held.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    rows = [line.split() for line in Path(f"/proc/{worker}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[2].partition(":")[2], 16) == port and f"socket:[{row[9]}]" in held for row in rows)


def test_F01_I01_a_killed_worker_cuts_only_what_it_had_and_nothing_arrives_twice(tmp_path: Path) -> None:
    patient = ("relay.deadline_ms=49000", "relay.node_deadline_ms=50000", "shutdown.grace_s=50")
    with network(tmp_path, "http.workers=2", *patient) as net:
        receiver = Receiver()
        before = until(lambda: len(workers(net)) == 2 and workers(net), what="two workers")
        with net["CPO"].play(receiver):
            messages = [Message(net) for _ in range(24)]
            for message in messages:
                message.start()
            until(lambda: len(receiver.arrived) == len(messages), 30, "all messages at the receiver")
            victim = max(before, key=lambda worker: calls(worker, net["CPO"].port))
            under_way = calls(victim, net["CPO"].port)
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(workers(net) - before) == 1, 5, "a new worker")
            receiver.answers.set()
            for message in messages:
                message.join(60)
            # All were in flight: the other worker's are answered, those of the dead one have no answer.
            answered = [message for message in messages if message.status is not None]
            assert all(message.status == 200 for message in answered)
            assert 0 < len(messages) - len(answered) <= under_way
            assert set(receiver.arrived.values()) == {1}
        until(lambda: probes(net), what="messages that pass again")


def probes(net: Network) -> bool:
    """Whether a message passes; a worker that has just begun may still be without an ear."""
    message = Message(net)
    message.start()
    message.join(60)
    return message.status == 200


def test_F04_I02_nothing_that_was_accepted_is_cut_by_SIGTERM_under_load(tmp_path: Path) -> None:
    with network(tmp_path, "http.workers=2") as net:
        receiver = Receiver()
        receiver.answers.set()
        done: list[Message] = []
        ended = threading.Event()

        def load() -> None:
            while not ended.is_set():
                message = Message(net)
                message.start()
                message.join(60)
                done.append(message)

        with net["CPO"].play(receiver):
            clients = [threading.Thread(target=load) for _ in range(8)]
            for client in clients:
                client.start()
            try:
                until(lambda: len(done) > 40, what="load")
                net.node.process.terminate()
                assert net.node.process.wait(60) == 0
            finally:
                ended.set()
                for client in clients:
                    client.join(60)
            answered = {message.id for message in done if message.status is not None}
            assert all(message.status == 200 for message in done if message.status is not None)
            # Who got no answer was never let in: the receiver has not seen the message either.
            assert set(receiver.arrived) == answered
            assert set(receiver.arrived.values()) == {1}
