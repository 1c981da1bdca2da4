"""What goes into the store and comes out of it: frozen records without behaviour.

Ids of parties are in upper case; times are Unix milliseconds, UTC; URLs are as the peer gave them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ocn_fast.errors import StoreConflict

Status = Literal["CONNECTED", "OFFLINE", "PLANNED", "SUSPENDED"]
TokenEncoding = Literal["base64", "plain"]
RulesMode = Literal["none", "whitelist", "blacklist"]
InterfaceRole = Literal["SENDER", "RECEIVER"]


class PartyTaken(StoreConflict):
    """A party is at home on another platform of this node."""

    def __init__(self, party: "Party") -> None:
        self.party = party
        super().__init__(f"party {party.country_code}/{party.party_id} belongs to another platform")


class LinkTaken(StoreConflict):
    """There is a link of that id: another node chose an id that was used before."""


@dataclass(frozen=True, slots=True, order=True)
class Party:
    """A party's id, in upper case."""

    country_code: str
    party_id: str


@dataclass(frozen=True, slots=True)
class Role:
    """One role of a party, with its business details as the party gave them."""

    role: str
    party: Party
    business_details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a platform serves one side of a module."""

    module: str
    role: InterfaceRole
    url: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What one sender may (whitelist) or may not (blacklist) send. A blacklist without modules means all."""

    party: Party
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that a platform set for messages to its parties."""

    signatures: bool = False
    mode: RulesMode = "none"
    entries: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token C that is accepted: digest only; `expires_at` is None for the current one."""

    digest: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Platform:
    """One OCPI connection. `handshakes` counts them: it tells whether another one came in between."""

    id: int
    status: Status
    version: str
    versions_url: str
    token_encoding: TokenEncoding
    roles: tuple[Role, ...]
    endpoints: tuple[Endpoint, ...]
    tokens: tuple[AccessToken, ...]
    rules: Rules
    origins: tuple[str, ...]
    exempt: tuple[str, ...]
    sign_for_party: bool
    handshakes: int
    registered_at: int
    last_seen: int | None

    @property
    def parties(self) -> tuple[Party, ...]:
        """The parties of the roles, each once."""
        return tuple(dict.fromkeys(role.party for role in self.roles))


@dataclass(frozen=True, slots=True)
class Registration:
    """What a handshake found out about a platform."""

    version: str
    versions_url: str
    token_b: str = field(repr=False)
    token_encoding: TokenEncoding
    roles: tuple[Role, ...]
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """The outcome of a handshake: the platform and its token C, to be shown once."""

    platform_id: int
    token_c: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """A token A. `token` is there only where it was just made; an empty `parties` binds it to none."""

    id: int
    parties: tuple[Party, ...]
    created_at: int
    expires_at: int
    used_at: int | None = None
    platform_id: int | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token a request showed: exactly one of the two. `form` is the index of the candidate that fit."""

    form: int
    registration: RegistrationToken | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A URL of `owner` that `caller` may call through this node (`response_url`, CDR `Location`).

    `platform` is the id of the platform whose share of rows it counts against; the other members are those of
    the relay's own record. An empty `url` is not known yet.
    """

    id: str
    caller: tuple[str, str]
    owner: tuple[str, str]
    module: str
    role: InterfaceRole
    method: str
    place: str
    url: str
    expires_at: int
    platform: int


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Which registry the database holds, and since when.

    `file` is the digest of the file that it was taken from; None where it came from elsewhere, or was written
    since.
    """

    network: str
    chain_id: int
    contract: str | None
    block: int
    block_hash: str | None
    block_time: str
    applied_at: int
    operators: int
    parties: int
    file: str | None


@dataclass(frozen=True, slots=True)
class RegisteredParty:
    """A party as the registry lists it. `domain` is its operator's; None if that is not listed."""

    party: Party
    address: str
    operator: str
    domain: str | None
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """How one role of a party is connected, since `last_updated`."""

    party: Party
    role: str
    status: Status
    last_updated: int


@dataclass(frozen=True, slots=True)
class Receiver:
    """A connected platform that wants to be told of client infos, and how it is called."""

    platform: Platform
    url: str
    token_b: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppliedRegistry:
    """What applying a snapshot changed; `number` is None if it was there already."""

    number: int | None
    written: int
    removed: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed."""

    links: int
    registration_tokens: int
    access_tokens: int
