"""The public signing API: what it picks, keeps and refuses; its properties; `eth` against other libraries."""

import doctest
import gzip
import json
from base64 import b64encode
from typing import Any

import brotli
import pytest
from coincurve import PrivateKey, PublicKey
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak, to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from ocn_fast import _native, notary
from ocn_fast.errors import NotaryError, OcnError

Json = Any
KEY, OTHER = bytes([0x46]) * 32, bytes([0x47]) * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HEADERS = {
    "Authorization": "Token x",
    "X-Request-ID": "r1",
    "OCPI-to-party-id": "MSP",
    "OCPI-To-Country-Code": "NL",
    "ocpi-from-party-id": "CPO",
    "OCPI-FROM-COUNTRY-CODE": "DE",
    "X-Correlation-ID": "c1",
}
BODY = b'{"response_url": "https://msp.example/1", "kwh": 20.0}'

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = TEXTS.filter(lambda name: "'" not in name)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXTS
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
BODIES = st.dictionaries(NAMES, TREES, max_size=4).map(lambda body: {**body, "id": "LOC1"})
KEYS = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))


def refused(text: notary.Notary | str, values: notary.Values, **options: Any) -> tuple[str, str | None]:
    with pytest.raises(NotaryError) as refusal:
        notary.verify(text, values, **options)
    return refusal.value.reason, refusal.value.path


def test_the_example_in_the_docstring_runs() -> None:
    outcome = doctest.testmod(notary)
    assert outcome.attempted > 10
    assert outcome.failed == 0


def test_a_request_is_signed_over_its_five_headers_query_and_body() -> None:
    values = notary.request_values(HEADERS, "date_from=2026-01-01T00%3A00%3A00Z&limit=&type=a+b", BODY)
    signed = notary.sign(values, KEY)
    assert signed.fields == [
        *(f"$['headers']['{name}']" for name in notary.REQUEST_HEADERS),
        "$['params']['date_from']",
        "$['params']['type']",
        "$['body']['response_url']",
        "$['body']['kwh']",
    ]
    text = "c1DECPONLMSP2026-01-01T00:00:00Za bhttps://msp.example/120"
    assert signed.hash == "0x" + keccak(text.encode()).hex()
    assert notary.verify(signed.serialize(), values).chain == (notary.address_of(KEY),)


def test_a_response_is_signed_over_its_four_headers_and_envelope() -> None:
    headers = [
        ("Link", '<https://x>; rel="next"'),
        ("X-Total-Count", "7"),
        ("Date", "now"),
        ("X-Correlation-ID", "c1"),
    ]
    body = b'{"status_code":1000,"data":[]}'
    signed = notary.sign(notary.response_values(headers, body), KEY)
    assert signed.fields == [
        "$['headers']['x-total-count']",
        "$['headers']['link']",
        "$['body']['status_code']",
    ]
    sent = notary.attach(body, signed.serialize("gzip"))
    assert sent.startswith(body[:-1])
    assert notary.detach(sent) == (body, signed.serialize("gzip"))
    assert notary.verify(signed, notary.response_values(headers, sent)).uncovered == 0


def test_bodies_without_a_signature_are_left_as_they_are() -> None:
    assert notary.detach(b' {"a" : 1}\n') == (b' {"a" : 1}\n', None)
    for body, reason in ((b"[]", "document"), (b"{", "document"), (b'{"ocn_signature":1}', "format")):
        with pytest.raises(NotaryError) as refusal:
            notary.detach(body)
        assert refusal.value.reason == reason
    with pytest.raises(NotaryError):
        notary.attach(b'{"ocn_signature":"x"}', "y")


def test_objects_are_serialised_once_and_bytes_never() -> None:
    values = notary.Values(body={"naïve": [1.0, None]})
    assert values.body_bytes == '{"naïve":[1.0,null]}'.encode()
    signed = notary.sign(values, KEY)
    assert notary.verify(signed, notary.Values(body=values.body_bytes)).signatory == notary.address_of(KEY)
    assert notary.Values(body=BODY).body_bytes is BODY
    with pytest.raises(ValueError, match="Out of range"):
        notary.Values(body=float("nan"))


def test_bodies_of_custom_modules_can_count_as_one_text() -> None:
    signed = notary.sign(notary.Values(body=b"<xml/>", as_text=True), KEY)
    assert signed.fields == ["$['body']"]
    assert refused(signed, notary.Values(body=b"<xml/>")) == ("document", None)


def test_empty_bodies_are_no_bodies() -> None:
    signed = notary.sign(notary.request_values(HEADERS, "", b""), KEY)
    assert len(signed.fields) == 5


def test_A26_headers_and_parameters_that_come_twice_are_refused() -> None:
    twice = [*HEADERS.items(), ("x-correlation-id", "c2")]
    for values in (
        notary.request_values(twice, "", None),
        notary.request_values(HEADERS, "limit=1&limit=2", None),
    ):
        with pytest.raises(NotaryError) as refusal:
            notary.sign(values, KEY)
        assert refusal.value.reason == "document"


def test_A39_a_rewritten_call_back_shows_both_signers() -> None:
    before = notary.request_values(HEADERS, "", BODY)
    after = notary.request_values(
        HEADERS, "", BODY.replace(b"https://msp.example/1", b"https://node.example/r/1")
    )
    signed = notary.sign(before, KEY)
    resigned = notary.resign(signed, before, after, [notary.RESPONSE_URL_BODY], OTHER)
    verdict = notary.verify(notary.parse(resigned.serialize("gzip")), after)
    assert verdict.chain == (notary.address_of(OTHER), notary.address_of(KEY))
    assert verdict.origin == notary.address_of(KEY)
    [rewrite] = resigned.rewrites
    assert rewrite.values == {notary.RESPONSE_URL_BODY: "https://msp.example/1"}
    assert (rewrite.hash, rewrite.rsv, rewrite.signatory) == (signed.hash, signed.rsv, signed.signatory)
    with pytest.raises(NotaryError) as refusal:
        notary.resign(signed, before, after, ["$['body']['kwh']"], OTHER)
    assert (refusal.value.reason, refusal.value.path) == ("rewrite_path", "$['body']['kwh']")


def test_refusals_are_one_type_with_reason_path_and_text() -> None:
    signed = notary.sign(notary.request_values(HEADERS, "", BODY), KEY)
    added = notary.request_values(HEADERS, "", BODY[:-1] + b',"free":true}')
    with pytest.raises(OcnError) as refusal:
        notary.verify(signed, added)
    assert isinstance(refusal.value, NotaryError)
    assert (refusal.value.reason, refusal.value.path, refusal.value.rewrite) == (
        "coverage",
        "$['body']['free']",
        None,
    )
    assert str(refusal.value) == "the signed paths are not the leaves of the message"
    assert notary.verify(signed, added, exempt=["$['body']['free']"]).uncovered == 0
    assert notary.verify(signed, added, policy="compatible").uncovered == 1


@pytest.mark.parametrize("text", ["", "é", " ", "aGk", "a===", "_-==", "\n", "\udc00", "e30="])
def test_A33_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(NotaryError):
        notary.parse(text)


def test_A32_limits_at_the_limit_and_one_above() -> None:
    values = notary.Values(body=[1, 2, 3])
    signed = notary.sign(values, KEY)
    text, length = signed.serialize(), len(signed.to_json())
    for limits, above in (
        (notary.Limits(text_bytes=len(text)), notary.Limits(text_bytes=len(text) - 1)),
        (notary.Limits(notary_bytes=length), notary.Limits(notary_bytes=length - 1)),
        (notary.Limits(fields=3), notary.Limits(fields=2)),
        (notary.Limits(depth=2), notary.Limits(depth=1)),
    ):
        assert notary.verify(text, values, limits=limits).uncovered == 0
        assert refused(text, values, limits=above)[0] in {"size", "limits"}


def test_A32_bombs_are_refused() -> None:
    bomb = bytes(50_000_000)
    for packed in (gzip.compress(bomb, 1), brotli.compress(bomb, quality=4)):
        with pytest.raises(NotaryError) as refusal:
            notary.parse(b64encode(packed))
        assert refusal.value.reason == "size"


def test_A25_depth_is_bounded_without_recursion() -> None:
    for body in (b"[" * 4_000_000, b'{"a":' * 1_000_000):
        with pytest.raises(NotaryError) as refusal:
            notary.sign(notary.Values(body=body), KEY)
        assert refusal.value.reason == "limits"


@settings(deadline=None)
@given(body=BODIES, key=KEYS, ascii_only=st.booleans())
def test_what_is_signed_verifies(body: Json, key: bytes, ascii_only: bool) -> None:
    values = notary.request_values(HEADERS, "limit=5", json.dumps(body, ensure_ascii=ascii_only).encode())
    text = notary.sign(values, key).serialize()
    for policy in ("strict", "covered", "compatible"):
        assert notary.verify(text, values, policy=policy).signatory == notary.address_of(key)


def leaves(path: tuple[Json, ...], value: Json) -> list[tuple[Json, ...]]:
    if isinstance(value, dict):
        return [leaf for name, member in value.items() for leaf in leaves((*path, name), member)]
    if isinstance(value, list):
        return [leaf for index, member in enumerate(value) for leaf in leaves((*path, index), member)]
    return [] if value in (None, "") and not isinstance(value, bool) else [path]


def replaced(value: Json, path: tuple[Json, ...], new: Json) -> Json:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@settings(deadline=None)
@given(body=BODIES, data=st.data())
def test_A35_any_edit_of_any_leaf_is_refused(body: Json, data: st.DataObject) -> None:
    signed = notary.sign(notary.Values(body=body), KEY)
    leaf = data.draw(st.sampled_from(leaves((), body)))
    for new, reason in (("another text", "hash"), (None, "coverage")):
        edited = notary.Values(body=replaced(body, leaf, new))
        if reason == "coverage" and len(signed.fields) == 1:
            continue  # nothing is left to differ from
        assert refused(signed, edited)[0] == reason
        assert refused(signed, edited, policy="covered")[0] == reason


@settings(deadline=None)
@given(body=BODIES, name=NAMES, value=SCALARS.filter(lambda value: value is False or value not in (None, "")))
def test_A35_an_added_leaf_is_refused_and_named(body: Json, name: str, value: Json) -> None:
    added = {**body, "added" + name: value}
    signed = notary.sign(notary.Values(body=body), KEY)
    expected = ("coverage", f"$['body']['added{name}']") if "added" + name not in body else None
    if expected:
        assert refused(signed, notary.Values(body=added)) == expected
        assert refused(signed, notary.Values(body=added), policy="covered") == expected


# `eth` against coincurve (libsecp256k1 by another binding) and eth-account.


@settings(deadline=None)
@given(key=KEYS, message=st.binary(max_size=200))
def test_personal_signatures_equal_those_of_eth_account(key: bytes, message: bytes) -> None:
    theirs = Account.sign_message(encode_defunct(message), key)
    assert _native.personal_sign(key, message) == "0x" + bytes(theirs.signature).hex()
    assert _native.address_of(key) == Account.from_key(key).address
    assert (
        _native.personal_recover(message, "0x" + bytes(theirs.signature).hex())
        == Account.from_key(key).address
    )


@settings(deadline=None, max_examples=300)
@given(
    message=st.binary(max_size=40),
    r=st.integers(0, 2**256 - 1) | st.integers(0, 20) | st.integers(ORDER - 2, ORDER + 2),
    s=st.integers(0, 2**256 - 1) | st.integers(0, 2) | st.integers(ORDER - 2, ORDER + 2),
    v=st.sampled_from([27, 28]),
)
def test_A36_recovery_equals_that_of_coincurve(message: bytes, r: int, s: int, v: int) -> None:
    compact = r.to_bytes(32) + s.to_bytes(32)
    digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)
    try:
        key = PublicKey.from_signature_and_message(compact + bytes([v - 27]), digest, hasher=None)
        expected = to_checksum_address(keccak(key.format(compressed=False)[1:])[12:])
    except Exception:  # noqa: BLE001 - coincurve raises bare exceptions for all it refuses
        expected = None
    try:
        found = _native.personal_recover(message, f"0x{compact.hex()}{v:02x}")
    except ValueError:
        found = None
    assert found == expected


@given(data=st.binary(max_size=600))
def test_keccak_equals_that_of_eth_utils(data: bytes) -> None:
    assert _native.keccak256(data) == keccak(data)


@given(raw=st.binary(min_size=20, max_size=20))
def test_checksums_equal_those_of_eth_utils(raw: bytes) -> None:
    assert _native.checksum_address("0x" + raw.hex()) == to_checksum_address(raw)


def test_keys_are_drawn_anew_and_what_is_no_key_is_refused() -> None:
    keys = {notary.new_key() for _ in range(20)}
    assert len(keys) == 20
    assert all(PrivateKey(key).secret == key for key in keys)
    for wrong in (b"", bytes(31), bytes(33), bytes(32), ORDER.to_bytes(32), b"\xff" * 32):
        with pytest.raises(ValueError, match="private key"):
            notary.address_of(wrong)
        with pytest.raises(ValueError, match="private key"):
            notary.sign(notary.Values(body=BODY), wrong)
