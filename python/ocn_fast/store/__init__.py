"""The database: what must survive a restart, and what every worker must hear of.

`migrate(url)` brings a database to this version's schema; `open(settings)` gives a `Store`, the only way in.
Each of its methods is one intent and one transaction and gives frozen records; only links that come together
share one (`together`). SQL is seen only in this package.

Every change that matters to the native table bumps one change number in its own transaction and marks its
rows with it (`changes`); workers poll the number and fetch `changes_since` their own. Errors are
`StoreError`s; they never show a value.
"""

from ocn_fast.store.leases import Lease, LeaseLost
from ocn_fast.store.migrate import migrate
from ocn_fast.store.mirror import Cursor, Held, Progress, RecordKey, RingBlock
from ocn_fast.store.records import (
    AccessToken,
    AppliedRegistry,
    Caller,
    ClientInfo,
    Endpoint,
    Link,
    LinkTaken,
    Party,
    PartyTaken,
    Platform,
    Receiver,
    Registered,
    RegisteredParty,
    Registration,
    RegistrationToken,
    RegistryState,
    Role,
    Rule,
    Rules,
    Swept,
)
from ocn_fast.store.registry import Differences
from ocn_fast.store.ring import KeyRing
from ocn_fast.store.store import Store, open

__all__ = [
    "AccessToken",
    "AppliedRegistry",
    "Caller",
    "ClientInfo",
    "Cursor",
    "Differences",
    "Endpoint",
    "Held",
    "KeyRing",
    "Lease",
    "LeaseLost",
    "Link",
    "LinkTaken",
    "Party",
    "PartyTaken",
    "Platform",
    "Progress",
    "Receiver",
    "RecordKey",
    "Registered",
    "RegisteredParty",
    "Registration",
    "RegistrationToken",
    "RegistryState",
    "RingBlock",
    "Role",
    "Rule",
    "Rules",
    "Store",
    "Swept",
    "migrate",
    "open",
]
