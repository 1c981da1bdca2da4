"""The roaming story, chapter by chapter: over one node, and where there are two, over both.

Between two nodes it goes on while the chain stands still, and a party moves from one node to the other.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from ocn_fast.demo.between import Between
from ocn_fast.demo.judge import PATIENCE_S, Judge, Rows
from ocn_fast.demo.network import CPO, FAILING, FAR, MSP, Network
from ocn_fast.demo.roaming import Chapter, Roaming, told
from ocn_fast.demo.sabotage import Sabotage
from ocn_fast.demo.table import Printer, Row
from ocn_fast.parties.client import Fault

STRANGER = "FR/XXX"


class Story:
    """Tells the story over a running network."""

    def __init__(self, network: Network, sabotage: Sabotage | None) -> None:
        self._network = network
        self._judge = Judge(network)
        self._cpo = network.parties[CPO]
        self._msp = network.parties[MSP]
        self._sabotage = sabotage

    async def tell(self, printer: Printer) -> Row | None:
        """Shows every row; stops at the first that is not as expected and returns it."""
        async for row in told(self._chapters()):
            printer.add(row)
            if not row.ok:
                return row
        return None

    def _chapters(self) -> Sequence[Chapter]:
        near = Roaming(self._judge, self._cpo, self._msp, self._sabotage)
        one_node = [*near.lists(), *near.charging()]
        failures = [self._forged, self._unreachable, self._impostors]
        if self._network.chain is None:
            return [self._handshakes, *one_node, *failures]
        between = Between(self._network, self._network.chain, self._judge, self._sabotage)
        return [between.listings, self._handshakes, *one_node, *between.chapters(), *failures, between.moves]

    async def _handshakes(self) -> Rows:
        far = self._network.parties.get(FAR)
        named = [("CPO registers", self._cpo), ("eMSP registers", self._msp), ("eMSP registers", far)]
        for name, party in named:
            if party is not None:
                yield await self._judge.registered(name, party)

    # --- what must fail ---

    async def _forged(self) -> Rows:
        for name, fault in (("tampered body", Fault.TAMPER_FIELD), ("missing signature", Fault.UNSIGNED)):
            yield await self._judge.refused(name, self._msp, CPO, (200, 2001), "no", fault)

    async def _unreachable(self) -> Rows:
        yield await self._judge.refused("unknown receiver", self._msp, STRANGER, (200, 4001), "no")
        # Stopped, not ended: the system still takes connections for it, and nothing ever answers.
        failing = self._network.parties[FAILING].child
        failing.send(signal.SIGSTOP)
        yield await self._judge.refused("receiver hangs", self._msp, FAILING, (200, 4002), "maybe")
        failing.send(signal.SIGKILL)
        await failing.ended(PATIENCE_S)
        yield await self._judge.refused("receiver is down", self._msp, FAILING, (200, 4003), "no")

    async def _impostors(self) -> Rows:
        judge, msp = self._judge, self._msp
        yield await judge.refused("wrong token", msp, CPO, (401, None), "no", Fault.WRONG_TOKEN)
        yield await judge.refused("party of somebody else", msp, CPO, (403, 2001), "no", Fault.WRONG_FROM)
