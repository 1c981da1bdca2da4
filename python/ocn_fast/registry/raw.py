"""Signatures that others send: the raw ones of the v1 contracts, and the typed data (EIP-712) of ours.

The owner of an entry signs, anybody with a funded account sends and pays.

A **raw** signature is EIP-191 `personal_sign` of the 32 bytes `keccak256(packed parameters)`. Nothing in it
says when, on which chain, for which contract or even for which function it was made:

- whoever has seen it can send it again, for ever, on every network (H1);
- deleting a node, a party or a service and clearing one's modules all sign `keccak256(own address)`, so that
  any of them can be sent as any other; agreements sign just the provider's address, too (H2);
- packed parameters have no borders: modules `[1]`, `[2, 3]` and `[1, 2]`, `[3]` sign the same bytes, and so
  do the name and url `ab`, `c` and `a`, `bc` (H3).

A **typed** signature names function, chain, contract, the signer's next number and a last second. Only our
own contracts take it (`<function>Typed`); once one has, it refuses all raw signatures of that signer.

Parameters have the names that the contracts give them. Addresses are text, ids bytes, lists hold numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    is_hex_address,
    to_canonical_address,
    to_checksum_address,
)
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

PERSONAL_PREFIX = b"\x19Ethereum Signed Message:\n32"
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
DOMAIN_VERSION = "1"
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1: of the two possible values of `s`, signers take the lower one (EIP-2)."""

_NODE = (("operator", "address"), ("domain", "string"))
_PARTY = (
    ("party", "address"),
    ("countryCode", "bytes2"),
    ("partyId", "bytes3"),
    ("roles", "uint8[]"),
    ("operator", "address"),
)
_MODULES = (("party", "address"), ("sender", "uint8[]"), ("receiver", "uint8[]"))
_SERVICE = (("name", "string"), ("url", "string"), ("permissions", "uint256[]"))
_PROVIDER = (("provider", "address"),)
_AGREEMENT = (("user", "address"), *_PROVIDER)

Fields = tuple[tuple[str, str], ...]

RAW: dict[str, Fields] = {
    "setNodeRaw": _NODE,
    "deleteNodeRaw": _NODE[:1],
    "setPartyRaw": _PARTY,
    "setPartyModulesRaw": _MODULES,
    "deletePartyRaw": _PARTY[:1],
    "setServiceRaw": _SERVICE,
    "deleteServiceRaw": _PROVIDER,
    "createAgreementRaw": _PROVIDER,
    "revokeAgreementRaw": _PROVIDER,
}
"""Parameters and types of each raw function, in the order in which they are packed and sent."""

TYPED: dict[str, Fields] = {
    "setNodeTyped": _NODE,
    "deleteNodeTyped": _NODE[:1],
    "setPartyTyped": _PARTY,
    "setPartyModulesTyped": _MODULES,
    "deletePartyTyped": _PARTY[:1],
    "setServiceTyped": (*_PROVIDER, *_SERVICE),
    "deleteServiceTyped": _PROVIDER,
    "createAgreementTyped": _AGREEMENT,
    "revokeAgreementTyped": _AGREEMENT,
}
"""The same for typed data; the first parameter is always the signer."""

_LIMITS = (("nonce", "uint256"), ("deadline", "uint256"))
_IN_PERMISSIONS = ("Service", "Agreement")
# Raw functions whose first parameter is somebody else, or nobody.
_NAMES_NO_SIGNER = ("setServiceRaw", "createAgreementRaw", "revokeAgreementRaw")


class RawSignature(NamedTuple):
    """A signature as the contracts take it: `v` 27 or 28, `r` and `s` 32 bytes each, and what was signed."""

    v: int
    r: bytes
    s: bytes
    signed_hash: bytes


def packed(function: str, **params: Any) -> bytes:
    """The bytes that a raw signature is for.

    Raises ValueError for an unknown function and for missing or impossible parameters.
    """
    return b"".join(_pack(kind, value) for kind, value in _values(RAW, function, params))


def raw_hash(function: str, **params: Any) -> bytes:
    """The hash that a raw signature signs, EIP-191 prefix included. Raises ValueError as `packed`."""
    return keccak(PERSONAL_PREFIX + keccak(packed(function, **params)))


def sign_raw(function: str, key: bytes, **params: Any) -> RawSignature:
    """Signs for a raw function. Raises ValueError where the parameters name another signer than `key`."""
    digest = raw_hash(function, **params)
    if function not in _NAMES_NO_SIGNER:
        _demand_own(RAW, function, key, params)
    return _sign(key, digest)


def recover_raw(function: str, signature: RawSignature, **params: Any) -> str:
    """Who signed these parameters (EIP-55); `signature.signed_hash` is not looked at.

    Raises ValueError for what our contracts refuse: no signer, another `v` than 27 or 28, a high `s`.
    """
    return _recover(signature, raw_hash(function, **params))


def typed(function: str, chain_id: int, contract: str, nonce: int, deadline: int, **params: Any) -> bytes:
    """The EIP-712 digest of a call: 32 bytes.

    `nonce` is what the contract's `nonces(signer)` says, `deadline` the last Unix second.
    Raises ValueError as `packed`.
    """
    values = [*_values(TYPED, function, params), ("uint256", nonce), ("uint256", deadline)]
    members = ",".join(f"{kind} {name}" for name, kind in (*TYPED[function], *_LIMITS))
    struct = f"{function[0].upper()}{function[1:].removesuffix('Typed')}({members})"
    content = keccak(keccak(text=struct) + b"".join(_word(kind, value) for kind, value in values))
    return keccak(b"\x19\x01" + domain_separator(function, chain_id, contract) + content)


def domain_separator(function: str, chain_id: int, contract: str) -> bytes:
    """The EIP-712 domain of the contract that has this function: 32 bytes."""
    in_permissions = function.removesuffix("Typed").endswith(_IN_PERMISSIONS)
    name = "OCN Permissions" if in_permissions else "OCN Registry"
    return keccak(
        keccak(text=DOMAIN_TYPE)
        + keccak(text=name)
        + keccak(text=DOMAIN_VERSION)
        + _word("uint256", chain_id)
        + _word("address", contract)
    )


def sign_typed(
    function: str, key: bytes, chain_id: int, contract: str, nonce: int, deadline: int, **params: Any
) -> RawSignature:
    """Signs typed data. Raises ValueError as `typed`, and where the parameters name another signer."""
    digest = typed(function, chain_id, contract, nonce, deadline, **params)
    _demand_own(TYPED, function, key, params)
    return _sign(key, digest)


def recover_typed(
    function: str,
    signature: RawSignature,
    chain_id: int,
    contract: str,
    nonce: int,
    deadline: int,
    **params: Any,
) -> str:
    """Who signed this typed data (EIP-55). Raises ValueError as `recover_raw`."""
    return _recover(signature, typed(function, chain_id, contract, nonce, deadline, **params))


def arguments(function: str, signature: RawSignature, **params: Any) -> list[Any]:
    """The arguments of a call of a raw function, in the order of its ABI."""
    return [*_arguments(RAW, function, params), signature.v, signature.r, signature.s]


def typed_arguments(
    function: str, signature: RawSignature, nonce: int, deadline: int, **params: Any
) -> list[Any]:
    """The arguments of a call of a typed function, in the order of its ABI."""
    consent = (nonce, deadline, signature.v, signature.r, signature.s)
    return [*_arguments(TYPED, function, params), consent]


def _values(functions: dict[str, Fields], function: str, params: dict[str, Any]) -> list[tuple[str, Any]]:
    """Types and values in order; the names must be exactly those of the function."""
    fields = functions.get(function)
    if fields is None:
        raise ValueError(f"{function} is no function that takes a signature of this kind")
    names = [name for name, _ in fields]
    if set(names) != set(params):
        raise ValueError(f"{function} takes {', '.join(names)}, not {', '.join(params) or 'nothing'}")
    return [(kind, params[name]) for name, kind in fields]


def _arguments(functions: dict[str, Fields], function: str, params: dict[str, Any]) -> list[Any]:
    return [
        to_checksum_address(value) if kind == "address" else value
        for kind, value in _values(functions, function, params)
    ]


def _pack(kind: str, value: Any) -> bytes:
    """One value as `abi.encodePacked` writes it: elements of lists take 32 bytes, no length is given."""
    if kind == "address":
        if not isinstance(value, str) or not is_hex_address(value):
            raise ValueError(f"{value!r} is no address")
        if is_checksum_formatted_address(value) and not is_checksum_address(value):
            raise ValueError(f"{value} has a wrong checksum: one of its characters is not what was meant")
        return to_canonical_address(value)
    if kind == "string":
        return str(value).encode()
    if kind.startswith("bytes"):
        size = int(kind.removeprefix("bytes"))
        if not isinstance(value, bytes) or len(value) != size:
            raise ValueError(f"{value!r} must be {size} bytes")
        return value
    bits = int(kind.removeprefix("uint").removesuffix("[]"))
    numbers: Sequence[int] = value if kind.endswith("[]") else [value]
    if any(not 0 <= number < 1 << bits for number in numbers):
        raise ValueError(f"{value!r} does not fit {kind}")
    return b"".join(number.to_bytes(32) for number in numbers)


def _word(kind: str, value: Any) -> bytes:
    """One value as EIP-712 hashes it: 32 bytes."""
    plain = _pack(kind, value)
    if kind == "string" or kind.endswith("[]"):
        return keccak(plain)
    return plain.ljust(32, b"\0") if kind.startswith("bytes") else plain.rjust(32, b"\0")


def _demand_own(functions: dict[str, Fields], function: str, key: bytes, params: dict[str, Any]) -> None:
    name = functions[function][0][0]
    own = PrivateKey(key).public_key.to_checksum_address()
    if to_checksum_address(params[name]) != own:
        raise ValueError(f"{function}: the key is that of {own}, not of {name} {params[name]}")


def _sign(key: bytes, digest: bytes) -> RawSignature:
    signature = PrivateKey(key).sign_msg_hash(digest)
    return RawSignature(signature.v + 27, signature.r.to_bytes(32), signature.s.to_bytes(32), digest)


def _recover(signature: RawSignature, digest: bytes) -> str:
    if signature.v not in (27, 28):
        raise ValueError(f"v is {signature.v}, it must be 27 or 28")
    r, s = int.from_bytes(signature.r), int.from_bytes(signature.s)
    if s > HALF_ORDER:
        raise ValueError("s is in the upper half: there is a second signature like it")
    try:
        public = Signature(vrs=(signature.v - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as error:
        raise ValueError("nobody can have signed this") from error
    return public.to_checksum_address()
