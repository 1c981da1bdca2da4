"""What a CPO and an eMSP do with each other, from the first list to the bill, over one node or over two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ocn_fast.demo.judge import Judge, Rows, expect
from ocn_fast.demo.network import PartyProcess
from ocn_fast.demo.sabotage import Sabotage
from ocn_fast.demo.table import Row
from ocn_fast.parties.client import Fault
from ocn_fast.parties.objects import BLOCKED_TOKEN, KNOWN_TOKEN

UNKNOWN_TOKEN = "04FFFFFFFFFFFF"  # noqa: S105 - the number of a card that nobody has
ECHO = "decpo-echo"
SITES = ["LOC1", "LOC2", "LOC3", "LOC4", "LOC5"]

Chapter = Callable[[], Rows]


class Roaming:
    """The chapters between one CPO and one eMSP."""

    def __init__(
        self, judge: Judge, cpo: PartyProcess, msp: PartyProcess, sabotage: Sabotage | None = None
    ) -> None:
        self._judge = judge
        self._cpo = cpo
        self._msp = msp
        self._sabotage = sabotage
        self._before = 0
        """Number of the CPO's latest entry before the session."""

    def lists(self) -> Sequence[Chapter]:
        """What is asked and told without anybody charging."""
        return (self._locations, self.authorisation, self._custom)

    def charging(self) -> Sequence[Chapter]:
        """A session from the reservation to the bill."""
        return (self._reservation, self._start, self._profile, self._stop, self._cdr)

    async def authorisation(self) -> Rows:
        for name, uid, status, allowed in (
            ("authorise a known token", KNOWN_TOKEN, (200, 1000), "ALLOWED"),
            ("authorise a blocked token", BLOCKED_TOKEN, (200, 1000), "BLOCKED"),
            ("authorise an unknown token", UNKNOWN_TOKEN, (404, 2004), None),
        ):
            (sent,), info = await self._cpo.do("authorize", to=self._msp.name, uid=uid, location_id="LOC1")
            row = await self._judge.passed(name, sent, self._cpo, self._msp, status=status)
            expect(row, "answer", info and info["allowed"], allowed)
            yield row

    async def _locations(self) -> Rows:
        cpo, msp = self._cpo, self._msp
        pages, found = await msp.do("locations", to=cpo.name, limit=2)
        for number, page in enumerate(pages, 1):
            # The query of a page's URL is the CPO's own: the eMSP never sees it, so its node signs it.
            signer = "party" if number == 1 else "operator"
            yield await self._judge.passed(f"locations, page {number}", page, msp, cpo, signer=signer)
        way = self._judge.way(msp.name, cpo.name)
        same = "same list at both ends"
        row = Row("locations, complete", msp.name, cpo.name, pages[-1].module, "-", same, 0.0, way)
        whole = {"pages": len(pages), "locations": found}
        expect(row, "the whole list", whole, {"pages": 3, "locations": SITES})
        yield row
        tariffs, found = await msp.do("tariffs", to=cpo.name)
        row = await self._judge.passed("tariffs", tariffs[-1], msp, cpo)
        expect(row, "tariffs", found, ["ENERGY", "PARKING"])
        yield row

    async def _custom(self) -> Rows:
        (sent,), _ = await self._msp.do("custom", to=self._cpo.name, module=ECHO)
        yield await self._judge.passed("a custom module", sent, self._msp, self._cpo)

    async def _reservation(self) -> Rows:
        async for row in self._judge.asked("RESERVE_NOW", "commands", self._msp, self._cpo):
            yield row

    async def _start(self) -> Rows:
        if self._sabotage is Sabotage.CALLBACK:
            await self._cpo.do("results", send=False)
        self._before = before = await self._cpo.count()
        fault = Fault.TAMPER_FIELD if self._sabotage is Sabotage.SIGNATURE else None
        async for row in self._judge.asked("START_SESSION", "commands", self._msp, self._cpo, fault=fault):
            yield row
        for name, method, status in (
            ("session begins (PUT)", "PUT", (201, 1000)),
            ("session grows (PATCH)", "PATCH", (200, 1000)),
            ("session grows (PATCH)", "PATCH", (200, 1000)),
        ):
            row, before = await self._judge.later(
                name, self._cpo, self._msp, before, module="sessions", method=method, status=status
            )
            yield row

    async def _profile(self) -> Rows:
        async for row in self._judge.asked("profile", "chargingprofiles", self._msp, self._cpo, limit=6_000):
            yield row

    async def _stop(self) -> Rows:
        async for row in self._judge.asked("STOP_SESSION", "commands", self._msp, self._cpo):
            yield row

    async def _cdr(self) -> Rows:
        row, _ = await self._judge.later(
            "CDR, signed_data untouched", self._cpo, self._msp, self._before,
            module="cdrs", method="POST", status=(201, 1000), signed_data=True,
        )  # fmt: skip
        yield row
        (sent,), said = await self._cpo.do("fetch_cdr")
        row = await self._judge.passed("CDR from its Location", sent, self._cpo, self._msp)
        expect(row, "bytes as posted", said["same"], True)
        yield row


async def told(chapters: Iterable[Chapter]) -> Rows:
    """The rows of several chapters, one after the other."""
    for chapter in chapters:
        async for row in chapter():
            yield row
