"""What the demo can break on purpose."""

from __future__ import annotations

from enum import StrEnum


class Sabotage(StrEnum):
    """One thing to be broken, to show that the demo would notice."""

    SIGNATURE = "signature"
    ROUTE = "route"
    CALLBACK = "callback"
    NODE_KEY = "node-key"
    """Node B signs with a key that is not the listed one."""
    NODE_ROUTE = "node-route"
    """The registry names node A for a party that uses node B."""

    @property
    def needs_nodes(self) -> bool:
        """Whether it can be shown only between two nodes."""
        return self in (Sabotage.NODE_KEY, Sabotage.NODE_ROUTE)
