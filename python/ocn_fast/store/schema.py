"""The tables. Times are Unix milliseconds; lists and objects that SQL never looks into are JSON text.

Rows that the native table holds carry `changed`, the number of the change that wrote them last; rows that
went leave a line in `gone`. What secrets there are stand here as digests (tokens we made) or encrypted under
the key ring (tokens of others).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0004"
"""The newest migration, which makes the tables below (a test compares)."""

metadata = MetaData()

change_number = Table(
    "change_number",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)
"""One row. Updating it also serialises all writers that matter to the table."""

gone = Table(
    "gone",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("changed", BigInteger, nullable=False, index=True),
)
"""Deleted rows: kind `platform`, `operator` or `party`, and their key."""

platforms = Table(
    "platforms",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("status", String(9), nullable=False),
    Column("version", String(8), nullable=False),
    Column("versions_url", String(255), nullable=False),
    Column("token_b", LargeBinary, nullable=False),
    Column("token_encoding", String(6), nullable=False),
    Column("origins", Text, nullable=False),
    Column("exempt", Text, nullable=False),
    Column("sign_for_party", Boolean, nullable=False),
    Column("rules_signatures", Boolean, nullable=False),
    Column("rules_mode", String(9), nullable=False),
    Column("handshakes", Integer, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("last_seen", BigInteger),
    Column("changed", BigInteger, nullable=False, index=True),
    # At most so many of its links are live: counted anew where that is more than it may hold.
    Column("links", BigInteger, nullable=False, server_default="0"),
    # An id is never used again: late last-seen reports and tombstones name the platform that went.
    sqlite_autoincrement=True,
)


def _of_platform() -> Column[int]:
    return Column(
        "platform_id",
        ForeignKey("platforms.id", ondelete="CASCADE"),
        primary_key=True,
    )


parties = Table(
    "parties",
    metadata,
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("platform_id", ForeignKey("platforms.id", ondelete="CASCADE"), nullable=False, index=True),
)
"""The home of a party. Its key is why a party has only one (`safety.md` I13)."""

roles = Table(
    "roles",
    metadata,
    _of_platform(),
    Column("role", String(16), primary_key=True),
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("business_details", Text, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    _of_platform(),
    Column("module", String(64), primary_key=True),
    Column("role", String(8), primary_key=True),
    Column("url", String(255), nullable=False),
)

rules = Table(
    "rules",
    metadata,
    _of_platform(),
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("modules", Text, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("platform_id", ForeignKey("platforms.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)
"""Tokens C. The current one of a platform has no expiry; a replaced one has its grace."""

registration_tokens = Table(
    "registration_tokens",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("digest", String(64), nullable=False),
    Column("parties", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("platform_id", ForeignKey("platforms.id", ondelete="SET NULL"), index=True),
    Column("request_digest", String(64)),
    Column("token_c", LargeBinary),
    Column("token_c_until", BigInteger),
    UniqueConstraint("digest"),
    sqlite_autoincrement=True,
)
"""Tokens A. A used one stays with the digest of its request, to tell a repetition from a reuse."""

links = Table(
    "links",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("caller_country_code", String(2), nullable=False),
    Column("caller_party_id", String(3), nullable=False),
    Column("owner_country_code", String(2), nullable=False),
    Column("owner_party_id", String(3), nullable=False),
    Column("module", String(255), nullable=False),
    Column("role", String(8), nullable=False),
    Column("method", String(8), nullable=False),
    Column("place", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("platform_id", ForeignKey("platforms.id", ondelete="CASCADE"), nullable=False),
    Index("ix_links_of_platform", "platform_id", "expires_at"),
)

registry_state = Table(
    "registry_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("network", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("contract", String(42)),
    Column("block", BigInteger, nullable=False),
    Column("block_hash", String(66)),
    Column("block_time", String(32), nullable=False),
    Column("applied_at", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
)

registry_file = Table(
    "registry_file",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
)
"""The file whose content the registry's tables hold, to the letter. Empty where that is not known: triggers
(see migration 0004) remove the row when anything is written into those tables, by whomever."""

registry_operators = Table(
    "registry_operators",
    metadata,
    Column("address", String(42), primary_key=True),
    Column("domain", Text, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True),
)

registry_parties = Table(
    "registry_parties",
    metadata,
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("address", String(42), nullable=False),
    Column("operator", String(42), nullable=False),
    Column("roles", Text, nullable=False),
    Column("modules", Text, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True),
)

registry_services = Table(
    "registry_services",
    metadata,
    Column("provider", String(42), primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("permissions", Text, nullable=False),
)

registry_agreements = Table(
    "registry_agreements",
    metadata,
    Column("user", String(42), primary_key=True),
    Column("provider", String(42), primary_key=True),
)

client_infos = Table(
    "client_infos",
    metadata,
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("operator", String(42), nullable=False, index=True),
    Column("status", String(9), nullable=False),
    Column("last_updated", BigInteger, nullable=False, index=True),
    Column("sequence", BigInteger, nullable=False, index=True),
)
"""How each role of each party is connected, as its `operator` says: us of ours, others of theirs."""

client_info_acks = Table(
    "client_info_acks",
    metadata,
    Column("operator", String(42), primary_key=True),
    Column("country_code", String(2), primary_key=True),
    Column("party_id", String(3), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("last_updated", BigInteger, nullable=False),
)
"""Which of our client infos another operator has taken: the `last_updated` of the newest."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Who alone may do a thing. Each new holder has a higher `epoch`; writes of an older one are refused."""

registry_mirror = Table(
    "registry_mirror",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("block", BigInteger, nullable=False),
    Column("block_hash", String(66), nullable=False),
    Column("block_time", BigInteger, nullable=False),
    Column("genesis", String(66)),
    Column("compared_at", BigInteger, nullable=False),
    Column("held", Text, nullable=False),
    Column("resync", Boolean, nullable=False),
)
"""Up to where a chain was read (`block_time` in seconds, as there), and what waits for another look."""

registry_records = Table(
    "registry_records",
    metadata,
    Column("kind", String(9), primary_key=True),
    Column("key", String(85), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("value", Text, nullable=False),
)
"""What the contracts hold, record by record, in the order in which they list it."""

registry_ring = Table(
    "registry_ring",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(66), nullable=False),
    Column("keys", Text, nullable=False),
)
"""The last blocks that were read, and which records each changed: what a reorganisation takes back."""
