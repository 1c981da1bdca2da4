"""Raw signatures and typed data: the vectors of the existing tools, and what must hold for any parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from ocn_fast.registry import raw
from ocn_fast.registry.raw import HALF_ORDER, RAW, TYPED, RawSignature

ORDER = 2 * HALF_ORDER + 1
CONTRACT = "0x345cA3e014Aaf5dcA488057592ee47305D9B3e10"


def octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def parameters(vector: dict[str, Any]) -> dict[str, Any]:
    ids = ("countryCode", "partyId")
    return {name: octets(value) if name in ids else value for name, value in vector["params"].items()}


@pytest.fixture(scope="module")
def document(shared: Path) -> dict[str, Any]:
    text = (shared / "vectors/registry/raw-signatures.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_REG28_every_vector_is_packed_signed_and_recovered_as_the_existing_tools_do(
    document: dict[str, Any],
) -> None:
    assert len(document["vectors"]) == 36
    for vector in document["vectors"]:
        function, params = vector["function"], parameters(vector)
        assert raw.packed(function, **params) == octets(vector["packed"]), vector["name"]
        assert raw.raw_hash(function, **params) == octets(vector["signed_hash"])
        signature = raw.sign_raw(function, octets(vector["signer_private_key"]), **params)
        expected = (vector["v"], octets(vector["r"]), octets(vector["s"]), octets(vector["signed_hash"]))
        assert signature == expected, vector["name"]
        assert raw.recover_raw(function, signature, **params) == vector["signer_address"]


def test_REG30_a_numeric_name_is_packed_as_the_contract_does_not_as_the_old_library_did(
    document: dict[str, Any],
) -> None:
    (vector,) = document["not_accepted"]
    own = raw.packed(vector["function"], **parameters(vector))
    assert own == octets(vector["correct_packed"]) != octets(vector["packed"])


def test_REG31_what_has_no_borders_has_one_signature(document: dict[str, Any]) -> None:
    vectors = {vector["name"]: vector for vector in document["vectors"]}
    for group in document["equal_signatures"]:
        members = [vectors[name] for name in group]
        signatures = {
            raw.sign_raw(one["function"], octets(one["signer_private_key"]), **parameters(one))
            for one in members
        }
        assert len(signatures) == 1, group
    for hazard in ("H1", "H2", "H3"):
        assert hazard in str(raw.__doc__)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda octets: "0x" + octets.hex()),
    "string": st.text(),
    "bytes2": st.binary(min_size=2, max_size=2),
    "bytes3": st.binary(min_size=3, max_size=3),
    "uint8[]": st.lists(st.integers(0, 255), max_size=8),
    "uint256[]": st.lists(st.integers(0, 2**256 - 1), max_size=8),
}
KEYS = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))


@st.composite
def calls(draw: st.DrawFn, functions: dict[str, raw.Fields], key: bytes) -> tuple[str, dict[str, Any]]:
    """A function with any parameters, of which the first names the signer where it names anybody."""
    function = draw(st.sampled_from(sorted(functions)))
    params = {name: draw(VALUES[kind]) for name, kind in functions[function]}
    name, kind = functions[function][0]
    if kind == "address":
        params[name] = Account.from_key(key).address
    return function, params


@settings(deadline=None)
@given(data=st.data(), key=KEYS)
def test_REG32_any_raw_signature_is_recovered_and_agrees_with_another_signer(
    data: st.DataObject, key: bytes
) -> None:
    function, params = data.draw(calls(RAW, key))
    signature = raw.sign_raw(function, key, **params)
    own = Account.from_key(key).address
    assert signature.v in (27, 28)
    assert int.from_bytes(signature.s) <= HALF_ORDER
    assert raw.recover_raw(function, signature, **params) == own
    message = encode_defunct(raw.keccak(raw.packed(function, **params)))
    assert Account.recover_message(message, vrs=(signature.v, signature.r, signature.s)) == own
    assert Account.sign_message(message, key).signature == (signature.r + signature.s + bytes([signature.v]))


@settings(deadline=None)
@given(
    data=st.data(),
    key=KEYS,
    chain_id=st.integers(1, 2**63),
    nonce=st.integers(0, 2**256 - 1),
    deadline=st.integers(0, 2**256 - 1),
)
def test_any_typed_signature_agrees_with_another_implementation_of_eip_712(
    data: st.DataObject, key: bytes, chain_id: int, nonce: int, deadline: int
) -> None:
    function, params = data.draw(calls(TYPED, key))
    limits = (chain_id, CONTRACT, nonce, deadline)
    signature = raw.sign_typed(function, key, *limits, **params)
    assert raw.recover_typed(function, signature, *limits, **params) == Account.from_key(key).address
    fields = (*TYPED[function], ("nonce", "uint256"), ("deadline", "uint256"))
    permissions = "Service" in function or "Agreement" in function
    message = encode_typed_data(
        {
            "name": "OCN Permissions" if permissions else "OCN Registry",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": CONTRACT,
        },
        {function[0].upper() + function[1:-5]: [{"name": name, "type": kind} for name, kind in fields]},
        {**params, "nonce": nonce, "deadline": deadline},
    )
    signed = Account.sign_message(message, key)
    assert signed.message_hash == signature.signed_hash
    assert signed.signature == signature.r + signature.s + bytes([signature.v])


KEY = bytes(31) + b"\1"
OWN = Account.from_key(KEY).address
NOT_OWN = Account.from_key(bytes(31) + b"\2").address


@pytest.mark.parametrize(
    ("signature", "complaint"),
    [
        (lambda one: one._replace(v=one.v - 27), "27 or 28"),
        (lambda one: one._replace(v=29), "27 or 28"),
        (lambda one: one._replace(s=(ORDER - int.from_bytes(one.s)).to_bytes(32)), "upper half"),
        (lambda one: one._replace(r=bytes(32)), "nobody"),
        (lambda one: one._replace(s=bytes(32)), "nobody"),
        (lambda one: one._replace(r=b"\xff" * 32), "nobody"),
    ],
)
def test_A113_signatures_that_our_contracts_refuse_are_not_recovered_here(
    signature: Any, complaint: str
) -> None:
    good = raw.sign_raw("deleteNodeRaw", KEY, operator=OWN)
    with pytest.raises(ValueError, match=complaint):
        raw.recover_raw("deleteNodeRaw", signature(good), operator=OWN)


def test_A113_nobody_signs_in_another_name() -> None:
    for function, fields in RAW.items():
        named = function not in ("setServiceRaw", "createAgreementRaw", "revokeAgreementRaw")
        params = {name: EXAMPLES[kind] for name, kind in fields} | {fields[0][0]: NOT_OWN}
        if named:
            with pytest.raises(ValueError, match="the key is that of"):
                raw.sign_raw(function, KEY, **params)
        else:
            raw.sign_raw(function, KEY, **params)
    for function, fields in TYPED.items():
        params = {name: EXAMPLES[kind] for name, kind in fields} | {fields[0][0]: NOT_OWN}
        with pytest.raises(ValueError, match="the key is that of"):
            raw.sign_typed(function, KEY, 9, CONTRACT, 0, 0, **params)


EXAMPLES: dict[str, Any] = {
    "address": OWN, "string": "x", "bytes2": b"DE", "bytes3": b"CPO", "uint8[]": [0], "uint256[]": [0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "params", "complaint"),
    [
        ("setNode", {"operator": OWN}, "no function"),
        ("deleteNodeRaw", {"party": OWN}, "takes operator"),
        ("deleteNodeRaw", {"operator": OWN, "domain": "x"}, "takes operator"),
        ("deleteNodeRaw", {"operator": OWN[:-1]}, "no address"),
        ("deleteNodeRaw", {"operator": OWN.replace("E", "e", 1)}, "checksum"),
        ("setServiceRaw", {"name": "", "url": "", "permissions": [2**256]}, "does not fit"),
        ("setPartyModulesRaw", {"party": OWN, "sender": [256], "receiver": []}, "does not fit"),
        ("setPartyModulesRaw", {"party": OWN, "sender": [-1], "receiver": []}, "does not fit"),
    ],
)
def test_impossible_parameters_are_named(function: str, params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        raw.packed(function, **params)


def test_arguments_come_in_the_order_of_the_abi() -> None:
    one = RawSignature(27, b"r" * 32, b"s" * 32, b"h" * 32)
    assert raw.arguments("setNodeRaw", one, domain="d", operator=OWN.lower()) == [
        OWN, "d", 27, b"r" * 32, b"s" * 32,
    ]  # fmt: skip
    assert raw.typed_arguments("createAgreementTyped", one, 5, 6, provider=NOT_OWN, user=OWN) == [
        OWN, NOT_OWN, (5, 6, 27, b"r" * 32, b"s" * 32),
    ]  # fmt: skip
