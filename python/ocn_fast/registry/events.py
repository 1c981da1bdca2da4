"""Which records changed between two blocks: the events of the contracts, which only say where to look.

Near the head every block in between is asked for too: their parents must lead from the one block to the
other, each event must be of one of them, and a block whose filter says that it holds events of ours must show
some. Over longer distances only the ends are checked, and ranges shrink where an endpoint finds them long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ocn_fast import _native
from ocn_fast.errors import RpcError
from ocn_fast.registry import records, rpc
from ocn_fast.registry.records import TOPICS, Log
from ocn_fast.registry.rpc import Block, Call, Endpoint

NEAR_BLOCKS = 64
"""Up to so many blocks are asked for one by one."""

_TOO_LONG = ("refused", "size", "timeout")
_GROWTH = 5 / 4


@dataclass(frozen=True, slots=True)
class Found:
    """The events in their order, and the blocks that are known for certain, oldest first, the last included.

    `missing`: a block seems to hold events that were not told of.
    """

    logs: tuple[Log, ...]
    blocks: tuple[Block, ...]
    missing: bool = False


class Events:
    """The events of some contracts."""

    def __init__(self, contracts: Sequence[str], log_blocks: int) -> None:
        """`log_blocks`: how many blocks one question may cover."""
        self._contracts = tuple(contract.lower() for contract in contracts)
        self._most = log_blocks
        self._span = log_blocks

    async def between(self, endpoint: Endpoint, since: tuple[int, str], to: Block) -> Found:
        """What happened after block `since` (number, hash), up to and with `to`.

        Raises RpcError: `moved` if the endpoint has not both of these blocks on one chain now.
        """
        if (to.number, to.hash) == since:
            return Found((), ())
        if to.number - since[0] <= min(NEAR_BLOCKS, self._most):
            return await self._near(endpoint, since, to)
        logs: list[Log] = []
        start = since[0] + 1
        while start <= to.number:
            end = min(start + self._span - 1, to.number)
            try:
                logs += await self._range(endpoint, since, start, end, to)
            except RpcError as error:
                if error.kind not in _TOO_LONG or end == start:
                    raise
                self._span = (end - start + 1) // 2
                continue
            start = end + 1
            self._span = min(int(self._span * _GROWTH) + 1, self._most)
        return Found(_sorted(logs), (to,))

    async def _near(self, endpoint: Endpoint, since: tuple[int, str], to: Block) -> Found:
        numbers = range(since[0], to.number + 1)
        calls: list[Call] = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        if endpoint.by_hash and len(numbers) == 2:
            where: dict[str, Any] = {"blockHash": to.hash}
        else:
            where = {"fromBlock": hex(since[0] + 1), "toBlock": hex(to.number)}
        *heads, found = await endpoint.batch([*calls, self._question(where)])
        if isinstance(found, RpcError) and "blockHash" in where:
            endpoint.by_hash = False
            return await self._near(endpoint, since, to)
        blocks = [rpc.block(head) for head in heads]
        hashes = {block.number: block.hash for block in blocks}
        if (
            hashes.get(since[0]) != since[1]
            or hashes.get(to.number) != to.hash
            or any(after.parent != before.hash for before, after in pairwise(blocks))
        ):
            raise _moved(endpoint)
        logs = self._logs(found)
        if any(hashes.get(log.block) != log.block_hash or log.block <= since[0] for log in logs):
            raise RpcError("form", f"{endpoint.name} gave events of other blocks than were asked for")
        told = {log.block for log in logs}
        missing = any(block.number not in told and self._may_hold(block) for block in blocks[1:])
        return Found(_sorted(logs), tuple(blocks[1:]), missing)

    async def _range(
        self, endpoint: Endpoint, since: tuple[int, str], start: int, end: int, to: Block
    ) -> list[Log]:
        calls: list[Call] = [
            ("eth_getBlockByNumber", (hex(since[0]), False)),
            self._question({"fromBlock": hex(start), "toBlock": hex(end)}),
            ("eth_getBlockByNumber", (hex(to.number), False)),
        ]
        first, found, last = await endpoint.batch(calls)
        if rpc.block(first).hash != since[1] or rpc.block(last).hash != to.hash:
            raise _moved(endpoint)
        logs = self._logs(found)
        if any(not start <= log.block <= end for log in logs):
            raise RpcError("form", f"{endpoint.name} gave events of other blocks than were asked for")
        return logs

    def _question(self, where: dict[str, Any]) -> Call:
        return "eth_getLogs", ({"address": self._contracts, "topics": [TOPICS], **where},)

    def _logs(self, found: Any) -> list[Log]:
        if isinstance(found, RpcError):
            raise found
        if not isinstance(found, list):
            raise RpcError("form", "not a list of logs")
        return [records.log(value, self._contracts) for value in found]

    def _may_hold(self, block: Block) -> bool:
        """Whether a block's filter lets it hold events of ours. It errs on one side only, and seldom."""
        return any(_in_bloom(block.bloom, bytes.fromhex(address[2:])) for address in self._contracts) and any(
            _in_bloom(block.bloom, bytes.fromhex(topic[2:])) for topic in TOPICS
        )


def _sorted(logs: Sequence[Log]) -> tuple[Log, ...]:
    return tuple(sorted(logs, key=lambda log: (log.block, log.place)))


def _moved(endpoint: Endpoint) -> RpcError:
    return RpcError("moved", f"{endpoint.name} changed its chain while it was read")


def _in_bloom(bloom: bytes, value: bytes) -> bool:
    """Whether an Ethereum log filter may contain a value: three bits of its hash."""
    if not bloom:
        return False
    digest = _native.keccak256(value)
    bits = (int.from_bytes(digest[at : at + 2], "big") % 2048 for at in (0, 2, 4))
    return all(bloom[-1 - bit // 8] & (1 << bit % 8) for bit in bits)
