"""The public JavaScript package verifies what we sign, and we verify what it signs.

Over random OCPI-like documents. What the package cannot do is kept out of them one by one (`readable`,
`EXACT`); each exclusion has a test that shows that it is true.
"""

import json
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from js_package import JsPackage

from ocn_fast import notary
from ocn_fast.errors import NotaryError

Json = Any
PARTY, NODE, SECOND_NODE = bytes([0x46]) * 32, bytes([0x47]) * 32, bytes([0x48]) * 32
RESERVED = {"constructor", "prototype", "__proto__"}
INTEGER_LIKE = re.compile(r"0|[1-9][0-9]{0,9}")
EXACT = 2**53


def readable(key: str) -> bool:
    """Whether the package can look up a member of that name."""
    cased = key.lower() != key or key.casefold() != key.lower()
    return not (cased or INTEGER_LIKE.fullmatch(key) or key in RESERVED or "'" in key or "\\" in key)


WORDS = st.sampled_from(["id", "evses", "status", "kwh", "last_updated", "uid", "price-x", "ä", "a b", ""])
KEYS = WORDS | st.text(st.characters(exclude_categories=["Cs", "Lu", "Lt"]), max_size=8).filter(readable)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-EXACT, EXACT) | FLOATS | TEXTS
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
IDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=2, max_size=3)
HEADERS = st.tuples(*[IDS] * 5).map(lambda ids: dict(zip(notary.REQUEST_HEADERS, ids, strict=True)))
PARAMS = st.dictionaries(st.sampled_from(["date_from", "offset", "limit", "type"]), TEXTS, max_size=3)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", " :\r\n")])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A values object as JSON, in one of many spellings; something in it is signed."""
    values = {"headers": draw(HEADERS), "params": draw(PARAMS), "body": draw(BODIES)}
    ascii_only = draw(st.booleans())
    return json.dumps(values, ensure_ascii=ascii_only, separators=draw(SEPARATORS)).encode()


# The same 200 documents every time: what the package cannot do must not turn up by chance.
EXAMPLES = int(os.environ.get("OCN_FAST_INTEROP_EXAMPLES", "200"))
many = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 200,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@many
@given(document=documents())
def test_the_package_verifies_what_we_sign(js: JsPackage, document: bytes) -> None:
    signed = notary.sign(notary.Values.from_document(document), PARTY)
    answer = js.verify(signed.serialize(), document)
    assert answer == {"valid": True, "error": None, "chain": [notary.address_of(PARTY)], "before": {}}


@many
@given(document=documents())
def test_we_verify_what_the_package_signs(js: JsPackage, document: bytes) -> None:
    values = notary.Values.from_document(document)
    signature = js.sign(document, PARTY)
    for policy in ("strict", "covered", "compatible"):
        verdict = notary.verify(signature, values, policy=policy)
        assert (verdict.signatory, verdict.uncovered) == (notary.address_of(PARTY), 0)
    # Not only a true signature, the same one.
    ours, theirs = notary.sign(values, PARTY), notary.parse(signature)
    assert (ours.fields, ours.hash, ours.rsv) == (theirs.fields, theirs.hash, theirs.rsv)


def command(response_url: str, **more: Json) -> bytes:
    """A request with a call-back, as a values object."""
    headers = dict.fromkeys(notary.REQUEST_HEADERS, "XX")
    body = {"response_url": response_url, "token": {"uid": "012"}, **more}
    return json.dumps({"headers": headers, "body": body}).encode()


@pytest.mark.parametrize("first", ["js", "ours"])
@pytest.mark.parametrize("second", ["js", "ours"])
@pytest.mark.parametrize("third", ["js", "ours"])
def test_chains_of_both_makers_verify_on_both_sides(
    js: JsPackage, first: str, second: str, third: str
) -> None:
    urls = ["https://msp.example/cb/1", "https://one.example/r/1", "https://two.example/r/9"]
    steps = [command(url, kwh=20.5) for url in urls]
    values = [notary.Values.from_document(step) for step in steps]
    keys = [PARTY, NODE, SECOND_NODE]
    signature = js.sign(steps[0], PARTY) if first == "js" else notary.sign(values[0], PARTY).serialize()
    for step, maker in enumerate((second, third), start=1):
        if maker == "js":
            key, rewritten = "0x" + keys[step].hex(), {notary.RESPONSE_URL_BODY: urls[step - 1]}
            signature = js.answer(
                "resign", signature=signature, rewritten=rewritten, values=steps[step].decode(), key=key
            )["ok"]
        else:
            before, after = values[step - 1], values[step]
            path = [notary.RESPONSE_URL_BODY]
            signature = notary.resign(notary.parse(signature), before, after, path, keys[step]).serialize()
    chain = [notary.address_of(key) for key in reversed(keys)]
    assert notary.verify(signature, values[-1]).chain == tuple(chain)
    answer = js.verify(signature, steps[-1])
    assert (answer["valid"], answer["chain"], answer["before"]) == (
        True,
        chain,
        {notary.RESPONSE_URL_BODY: urls[0]},
    )


def test_both_refuse_a_changed_value(js: JsPackage) -> None:
    signature = notary.sign(notary.Values.from_document(command("https://a")), PARTY).serialize()
    changed = command("https://b")
    assert js.verify(signature, changed)["error"] == "Request has been modified"
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, notary.Values.from_document(changed))
    assert refusal.value.reason == "hash"


# What the package cannot do: each of these is excluded above, and true.


def body_of(key: str, value: Json = "x") -> bytes:
    return json.dumps({"body": {"zz": 1, key: value, "a": 2}}).encode()


@pytest.mark.parametrize("key", ["Foo", "iD", "Ä", "İ", "ǅ", "Ⓐ"])
def test_excluded_upper_case_keys_fail_even_its_own_check(js: JsPackage, key: str) -> None:
    document = body_of(key)
    assert js.verify(js.sign(document, PARTY), document)["error"] == "Request has been modified"
    assert notary.verify(js.sign(document, PARTY), notary.Values.from_document(document)).uncovered == 0


@pytest.mark.parametrize("key", ["0", "1", "10", "4294967294"])
def test_excluded_integer_like_keys_are_walked_out_of_document_order(js: JsPackage, key: str) -> None:
    document = body_of(key)
    signature, values = js.sign(document, PARTY), notary.Values.from_document(document)
    assert notary.parse(signature).fields[0] == f"$['body']['{key}']"
    assert notary.sign(values, PARTY).fields[0] == "$['body']['zz']"
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, values)
    assert refusal.value.reason == "order"
    assert notary.verify(signature, values, policy="covered").uncovered == 0


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_excluded_reserved_keys_make_it_throw(js: JsPackage, key: str) -> None:
    document = body_of(key)
    signature = notary.sign(notary.Values.from_document(document), PARTY).serialize()
    assert "Unsafe key" in js.verify(signature, document)["exception"]


@pytest.mark.parametrize("key", ["a\\", "\\0"])
def test_excluded_backslashes_in_keys_make_it_throw(js: JsPackage, key: str) -> None:
    document = body_of(key)
    signature = js.sign(document, PARTY)
    assert "Lexical error" in js.verify(signature, document)["exception"]
    assert notary.verify(signature, notary.Values.from_document(document)).uncovered == 0


def test_excluded_apostrophes_in_keys_make_it_throw_and_we_sign_none(js: JsPackage) -> None:
    document = body_of("a'b")
    assert js.verify(js.sign(document, PARTY), document)["exception"]
    with pytest.raises(NotaryError) as refusal:
        notary.sign(notary.Values.from_document(document), PARTY)
    assert refusal.value.reason == "document"


def test_excluded_headers_are_signed_in_the_order_of_the_caller(js: JsPackage) -> None:
    x, from_country, from_party, to_country, to_party = notary.REQUEST_HEADERS
    order = (x, to_country, to_party, from_country, from_party)
    document = json.dumps({"headers": dict.fromkeys(order, "XX"), "body": {"id": 1}}).encode()
    signature, values = js.sign(document, PARTY), notary.Values.from_document(document)
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, values)
    assert (refusal.value.reason, refusal.value.path) == ("order", f"$['headers']['{from_country}']")
    assert notary.verify(signature, values, policy="covered").uncovered == 0


def test_excluded_gzip_is_not_read(js: JsPackage) -> None:
    document = body_of("id")
    signature = notary.sign(notary.Values.from_document(document), PARTY).serialize("gzip")
    assert js.verify(signature, document)["exception"] == "Decompression failed"
    assert notary.verify(signature, notary.Values.from_document(document)).uncovered == 0


@pytest.mark.parametrize("number", [str(EXACT + 1), "3.141592653589793238"])
def test_excluded_numbers_beyond_a_double_lose_digits(js: JsPackage, number: str) -> None:
    document = body_of("kwh", 0).replace(b'"kwh": 0', f'"kwh": {number}'.encode())
    signature, values = js.sign(document, PARTY), notary.Values.from_document(document)
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, values)
    assert (refusal.value.reason, refusal.value.path) == ("number", "$['body']['kwh']")
    assert notary.verify(signature, values, policy="covered").uncovered == 0


def test_excluded_half_surrogates_are_signed_as_no_utf8(js: JsPackage) -> None:
    document = body_of("id", "\udc00")
    signature = js.answer("sign", values=document.decode(), key="0x" + PARTY.hex())["ok"]
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, notary.Values.from_document(document))
    assert refusal.value.reason == "document"
    high = js.answer("sign", values=body_of("id", "\ud800").decode(), key="0x" + PARTY.hex())
    assert "invalid utf-8" in high["exception"]


def test_excluded_repeated_keys_count_once_there(js: JsPackage) -> None:
    document = b'{"body":{"id":"x","id":"y"}}'
    signature = js.sign(document, PARTY)
    assert js.verify(signature, document)["valid"]
    with pytest.raises(NotaryError) as refusal:
        notary.verify(signature, notary.Values.from_document(document))
    assert refusal.value.reason == "document"


def test_uncovered_leaves_are_taken_there_and_refused_here(js: JsPackage) -> None:
    signature = notary.sign(notary.Values.from_document(command("https://a")), PARTY).serialize()
    added = command("https://a", extra="forged")
    assert js.verify(signature, added)["valid"]
    for policy in ("strict", "covered"):
        with pytest.raises(NotaryError) as refusal:
            notary.verify(signature, notary.Values.from_document(added), policy=policy)
        assert (refusal.value.reason, refusal.value.path) == ("coverage", "$['body']['extra']")
