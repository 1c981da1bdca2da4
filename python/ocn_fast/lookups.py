"""What strangers may cost in SQL: so many look-ups a second, and none for what was unknown a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from ocn_fast.config import Auth

REMEMBERED = 10_000
"""Unknown tokens and parties that are remembered as such at once: bounds the memory of a flood."""


class LookUps:
    """The budget of one door (`auth.sql_lookups_per_s`), and what it has found to be unknown
    (`auth.negative_ttl_s`). `clock`: seconds."""

    def __init__(self, settings: Auth, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = settings.sql_lookups_per_s
        self._ttl_s = settings.negative_ttl_s
        self._clock = clock
        self._left = float(self._per_s)
        self._counted_at = clock()
        self._until: dict[Hashable, float] = {}

    def is_unknown(self, key: Hashable) -> bool:
        """Whether this was looked for a moment ago, and did not exist."""
        until = self._until.get(key)
        return until is not None and self._clock() < until

    def remember(self, key: Hashable) -> None:
        """This was looked for and does not exist."""
        if len(self._until) >= REMEMBERED:
            # Forgetting costs at most a look each, and those are budgeted.
            self._until.clear()
        self._until[key] = self._clock() + self._ttl_s

    def take(self) -> bool:
        """Takes one look-up out of the budget, if there is one left."""
        now = self._clock()
        self._left = min(self._left + (now - self._counted_at) * self._per_s, float(self._per_s))
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """The look-up that was taken last was no stranger's."""
        self._left += 1
