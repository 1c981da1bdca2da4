"""What arrives while a transaction is under way shares the next one, on a thread of its own.

A transaction costs much the same for one question as for a hundred: statements, a wait for the disk, and
above all a hop to another thread and back for each step of the driver. So a whole transaction is one hop
here, and there is never more than one under way: under load each answers many, alone each answers at once.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ocn_fast.errors import StoreError, StoreUnavailable

Question = TypeVar("Question")
Answer = TypeVar("Answer")

GROUP = 500
"""Most questions of one transaction, so that no other process waits long for its end."""


class Together(Generic[Question, Answer]):
    """Answers questions by `transaction`, which blocks, and gives for each its answer or why it has none.

    Where a transaction fails for another reason than StoreUnavailable, its questions are asked one by one, so
    that each suffers only for itself.
    """

    def __init__(
        self, name: str, transaction: Callable[[Sequence[Question]], Sequence[Answer | StoreError]]
    ) -> None:
        self._transaction = transaction
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: list[tuple[Question, Future[Answer]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer to one question; whoever stops waiting before its transaction begins is left out.

        Raises what `transaction` gave or raised, and StoreUnavailable at once where a transaction found the
        database unavailable while this one waited for its turn.
        """
        answer: Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        return await answer

    async def close(self) -> None:
        """Answers what still waits and ends the thread."""
        if self._work is not None:
            await asyncio.wait([self._work])
        self._thread.shutdown(wait=False)

    async def _answer_all(self) -> None:
        singly = 0
        try:
            while self._waiting:
                # Whoever has gone wants nothing done any more.
                self._waiting = [entry for entry in self._waiting if not entry[1].done()]
                if not self._waiting:
                    break
                group = self._waiting[: 1 if singly else GROUP]
                answers: Sequence[Answer | Exception]
                try:
                    answers = await self._in_thread([question for question, _ in group])
                except StoreUnavailable as error:
                    # The others would wait as long again for the same.
                    group = list(self._waiting)
                    answers = [error] * len(group)
                except Exception as error:  # noqa: BLE001
                    # Raised again where the answer is awaited.
                    if len(group) > 1:
                        singly = len(group)
                        continue
                    answers = [error]
                singly = max(singly - 1, 0)
                del self._waiting[: len(group)]
                for (_, waiter), answer in zip(group, answers, strict=True):
                    _settle(waiter, answer)
        finally:
            self._work = None

    async def _in_thread(self, group: Sequence[Question]) -> Sequence[Answer | StoreError]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, group)


def _settle(waiter: Future[Answer], answer: Answer | Exception) -> None:
    if waiter.done():
        return
    if isinstance(answer, Exception):
        waiter.set_exception(answer)
    else:
        waiter.set_result(answer)
