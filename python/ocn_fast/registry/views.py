"""The views of the v1 contracts: what one asks them, what they answer, and the records made of it.

Taken apart by hand, since a registry of some size costs tens of thousands of these answers. Everything is
checked against the length of the answer; whatever does not fit is a RpcError of kind `form`.
"""

from __future__ import annotations

from typing import NamedTuple

from ocn_fast import _native
from ocn_fast.errors import RpcError

WORD = 32
TEXT_BYTES = 8_193
"""Domains, names and URLs are cut here: one byte more than any limit of theirs allows."""
LIST_ENTRIES = 256
"""Roles, modules and permissions of one record beyond this are left out."""

GET_NODE = "0x9d209048"
GET_NODE_OPERATORS = "0x66acaa33"
GET_PARTIES = "0xa8311aa8"
GET_PARTY = "0xdf516128"
GET_SERVICE = "0x15a52302"
GET_PROVIDERS = "0xedc922a9"
GET_AGREEMENTS = "0x38f7e0e1"
HAS_AGREEMENT = "0xb5d9f61f"

OPERATOR_UPDATE = "0xb1f254c0ae74a753185ba13a1b17818bc803e32d05ef56851955c0ebf230f0d6"
PARTY_UPDATE = "0xf692507bb861072d3245d22242eb55cb7fdbe2e0d92290177ed7c490eb076cd7"
SERVICE_UPDATE = "0x533987f16b883a1fe0783ff9c6c6cedcf97aee0eaf60cc491c7a3e48c9f1b5d7"
SERVICE_AGREEMENT = "0x91aba333be281959a9130cefbc0e18d32a4f1c6bc3a922c7fdb084c1179f413a"

_ENUM_MOST = 255
_PARTY_HEAD = 7 * WORD
_SERVICE_HEAD = 5 * WORD


class RawParty(NamedTuple):
    """A party as the contract holds it. `operator` is the zero address where the party is not listed.

    Addresses are in EIP-55 spelling, ids as they stand in storage, roles and modules the contract's numbers.
    """

    address: str
    country_code: bytes
    party_id: bytes
    roles: tuple[int, ...]
    modules_sender: tuple[int, ...]
    modules_receiver: tuple[int, ...]
    operator: str


class RawService(NamedTuple):
    """A service as the contract holds it; without permissions there is none."""

    provider: str
    name: bytes
    url: bytes
    permissions: tuple[int, ...]


def with_addresses(selector: str, *addresses: str) -> str:
    """Call data of a view that takes addresses."""
    return selector + "".join(address[2:].lower().rjust(2 * WORD, "0") for address in addresses)


def addresses(answer: bytes) -> tuple[str, ...]:
    """An `address[]`, in order, each only once."""
    count, start = _array(answer, 0)
    found = (answer[start + WORD * i : start + WORD * (i + 1)] for i in range(count))
    return tuple(dict.fromkeys(map(address_of_word, found)))


def address_of_word(word: bytes) -> str:
    """The address in a word, in EIP-55 spelling."""
    if len(word) != WORD or any(word[:12]):
        raise RpcError("form", "not an address")
    return checksum(word[12:].hex())


def checksum(digits: str) -> str:
    """40 hex digits as an address in EIP-55 spelling."""
    return _native.checksum_address("0x" + digits)


def text(answer: bytes) -> bytes:
    """A `string`, cut at TEXT_BYTES."""
    return _text(answer, 0)


def flag(answer: bytes) -> bool:
    """A `bool`."""
    return _number(answer, 0) != 0


def party(address: str, answer: bytes) -> RawParty:
    """What `getPartyDetailsByAddress` answers."""
    _require_head(answer, _PARTY_HEAD)
    return RawParty(
        address,
        answer[0:2],
        answer[WORD : WORD + 3],
        _enums(answer, 4 * WORD),
        _enums(answer, 2 * WORD),
        _enums(answer, 3 * WORD),
        address_of_word(answer[5 * WORD : 6 * WORD]),
    )


def service(provider: str, answer: bytes) -> RawService:
    """What `getService` answers."""
    _require_head(answer, _SERVICE_HEAD)
    name, url = _text(answer, 2 * WORD), _text(answer, 3 * WORD)
    return RawService(provider, name, url, _numbers(answer, 4 * WORD))


def require_v1_registry(answer: bytes) -> None:
    """Raises RpcError (`variant`) unless a v1 registry tells like this of an unknown address."""
    if len(answer) < _PARTY_HEAD or _number(answer, 2 * WORD) != _PARTY_HEAD:
        raise RpcError("variant", "the contract at registry.contract is no v1 registry")


def require_v1_permissions(answer: bytes) -> None:
    """Raises RpcError (`variant`) unless a v1 permissions contract tells like this of an unknown provider."""
    if len(answer) < _SERVICE_HEAD or _number(answer, 2 * WORD) != _SERVICE_HEAD:
        raise RpcError("variant", "the contract at registry.permissions is no v1 permissions contract")


def _require_head(answer: bytes, size: int) -> None:
    if len(answer) < size:
        raise RpcError("form", "an answer of the contract is too short")


def _number(answer: bytes, at: int) -> int:
    if at + WORD > len(answer):
        raise RpcError("form", "an answer of the contract is too short")
    return int.from_bytes(answer[at : at + WORD], "big")


def _array(answer: bytes, at: int) -> tuple[int, int]:
    """Where the offset at `at` leads: how many elements, and where they begin. All of them are there."""
    start = _number(answer, at)
    count = _number(answer, start)
    if start + WORD + count * WORD > len(answer):
        raise RpcError("form", "an answer of the contract is too short")
    return count, start + WORD


def _numbers(answer: bytes, at: int) -> tuple[int, ...]:
    count, start = _array(answer, at)
    return tuple(_number(answer, start + WORD * i) for i in range(min(count, LIST_ENTRIES)))


def _enums(answer: bytes, at: int) -> tuple[int, ...]:
    found = _numbers(answer, at)
    if any(number > _ENUM_MOST for number in found):
        raise RpcError("form", "not a number of an enumeration")
    return found


def _text(answer: bytes, at: int) -> bytes:
    start = _number(answer, at)
    length = _number(answer, start)
    if start + WORD + length > len(answer):
        raise RpcError("form", "an answer of the contract is too short")
    return answer[start + WORD : start + WORD + min(length, TEXT_BYTES)]
