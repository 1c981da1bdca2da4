"""Questions for events: how many blocks one of them covers, where the endpoint takes that, and where not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ocn_fast.errors import RpcError
from ocn_fast.registry.events import NEAR_BLOCKS, Events
from ocn_fast.registry.rpc import Block, Call, Endpoint

CONTRACT = "0x" + "11" * 20
LOG_BLOCKS = 10


def block_hash(number: int) -> str:
    return f"0x{number + 1:064x}"


class Eventless(Endpoint):
    """A chain on which nothing happens, and which answers for at most so many blocks at once."""

    def __init__(self, most: int) -> None:
        super().__init__("http://127.0.0.1:1", 500, 10_000)
        self.most = most
        self.asked: list[range] = []

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self.answer(*call) for call in calls]

    def answer(self, method: str, parameters: Sequence[Any]) -> Any:
        if method == "eth_getLogs":
            [where] = parameters
            blocks = range(int(where["fromBlock"], 16), int(where["toBlock"], 16) + 1)
            self.asked.append(blocks)
            return [] if len(blocks) <= self.most else RpcError("refused", "too many blocks")
        number = int(parameters[0], 16)
        return {
            "number": hex(number),
            "hash": block_hash(number),
            "parentHash": block_hash(number - 1),
            "timestamp": "0x1",
        }


async def asked(blocks: int, *, most: int = 10_000, log_blocks: int = LOG_BLOCKS) -> list[range]:
    """The questions about so many new blocks."""
    endpoint = Eventless(most)
    try:
        to = Block(blocks, block_hash(blocks), block_hash(blocks - 1), 1)
        found = await Events([CONTRACT], log_blocks).between(endpoint, (0, block_hash(0)), to)
    finally:
        await endpoint.close()
    assert found.logs == ()
    return endpoint.asked


@pytest.mark.parametrize("blocks", [2, LOG_BLOCKS, LOG_BLOCKS + 1, 10 * LOG_BLOCKS, 10 * LOG_BLOCKS + 1])
def test_a_question_covers_as_many_blocks_as_the_setting_says_and_not_one_more(blocks: int) -> None:
    questions = asyncio.run(asked(blocks))
    assert [number for question in questions for number in question] == [*range(1, blocks + 1)]
    assert {len(question) for question in questions[:-1]} <= {LOG_BLOCKS}
    assert len(questions[-1]) == (blocks % LOG_BLOCKS or LOG_BLOCKS)


def test_near_blocks_are_one_question() -> None:
    """Where the setting allows it."""
    assert asyncio.run(asked(NEAR_BLOCKS, log_blocks=NEAR_BLOCKS)) == [range(1, NEAR_BLOCKS + 1)]


def test_an_endpoint_that_takes_fewer_is_asked_for_fewer() -> None:
    blocks = 10 * LOG_BLOCKS
    questions = asyncio.run(asked(blocks, most=LOG_BLOCKS - 1))
    answered = [number for question in questions if len(question) < LOG_BLOCKS for number in question]
    assert answered == [*range(1, blocks + 1)]
    assert max(map(len, questions)) == LOG_BLOCKS
