"""From what a registry contract holds to what a node may believe: every rule, in one place.

A contract takes whatever its users write. Here the zero address is ignored, ids that are none and domains
that lead nowhere are left out, two parties whose ids differ in case only become one, and a forwarding rule
counts only while both of its sides can be reached. Start, increments and export all pass through
`to_snapshot`, so they cannot disagree.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from ocn_fast import moments
from ocn_fast.registry import enums
from ocn_fast.registry.snapshot import (
    ID_FORMS,
    MAX_DOMAIN_BYTES,
    TEXT_CHARS,
    ZERO_ADDRESS,
    Agreement,
    Operator,
    Party,
    Service,
    Snapshot,
)
from ocn_fast.registry.views import RawParty, RawService

SHOWN = 5
"""How many cases of one kind a warning names."""


class Reading(NamedTuple):
    """All that the contracts hold at one block, as it stands there; `time` is in Unix seconds.

    Every address that ever listed itself is in it, in the order of the first listing: an operator that has
    left has an empty domain, a party that has left has the zero address for operator. Agreements (user,
    provider) are those whose flag is set. `unreadable` are those whose record could not be had, `beyond` how
    many parties were too many.
    """

    block: int
    block_hash: str
    time: int
    operators: dict[str, bytes]
    parties: tuple[RawParty, ...]
    services: tuple[RawService, ...] = ()
    agreements: tuple[tuple[str, str], ...] = ()
    unreadable: tuple[str, ...] = ()
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class Warned:
    """One kind of thing that was left out: a word for metrics, how many, and a line that names some."""

    kind: str
    count: int
    text: str

    def __str__(self) -> str:
        return self.text


class _Warnings:
    def __init__(self) -> None:
        self._count: dict[str, int] = defaultdict(int)
        self._named: dict[str, list[str]] = defaultdict(list)

    def count(self, kind: str, count: int) -> None:
        self._count[kind] += count

    def add(self, kind: str, name: str) -> None:
        self._count[kind] += 1
        if len(self._named[kind]) < SHOWN:
            self._named[kind].append(name)

    def all(self) -> tuple[Warned, ...]:
        def line(kind: str, count: int) -> str:
            if not self._named[kind]:
                return f"{kind}: {count}"
            more = count - len(self._named[kind])
            return f"{kind}: {', '.join(self._named[kind])}" + (f" and {more} more" if more else "")

        return tuple(Warned(kind, count, line(kind, count)) for kind, count in sorted(self._count.items()))


def to_snapshot(
    held: Reading,
    network: str,
    chain_id: int,
    contract: str,
    *,
    max_domain_bytes: int = MAX_DOMAIN_BYTES,
) -> tuple[Snapshot, tuple[Warned, ...]]:
    """The registry as a node may believe it, in the one order of a snapshot, and what was left out of it."""
    warnings = _Warnings()
    operators = _operators(held, max_domain_bytes, warnings)
    parties = _parties(held, warnings)
    services = _services(held, warnings)
    if held.beyond:
        warnings.count("newest parties left out (registry.parties)", held.beyond)
    for address in held.unreadable:
        warnings.add("record that cannot be read left out", address)
    routable = {party.address for party in parties if party.operator in operators}
    offering = {service.provider for service in services}
    agreements = [
        Agreement(user, provider)
        for user, provider in held.agreements
        if user != provider and provider in offering and user in routable and provider in routable
    ]
    snapshot = Snapshot(
        network=network,
        chain_id=chain_id,
        contract=contract,
        block=held.block,
        block_hash=held.block_hash,
        time=moments.write_seconds(held.time),
        operators=tuple(
            Operator(address, domain)
            for address, domain in sorted(operators.items(), key=lambda item: item[0].lower())
        ),
        parties=tuple(sorted(parties, key=lambda party: (party.country_code, party.party_id))),
        services=tuple(sorted(services, key=lambda service: service.provider.lower())),
        agreements=tuple(sorted(agreements, key=lambda one: (one.user.lower(), one.provider.lower()))),
    )
    return snapshot, warnings.all()


def domain_text(domain: bytes, max_bytes: int = MAX_DOMAIN_BYTES) -> str | None:
    """A domain as the base of URLs, without slashes at its end; None if it leads nowhere."""
    if len(domain) > max_bytes:
        return None
    try:
        text = domain.decode("ascii")
    except UnicodeDecodeError:
        return None
    if not text.isprintable() or " " in text or "\\" in text or "?" in text or "#" in text:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or "@" in parts.netloc:
        return None
    return text.rstrip("/")


def _operators(held: Reading, max_domain_bytes: int, warnings: _Warnings) -> dict[str, str]:
    """The operators that can be reached: address and base URL."""
    found = {}
    for address, domain in held.operators.items():
        if not domain:
            # It has left the registry.
            continue
        if address == ZERO_ADDRESS:
            warnings.add("operator at the zero address ignored", _shown(domain))
        elif (text := domain_text(domain, max_domain_bytes)) is None:
            warnings.add("operator without a usable domain left out", f"{address} ({_shown(domain)})")
        else:
            found[address] = text
    return found


def _parties(held: Reading, warnings: _Warnings) -> list[Party]:
    """The listed parties, each id once. Of two that differ in case, the one in capitals, then the older."""
    found: dict[tuple[str, str], RawParty] = {}
    for party in held.parties:
        if party.operator == ZERO_ADDRESS:
            # It has left the registry.
            continue
        if party.address == ZERO_ADDRESS:
            warnings.add("party at the zero address ignored", _shown(party.country_code + party.party_id))
            continue
        own = _id_of(party)
        if own is None:
            warnings.add(
                "party with an impossible id left out",
                f"{party.address} ({_shown(party.country_code + b'/' + party.party_id)})",
            )
            continue
        folded = own[0].upper(), own[1].upper()
        other = found.get(folded)
        if other is not None:
            if own == folded and _id_of(other) != folded:
                party, other = other, party
                found[folded] = other
            warnings.add("party whose id is another's left out", f"{'/'.join(folded)} of {party.address}")
            continue
        found[folded] = party
    return [_party(folded, party, warnings) for folded, party in found.items()]


def _party(folded: tuple[str, str], party: RawParty, warnings: _Warnings) -> Party:
    roles = set(map(enums.role_name, party.roles))
    modules = {f"sender/{enums.module_name(index)}" for index in party.modules_sender}
    modules |= {f"receiver/{enums.module_name(index)}" for index in party.modules_receiver}
    if max((*party.roles, 0)) >= len(enums.ROLES):
        warnings.add("party with an unknown role", "/".join(folded))
    return Party(*folded, party.address, party.operator, tuple(sorted(roles)), tuple(sorted(modules)))


def _id_of(party: RawParty) -> tuple[str, str] | None:
    """The party's id as it is written; None if no message can name it."""
    found = []
    for form, id_bytes in zip(ID_FORMS.values(), (party.country_code, party.party_id), strict=True):
        text = id_bytes.rstrip(b"\0").decode("latin-1")
        if not form.fullmatch(text):
            return None
        found.append(text)
    return found[0], found[1]


def _services(held: Reading, warnings: _Warnings) -> list[Service]:
    found = []
    for service in held.services:
        if not service.permissions or service.provider == ZERO_ADDRESS:
            continue
        name, url = (text.decode("utf-8", "replace") for text in (service.name, service.url))
        if max(len(name), len(url)) > TEXT_CHARS:
            warnings.add("service with endless texts left out", service.provider)
            continue
        known = [index for index in service.permissions if index < len(enums.PERMISSIONS)]
        if len(known) < len(service.permissions):
            warnings.add("service with unknown permissions", service.provider)
        names = {enums.PERMISSIONS[index] for index in known}
        found.append(Service(service.provider, name, url, tuple(sorted(names))))
    return found


def _shown(text: bytes) -> str:
    """Strangers' bytes, fit for a log."""
    return text[:60].decode("latin-1").encode("unicode_escape").decode()
