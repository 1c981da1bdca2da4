"""The signed registry snapshot: one form for one registry, and a refusal for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ocn_fast import _native
from ocn_fast.errors import RegistryFileError
from ocn_fast.registry import snapshot as snapshots

KEY = bytes(range(1, 33))
SIGNER = _native.address_of(KEY)
NODE = "0x90f8bf6a479f320ead074411a4b0e7944ea8c9c1"
CPO = "0xffcf8fdee72ac11b5c542428b35eef5769c409f0"
MSP = "0x22d491bde2303f2f43325b2108d26f1eaba1e32b"
ZERO = "0x" + "0" * 40
REGISTRY: dict[str, Any] = {
    "time": "2026-01-01T00:00:00Z",
    "network": "test",
    "chain_id": 9,
    "contract": None,
    "block": 12,
    "block_hash": None,
    "operators": [{"address": NODE, "domain": "https://node.example.org"}],
    "parties": [
        {"country_code": "nl", "party_id": "msp", "address": MSP, "operator": NODE, "roles": ["EMSP"]},
        {"country_code": "DE", "party_id": "CPO", "address": CPO, "operator": NODE, "roles": ["CPO"]},
    ],
    "services": [
        {"provider": MSP, "name": "analytics", "url": "https://s.example.org", "permissions": ["2", "1"]}
    ],
    "agreements": [{"user": CPO, "provider": MSP}],
}


def registry(**changes: Any) -> snapshots.Snapshot:
    return snapshots.from_json(json.dumps({**REGISTRY, **changes}).encode())


def signed(**changes: Any) -> bytes:
    return snapshots.sign(registry(**changes), KEY)


def resigned(text: bytes) -> bytes:
    """Any text in the form of a snapshot, rightly signed: only its content can be wrong."""
    return b"%s\n%s\n" % (text, _native.personal_sign(KEY, text).encode())


def refusal(data: bytes, **checks: Any) -> str:
    with pytest.raises(RegistryFileError) as caught:
        snapshots.parse(data, **checks)
    return str(caught.value)


def test_a_file_is_three_lines_with_canonical_json() -> None:
    head, text, signature, rest = signed().split(b"\n")
    assert head == b"ocn-fast-registry/1"
    assert rest == b""
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode() == text
    assert _native.personal_recover(head + b"\n" + text, signature.decode()) == SIGNER
    assert [party["country_code"] for party in json.loads(text)["parties"]] == ["DE", "NL"]


def test_what_was_signed_is_read_again() -> None:
    got = snapshots.parse(signed(), signers=[SIGNER.lower()])
    assert got.signatory == SIGNER
    assert got.warnings == ()
    assert got.snapshot == registry()
    assert got.snapshot.operators[0].address == _native.checksum_address(NODE)


def test_order_and_spelling_of_the_source_make_no_difference() -> None:
    other = {**REGISTRY, "parties": REGISTRY["parties"][::-1]}
    other["operators"] = [{"address": "0x" + NODE[2:].upper(), "domain": "https://node.example.org"}]
    assert snapshots.sign(snapshots.from_json(json.dumps(other, indent=3).encode()), KEY) == signed()


def test_another_signer_is_refused() -> None:
    assert SIGNER in refusal(signed(), signers=[NODE])
    assert SIGNER in refusal(signed(), signers=[])


def test_every_changed_byte_is_noticed() -> None:
    data = signed()
    for index in range(0, len(data) - 1, 7):
        changed = bytearray(data)
        changed[index] ^= 1
        assert refusal(bytes(changed), signers=[SIGNER])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"ocn-fast-registry/1",
        b"ocn-fast-registry/2\n{}\n0x" + b"0" * 130 + b"\n",
        b"ocn-fast-registry/1\n{}\n0x" + b"0" * 130 + b"\n",
        b"ocn-fast-registry/1\n{}\n0x" + b"0" * 129 + b"\n",
        b"ocn-fast-registry/1\n{}\n",
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    assert refusal(data)


def test_upper_case_or_more_lines_in_the_signature_are_refused() -> None:
    data = signed()
    assert "third line" in refusal(data + b"\n")
    assert "third line" in refusal(data + b"x\n")
    head, text, signature, _ = data.split(b"\n")
    assert "third line" in refusal(b"\n".join((head, text, signature.upper(), b"")))


def test_json_that_is_not_canonical_is_refused_though_rightly_signed() -> None:
    text = snapshots.canonical(registry())
    spaced = text.replace(b'"block":12', b'"block": 12')
    assert "canonical" in refusal(resigned(spaced))
    unsorted_parties = msgspec.structs.replace(registry(), parties=registry().parties[::-1])
    assert "canonical" in refusal(resigned(snapshots.canonical(unsorted_parties)))
    lower = text.replace(_native.checksum_address(NODE).encode(), NODE.encode())
    assert "canonical" in refusal(resigned(lower))


def test_unknown_and_missing_fields_and_wrong_types_are_refused() -> None:
    text = snapshots.canonical(registry())
    for old, new in (
        (b'"block":12,', b""),
        (b'"block":12,', b'"block":12,"blocks":1,'),
        (b'"block":12,', b'"block":"12",'),
        (b'"block":12,', b'"block":-1,'),
        (b'"time":"2026-01-01', b'"time":"2026-13-01'),
        (b'"time":"2026-01-01T00:00:00Z"', b'"time":"yesterday"'),
    ):
        assert old in text
        assert "not what it must be" in refusal(resigned(text.replace(old, new)))


def test_what_is_listed_twice_is_refused() -> None:
    party = REGISTRY["parties"][0]
    for name, entry in (
        ("parties", {**party, "country_code": "NL", "address": CPO}),
        ("operators", {"address": NODE, "domain": "https://other.example.org"}),
        ("services", {**REGISTRY["services"][0], "name": "other"}),
        ("agreements", REGISTRY["agreements"][0]),
    ):
        with pytest.raises(RegistryFileError, match=rf"{name}: .* is listed twice"):
            signed(**{name: [*REGISTRY[name], entry]})
        doubled = snapshots.normalise(registry(**{name: [*REGISTRY[name], entry]}))
        assert "is listed twice" in refusal(resigned(snapshots.canonical(doubled)))


def test_what_a_table_cannot_hold_is_skipped_with_a_warning() -> None:
    party = REGISTRY["parties"][1]
    parties = [
        *REGISTRY["parties"],
        {**party, "party_id": "ZER", "address": ZERO},
        {**party, "party_id": "ZOP", "operator": ZERO},
        {**party, "party_id": "LONG"},
        {**party, "country_code": "\x1b[", "party_id": "ESC"},
    ]
    operators = [
        *REGISTRY["operators"],
        {"address": ZERO, "domain": "https://zero.example.org"},
        {"address": CPO, "domain": "https://a\x1b[31m"},
    ]
    got = snapshots.parse(
        signed(parties=parties, operators=operators, agreements=[{"user": ZERO, "provider": MSP}])
    )
    assert [item.party_id for item in got.snapshot.parties] == ["CPO", "MSP"]
    assert len(got.snapshot.operators) == 1
    assert got.snapshot.agreements == ()
    assert len(got.warnings) == 7
    assert all(line.isprintable() for line in got.warnings)


def test_limits_hold_at_the_limit_and_one_above(tmp_path: Path) -> None:
    data = signed()
    assert snapshots.parse(data, max_parties=2)
    assert "registry.parties" in refusal(data, max_parties=1)
    length = len("https://node.example.org")
    assert snapshots.parse(data, max_domain_bytes=length).snapshot.operators
    assert not snapshots.parse(data, max_domain_bytes=length - 1).snapshot.operators
    file = tmp_path / "registry"
    snapshots.write(file, data)
    assert snapshots.read(file, max_bytes=len(data)).signatory == SIGNER
    with pytest.raises(RegistryFileError, match=r"registry\.file_bytes"):
        snapshots.read(file, max_bytes=len(data) - 1)
    with pytest.raises(RegistryFileError, match="cannot be read"):
        snapshots.read(tmp_path / "none")


def test_a_wrong_checksum_is_noticed_before_signing() -> None:
    spelled = _native.checksum_address(NODE)
    wrong = "0x" + spelled[2:].swapcase()
    with pytest.raises(RegistryFileError, match="wrong checksum"):
        registry(operators=[{"address": wrong, "domain": "https://node.example.org"}])


def test_deep_json_is_refused_not_followed() -> None:
    assert refusal(resigned(snapshots.HEAD + b"[" * 1_000_000))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_refusal(data: bytes) -> None:
    assert refusal(data)
    assert refusal(snapshots.HEAD + data)


def test_what_is_signed_is_canonical_json_whatever_it_holds() -> None:
    characters = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    party = snapshots.Party(characters, "", "0x", characters, ("B", "a"), ("\U0001f697", "\uffff"))
    for block in (0, 1, snapshots.SAFE_INTEGER):
        held = snapshots.Snapshot(
            characters,
            block,
            None,
            block,
            "0x",
            "",
            (),
            (party,),
            (snapshots.Service("0x", "n", "u", ("é",)),),
        )
        other = rfc8785.dumps(snapshots.to_builtins(held))
        assert snapshots.canonical(held) == snapshots.HEAD + other
