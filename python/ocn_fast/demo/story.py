"""The roaming story, step by step, and what must come of each step.

A step is believed only if both ends say the same: the sender, what it sent and what came back; the receiver's
own process, what arrived and whether its signature holds. What must fail must leave the receiver's journal
empty.
"""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from urllib.parse import urlsplit

from ocn_fast.demo.network import CPO, GONE, HANGS, MSP, Network, PartyProcess
from ocn_fast.demo.table import Printer, Row
from ocn_fast.parties.client import Fault
from ocn_fast.parties.journal import Entry, read_journal
from ocn_fast.parties.objects import BLOCKED_TOKEN, KNOWN_TOKEN

PATIENCE_S = 6.0
"""How long something that must come later is waited for."""
UNKNOWN_TOKEN = "04FFFFFFFFFFFF"  # noqa: S105 - the number of a card that nobody has
STRANGER = "FR/XXX"
ECHO = "decpo-echo"
SITES = ["LOC1", "LOC2", "LOC3", "LOC4", "LOC5"]


class Sabotage(StrEnum):
    """What the demo can break on purpose, to show that it would notice."""

    SIGNATURE = "signature"
    ROUTE = "route"
    CALLBACK = "callback"


Rows = AsyncIterator[Row]


class Story:
    """Tells the story over a running network."""

    def __init__(self, network: Network, sabotage: Sabotage | None) -> None:
        self._cpo = network.parties[CPO]
        self._msp = network.parties[MSP]
        self._parties = network.parties
        self._sabotage = sabotage

    async def tell(self, printer: Printer) -> Row | None:
        """Shows every row; stops at the first that is not as expected and returns it."""
        chapters: list[Callable[[], Rows]] = [
            self._handshakes,
            self._lists,
            self._authorisation,
            self._reservation,
            self._start,
            self._profile,
            self._stop,
            self._cdr,
            self._custom,
            self._forged,
            self._unreachable,
            self._impostors,
        ]
        for chapter in chapters:
            async for row in chapter():
                printer.add(row)
                if not row.ok:
                    return row
        return None

    # --- what must work ---

    async def _handshakes(self) -> Rows:
        for name, party in (("CPO registers", self._cpo), ("eMSP registers", self._msp)):
            entries = await party.journal(kind="sent", module="credentials")
            entry = entries[-1] if entries else Entry("sent", "POST", "")
            row = Row(name, party.name, "node", "credentials", _status(entry), "never signed", entry.ms)
            _expect(row, "status", (entry.http, entry.ocpi), (200, 1000))
            yield row

    async def _lists(self) -> Rows:
        pages, found = await self._msp.do("locations", to=CPO, limit=2)
        for number, page in enumerate(pages, 1):
            # The query of a page's URL is the CPO's own: the eMSP never sees it, so its node signs it.
            signer = "party" if number == 1 else "operator"
            yield await self._passed(f"locations, page {number}", page, self._cpo, signer=signer)
        wanted = {"pages": 3, "locations": SITES}
        yield _summary(pages[-1], "locations, complete", {"pages": len(pages), "locations": found}, wanted)
        tariffs, found = await self._msp.do("tariffs", to=CPO)
        row = await self._passed("tariffs", tariffs[-1], self._cpo)
        _expect(row, "tariffs", found, ["ENERGY", "PARKING"])
        yield row

    async def _authorisation(self) -> Rows:
        for name, uid, status, allowed in (
            ("authorise a known token", KNOWN_TOKEN, (200, 1000), "ALLOWED"),
            ("authorise a blocked token", BLOCKED_TOKEN, (200, 1000), "BLOCKED"),
            ("authorise an unknown token", UNKNOWN_TOKEN, (404, 2004), None),
        ):
            (sent,), info = await self._cpo.do("authorize", to=MSP, uid=uid, location_id="LOC1")
            row = await self._passed(name, sent, self._msp, status=status)
            _expect(row, "answer", info and info["allowed"], allowed)
            yield row

    async def _reservation(self) -> Rows:
        async for row in self._asked("RESERVE_NOW", "commands"):
            yield row

    async def _start(self) -> Rows:
        if self._sabotage is Sabotage.CALLBACK:
            await self._cpo.do("results", send=False)
        before = await self._cpo.count()
        fault = Fault.TAMPER_FIELD if self._sabotage is Sabotage.SIGNATURE else None
        async for row in self._asked("START_SESSION", "commands", fault=fault):
            yield row
        for name, method, status in (
            ("session begins (PUT)", "PUT", (201, 1000)),
            ("session grows (PATCH)", "PATCH", (200, 1000)),
            ("session grows (PATCH)", "PATCH", (200, 1000)),
        ):
            row, before = await self._later(
                name, self._cpo, self._msp, before, module="sessions", method=method, status=status
            )
            yield row

    async def _profile(self) -> Rows:
        async for row in self._asked("profile", "chargingprofiles", limit=6_000):
            yield row

    async def _stop(self) -> Rows:
        async for row in self._asked("STOP_SESSION", "commands"):
            yield row

    async def _cdr(self) -> Rows:
        row, _ = await self._later(
            "CDR, signed_data untouched", self._cpo, self._msp, 0,
            module="cdrs", method="POST", status=(201, 1000), signed_data=True,
        )  # fmt: skip
        yield row
        (sent,), said = await self._cpo.do("fetch_cdr")
        row = await self._passed("CDR from its Location", sent, self._msp)
        _expect(row, "bytes as posted", said["same"], True)
        yield row

    async def _custom(self) -> Rows:
        (sent,), _ = await self._msp.do("custom", to=CPO, module=ECHO)
        yield await self._passed("a custom module", sent, self._cpo)

    # --- what must fail ---

    async def _forged(self) -> Rows:
        for name, fault in (("tampered body", Fault.TAMPER_FIELD), ("missing signature", Fault.UNSIGNED)):
            yield await self._refused(name, CPO, (200, 2001), "no", fault)

    async def _unreachable(self) -> Rows:
        yield await self._refused("unknown receiver", STRANGER, (200, 4001), "no")
        gone = self._parties[GONE].child
        gone.send(signal.SIGKILL)
        await gone.ended(PATIENCE_S)
        yield await self._refused("receiver is down", GONE, (200, 4003), "no")
        # Stopped, not ended: the system still takes connections for it, and nothing ever answers.
        self._parties[HANGS].child.send(signal.SIGSTOP)
        yield await self._refused("receiver hangs", HANGS, (200, 4002), "maybe")

    async def _impostors(self) -> Rows:
        yield await self._refused("wrong token", CPO, (401, None), "no", Fault.WRONG_TOKEN)
        yield await self._refused("party of somebody else", CPO, (403, 2001), "no", Fault.WRONG_FROM)

    # --- how it is judged ---

    async def _asked(
        self, step: str, module: str, *, fault: Fault | None = None, limit: int | None = None
    ) -> Rows:
        """A command or charging profile of the eMSP, and its later result at the eMSP's own response_url."""
        before = await self._cpo.count()
        wishes = {"limit": limit} if limit is not None else {}
        (sent,), said = await self._msp.do(step, to=CPO, fault=fault, **wishes)
        name = "charging profile" if step == "profile" else step
        row = await self._passed(name, sent, self._cpo, rewritten=True)
        if row.ok:
            _expect(row, "response", said["answer"]["result"], "ACCEPTED")
        yield row
        row, _ = await self._later(
            f"{name}, its result",
            self._cpo,
            self._msp,
            before,
            module=module,
            method="POST",
            place=said["id"],
        )
        yield row

    async def _later(
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
            row = Row(name, sender.name, receiver.name, module, "-", "never came", waited)
            row.problems.append(f"{sender.name} sent no {method} on {module} within {PATIENCE_S:.0f} s")
            return row, after
        row = await self._passed(
            name, entries[0], receiver, status=status, place=place, signed_data=signed_data, sender=sender
        )
        return row, entries[0].number

    async def _passed(
        self,
        name: str,
        sent: Entry,
        receiver: PartyProcess,
        *,
        status: tuple[int, int] = (200, 1000),
        rewritten: bool = False,
        place: str = "",
        signed_data: bool = False,
        sender: PartyProcess | None = None,
        signer: str = "party",
    ) -> Row:
        """A message that must arrive as it was sent, and whose answer must come back as it was given."""
        sender = sender or (self._cpo if receiver is self._msp else self._msp)
        row = Row(name, sender.name, receiver.name, sent.module, _status(sent), "did not arrive", sent.ms)
        _expect(row, "status", (sent.http, sent.ocpi), status, sent.message or sent.reason)
        wait = PATIENCE_S if row.ok else 0.0
        arrived = await receiver.journal(wait=wait, kind="received", correlation_id=sent.correlation_id)
        _expect(row, "arrivals", len(arrived), 1)
        if len(arrived) != 1:
            return row
        got = arrived[0]
        row.verdict = _verdict(got)
        _expect(row, "signature at the receiver", (got.verdict, got.signer), ("valid", signer), got.reason)
        _expect(row, "rewrites of the request", got.rewrites, int(rewritten))
        _expect(row, "digest of the body", got.origin_digest, sent.digest)
        if not rewritten:
            _expect(row, "digest of the body on the wire", got.digest, sent.digest)
        _expect(row, "signature of the answer", (sent.verdict, sent.signer), ("valid", "party"), sent.reason)
        _expect(row, "digest of the answer", sent.answer_digest, got.answer_digest)
        if place:
            _expect(row, "response_url", urlsplit(got.path).path.rpartition("/")[2], place)
        if signed_data:
            _expect(row, "signed_data at all", bool(sent.signed_data), True)
            _expect(row, "signed_data", got.signed_data, sent.signed_data)
        return row

    async def _refused(
        self, name: str, to: str, status: tuple[int, int | None], delivery: str, fault: Fault | None = None
    ) -> Row:
        """A message of the eMSP that must not get through: the node says why, the receiver saw nothing."""
        receiver = self._parties.get(to)
        before = len(read_journal(receiver.journal_file)) if receiver is not None else 0
        (sent,), _ = await self._msp.do("START_SESSION", to=to, fault=fault, location_id="LOC2")
        row = Row(name, MSP, to, sent.module, _status(sent), "nothing arrived", sent.ms)
        http, code = status
        _expect(row, "HTTP status", sent.http, http, sent.message or sent.reason)
        if code is not None:
            _expect(row, "OCPI status", sent.ocpi, code, sent.message or sent.reason)
        _expect(row, "OCN-Delivery", sent.delivery, delivery)
        _expect(row, "signature of the answer is wrong", sent.verdict == "invalid", False, sent.reason)
        if receiver is not None:
            arrived = read_journal(receiver.journal_file)[before:]
            _expect(row, "entries in the receiver's journal", len(arrived), 0)
            if arrived:
                row.verdict = _verdict(arrived[0])
        return row


def _expect(row: Row, what: str, found: object, wanted: object, why: str = "") -> None:
    if found != wanted:
        row.problems.append(f"{what}: {found!r} instead of {wanted!r}" + (f" ({why})" if why else ""))


def _summary(last: Entry, name: str, found: object, wanted: object) -> Row:
    row = Row(name, MSP, CPO, last.module, "-", "same list at both ends", 0.0)
    _expect(row, "the whole list", found, wanted)
    return row


def _status(entry: Entry) -> str:
    return f"{entry.http}/{entry.ocpi}" if entry.http else "-"


def _verdict(entry: Entry) -> str:
    """In words: what the receiver's process found."""
    if entry.verdict != "valid":
        return f"{entry.verdict} {entry.reason}".strip()
    rewritten = ", re-signed by the node" if entry.rewrites else ""
    return f"valid, by the {entry.signer}{rewritten}"
