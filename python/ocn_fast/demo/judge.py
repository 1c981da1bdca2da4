"""How a line of the story is judged: both ends must say the same, and the message went the way it should.

A step is believed only if the sender, what it sent and what came back, and the receiver's own process, what
arrived and whether its signature holds, agree; and if the fronts of the nodes saw exactly one call between
nodes where the parties use different ones, and none where they share one. What must fail must leave the
receiver's journal empty.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from ocn_fast.demo.network import Network, PartyProcess
from ocn_fast.demo.table import Row
from ocn_fast.parties.client import Fault
from ocn_fast.parties.journal import Entry, read_journal

PATIENCE_S = 6.0
"""How long something that must come later is waited for."""

Rows = AsyncIterator[Row]


class Judge:
    """Makes rows of what parties of a network did."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def way(self, sender: str, receiver: str) -> str:
        """The nodes between two parties: `A`, or `A>B`. A stranger's node is the sender's."""
        home = self._network.homes
        first, last = home[sender], home.get(receiver, home[sender])
        return first if first == last else f"{first}>{last}"

    async def passed(
        self,
        name: str,
        sent: Entry,
        sender: PartyProcess,
        receiver: PartyProcess,
        *,
        status: tuple[int, int] = (200, 1000),
        rewritten: bool = False,
        place: str = "",
        signed_data: bool = False,
        signer: str = "party",
    ) -> Row:
        """A message that must arrive as it was sent, and whose answer must come back as it was given."""
        way = self.way(sender.name, receiver.name)
        row = Row(
            name, sender.name, receiver.name, sent.module, _status(sent), "did not arrive", sent.ms, way
        )
        expect(row, "status", (sent.http, sent.ocpi), status, sent.message or sent.reason)
        wait = PATIENCE_S if row.ok else 0.0
        arrived = await receiver.journal(wait=wait, kind="received", correlation_id=sent.correlation_id)
        expect(row, "arrivals", len(arrived), 1)
        if len(arrived) != 1:
            return row
        got = arrived[0]
        row.verdict = _verdict(got)
        expect(row, "signature at the receiver", (got.verdict, got.signer), ("valid", signer), got.reason)
        expect(row, "rewrites of the request", got.rewrites, int(rewritten))
        expect(row, "digest of the body", got.origin_digest, sent.digest)
        if not rewritten:
            expect(row, "digest of the body on the wire", got.digest, sent.digest)
        expect(row, "signature of the answer", (sent.verdict, sent.signer), ("valid", "party"), sent.reason)
        expect(row, "digest of the answer", sent.answer_digest, got.answer_digest)
        self._expect_way(row, sent)
        if place:
            expect(row, "response_url", urlsplit(got.path).path.rpartition("/")[2], place)
        if signed_data:
            expect(row, "signed_data at all", bool(sent.signed_data), True)
            expect(row, "signed_data", got.signed_data, sent.signed_data)
        return row

    async def asked(
        self,
        step: str,
        module: str,
        sender: PartyProcess,
        receiver: PartyProcess,
        *,
        fault: Fault | None = None,
        limit: int | None = None,
    ) -> Rows:
        """A command or charging profile, and its later result at the sender's own response_url."""
        before = await receiver.count()
        wishes = {"limit": limit} if limit is not None else {}
        (sent,), said = await sender.do(step, to=receiver.name, fault=fault, **wishes)
        name = "charging profile" if step == "profile" else step
        row = await self.passed(name, sent, sender, receiver, rewritten=True)
        if row.ok:
            expect(row, "response", said["answer"]["result"], "ACCEPTED")
        yield row
        row, _ = await self.later(
            f"{name}, its result", receiver, sender, before, module=module, method="POST", place=said["id"]
        )
        yield row

    async def later(
        self,
        name: str,
        sender: PartyProcess,
        receiver: PartyProcess,
        after: int,
        *,
        module: str,
        method: str,
        status: tuple[int, int] = (200, 1000),
        place: str = "",
        signed_data: bool = False,
    ) -> tuple[Row, int]:
        """What a party sends on its own: waits for it, then judges it. Returns its number, too."""
        started = time.perf_counter()
        entries = await sender.journal(
            wait=PATIENCE_S, after=after, kind="sent", module=module, method=method
        )
        if not entries:
            waited = (time.perf_counter() - started) * 1000
            way = self.way(sender.name, receiver.name)
            row = Row(name, sender.name, receiver.name, module, "-", "never came", waited, way)
            row.problems.append(f"{sender.name} sent no {method} on {module} within {PATIENCE_S:.0f} s")
            return row, after
        row = await self.passed(
            name, entries[0], sender, receiver, status=status, place=place, signed_data=signed_data
        )
        return row, entries[0].number

    async def refused(
        self,
        name: str,
        sender: PartyProcess,
        to: str,
        status: tuple[int, int | None],
        delivery: str,
        fault: Fault | None = None,
    ) -> Row:
        """A message that must not get through: the node says why, the receiver saw nothing."""
        receiver = self._network.parties.get(to)
        before = len(read_journal(receiver.journal_file)) if receiver is not None else 0
        (sent,), _ = await sender.do("START_SESSION", to=to, fault=fault, location_id="LOC2")
        way = self.way(sender.name, to)
        row = Row(name, sender.name, to, sent.module, _status(sent), "nothing arrived", sent.ms, way)
        http, code = status
        expect(row, "HTTP status", sent.http, http, sent.message or sent.reason)
        if code is not None:
            expect(row, "OCPI status", sent.ocpi, code, sent.message or sent.reason)
        expect(row, "OCN-Delivery", sent.delivery, delivery)
        expect(row, "signature of the answer is wrong", sent.verdict == "invalid", False, sent.reason)
        if receiver is not None:
            arrived = read_journal(receiver.journal_file)[before:]
            expect(row, "entries in the receiver's journal", len(arrived), 0)
            if arrived:
                row.verdict = _verdict(arrived[0])
        return row

    async def registered(self, name: str, party: PartyProcess) -> Row:
        """The last handshake of a party with its node."""
        entries = await party.journal(kind="sent", module="credentials")
        entry = entries[-1] if entries else Entry("sent", "POST", "")
        home = self._network.homes[party.name]
        node = f"node {home}"
        row = Row(name, party.name, node, "credentials", _status(entry), "never signed", entry.ms, home)
        expect(row, "status", (entry.http, entry.ocpi), (200, 1000), entry.message or entry.reason)
        return row

    def _expect_way(self, row: Row, sent: Entry) -> None:
        calls = {
            name: count
            for name, node in self._network.nodes.items()
            if (count := node.front.node_calls.count(sent.correlation_id))
        }
        first, _, last = row.way.partition(">")
        expect(row, "calls between nodes", calls, {last: 1} if last else {}, f"from {first}")


def expect(row: Row, what: str, found: object, wanted: object, why: str = "") -> None:
    """Notes a problem unless it is as wanted."""
    if found != wanted:
        row.problems.append(f"{what}: {found!r} instead of {wanted!r}" + (f" ({why})" if why else ""))


def _status(entry: Entry) -> str:
    return f"{entry.http}/{entry.ocpi}" if entry.http else "-"


def _verdict(entry: Entry) -> str:
    """In words: what the receiver's process found."""
    if entry.verdict != "valid":
        return f"{entry.verdict} {entry.reason}".strip()
    rewritten = ", re-signed by the node" if entry.rewrites else ""
    return f"valid, by the {entry.signer}{rewritten}"
