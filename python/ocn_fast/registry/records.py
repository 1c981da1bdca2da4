"""The records of the contracts by key, as the mirror holds and stores them.

A key is the kind of a record and whose it is: `("party", address)`, `("agreement", "user/provider")`. The
order of a dictionary of records is the order in which the contracts list them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson

from ocn_fast.errors import RpcError
from ocn_fast.registry import rpc, views
from ocn_fast.registry.reader import Reader
from ocn_fast.registry.rules import Reading
from ocn_fast.registry.snapshot import ZERO_ADDRESS
from ocn_fast.registry.views import RawParty, RawService

Kind: TypeAlias = Literal["operator", "party", "service", "agreement"]
Key: TypeAlias = tuple[Kind, str]
Record: TypeAlias = bytes | RawParty | RawService | bool
"""An operator's domain, a party, a service, or whether an agreement stands."""

Records: TypeAlias = dict[Key, Record]


class Log(NamedTuple):
    """An event that names a record; where it stands on the chain tells its order."""

    block: int
    block_hash: str
    place: int
    key: Key


TOPICS = (views.OPERATOR_UPDATE, views.PARTY_UPDATE, views.SERVICE_UPDATE, views.SERVICE_AGREEMENT)


def of_reading(reading: Reading) -> Records:
    """The records of a full reading."""
    records: Records = {}
    records.update({("operator", address): domain for address, domain in reading.operators.items()})
    records.update({("party", party.address): party for party in reading.parties})
    records.update({("service", service.provider): service for service in reading.services})
    records.update({("agreement", "/".join(pair)): True for pair in reading.agreements})
    return records


def to_reading(records: Mapping[Key, Record], block: rpc.Block) -> Reading:
    """The records as a reading at a block."""
    operators: dict[str, bytes] = {}
    parties: list[RawParty] = []
    services: list[RawService] = []
    agreements: list[tuple[str, str]] = []
    for (_, whose), record in records.items():
        if isinstance(record, RawParty):
            parties.append(record)
        elif isinstance(record, RawService):
            services.append(record)
        elif isinstance(record, bytes):
            operators[whose] = record
        elif record:
            user, _, provider = whose.partition("/")
            agreements.append((user, provider))
    return Reading(
        block.number, block.hash, block.time, operators, tuple(parties), tuple(services), tuple(agreements)
    )


def is_blank(record: Record | None) -> bool:
    """Whether a record says that there is nothing (any more)."""
    if isinstance(record, RawParty):
        return record.operator == ZERO_ADDRESS
    if isinstance(record, RawService):
        return not record.permissions
    return not record


def blank(key: Key) -> Record:
    """What the contracts answer about somebody who is not listed."""
    kind, whose = key
    if kind == "party":
        return RawParty(whose, bytes(2), bytes(3), (), (), (), ZERO_ADDRESS)
    if kind == "service":
        return RawService(whose, b"", b"", ())
    return b"" if kind == "operator" else False


def moved(old: Record | None, new: Record | None) -> bool:
    """Whether a known party has changed its operator, or a known operator its domain."""
    if is_blank(old) or is_blank(new):
        return False
    if isinstance(old, RawParty) and isinstance(new, RawParty):
        return old.operator != new.operator
    return isinstance(old, bytes) and old != new


async def read(reader: Reader, keys: Iterable[Key]) -> dict[Key, Record | None]:
    """What the contracts hold under these keys now; None where it cannot be read. Raises RpcError."""
    wanted: dict[Kind, list[str]] = {"operator": [], "party": [], "service": [], "agreement": []}
    for kind, whose in keys:
        wanted[kind].append(whose)
    pairs = {pair: tuple(pair.split("/")) for pair in wanted["agreement"]}
    domains, parties, services, flags = await rpc.together(
        [
            reader.domains(wanted["operator"]),
            reader.parties(wanted["party"]),
            reader.services(wanted["service"]),
            reader.agreements(list(pairs.values())),  # type: ignore[arg-type]
        ]
    )
    found: dict[Key, Record | None] = {}
    found.update({("operator", address): domain for address, domain in domains.items()})
    found.update({("party", address): party for address, party in parties.items()})
    found.update({("service", provider): service for provider, service in services.items()})
    found.update({("agreement", "/".join(pair)): flag for pair, flag in flags.items()})
    return found


def log(value: Any, contracts: Sequence[str]) -> Log:
    """An event from `eth_getLogs`. `contracts` are in lower case. Raises RpcError if it was not asked for."""
    if not isinstance(value, dict) or value.get("removed"):
        raise RpcError("form", "not a log")
    topics = value.get("topics")
    if not isinstance(topics, list) or not topics or not isinstance(value.get("address"), str):
        raise RpcError("form", "not a log")
    if value["address"].lower() not in contracts or topics[0] not in TOPICS:
        raise RpcError("form", "a log that was not asked for")
    key = _key_of(topics, rpc.data(value.get("data")))
    return Log(
        rpc.quantity(value.get("blockNumber")),
        "0x" + rpc.data(value.get("blockHash"), 32).hex(),
        rpc.quantity(value.get("logIndex")),
        key,
    )


def _key_of(topics: list[Any], content: bytes) -> Key:
    """Which record an event names. Its other content is not believed: the record is read."""
    if topics[0] in (views.OPERATOR_UPDATE, views.PARTY_UPDATE):
        if len(topics) < 2:
            raise RpcError("form", "a log without its topics")
        address = views.address_of_word(rpc.data(topics[1], views.WORD))
        return ("operator" if topics[0] == views.OPERATOR_UPDATE else "party"), address
    if topics[0] == views.SERVICE_UPDATE:
        return "service", views.address_of_word(content[3 * views.WORD : 4 * views.WORD])
    user, provider = content[: views.WORD], content[views.WORD : 2 * views.WORD]
    return "agreement", f"{views.address_of_word(user)}/{views.address_of_word(provider)}"


def to_text(record: Record) -> str:
    """A record as it is stored."""
    if isinstance(record, RawParty):
        fields: Any = [
            record.country_code.hex(),
            record.party_id.hex(),
            *record[3:6],
            record.operator,
        ]
    elif isinstance(record, RawService):
        # Permissions may be larger than any number of JSON.
        fields = [record.name.hex(), record.url.hex(), list(map(str, record.permissions))]
    elif isinstance(record, bytes):
        fields = record.hex()
    else:
        fields = record
    return orjson.dumps(fields, default=str).decode()


def from_text(kind: str, whose: str, text: str) -> tuple[Key, Record]:
    """A stored record, with its key."""
    fields = orjson.loads(text)
    if kind == "party":
        country_code, party_id, roles, sender, receiver, operator = fields
        codes = bytes.fromhex(country_code), bytes.fromhex(party_id)
        party = RawParty(whose, *codes, tuple(roles), tuple(sender), tuple(receiver), operator)
        return ("party", whose), party
    if kind == "service":
        name, url, permissions = fields
        texts = bytes.fromhex(name), bytes.fromhex(url)
        return ("service", whose), RawService(whose, *texts, tuple(map(int, permissions)))
    if kind == "operator":
        return ("operator", whose), bytes.fromhex(fields)
    return ("agreement", whose), bool(fields)
