"""Every notary vector, the shared ones and our own, through the public API under the three policies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocn_fast import _native, notary
from ocn_fast.errors import NotaryError

OWN = Path(__file__).parents[1] / "vectors"
EXEMPT = {"$['body']['ocn_signature']", "$['body']['ocn_verification_status']"}
Vector = dict[str, Any]


@pytest.fixture(scope="module")
def vectors(shared: Path) -> list[Vector]:
    files = sorted((shared / "vectors" / "notary").glob("*.json"))
    found = [vector for file in files for vector in json.loads(file.read_text())["vectors"]]
    assert len(found) > 800
    return found


def judge(vector: Vector, text: str, policy: notary.Policy) -> notary.Verdict | NotaryError:
    """The answer to the notary object read by itself: what is wrong with it comes first."""
    values = notary.Values.from_document(vector["values_json"].encode(errors="surrogatepass"))
    try:
        return notary.verify(notary.parse(text), values, policy=policy)
    except NotaryError as error:
        return error


def texts(vector: Vector) -> Iterator[str]:
    for member in ("serialized", "serialized_gzip"):
        if vector.get(member) is not None:
            yield vector[member]


def test_A33_strict_answers_as_stated(vectors: list[Vector]) -> None:
    wrong = []
    for vector in vectors:
        for text in texts(vector):
            answer = judge(vector, text, "strict")
            if isinstance(answer, NotaryError):
                as_stated = not vector["strict_valid"] and answer.reason == vector["strict_reason"]
            else:
                as_stated = vector["strict_valid"] and answer.number_form == vector["strict_rendering"]
            if not as_stated:
                wrong.append((vector["name"], answer))
    assert wrong == []


def test_A32_the_message_bounds_its_signature_without_changing_a_verdict(vectors: list[Vector]) -> None:
    for vector in vectors:
        values = notary.Values.from_document(vector["values_json"].encode(errors="surrogatepass"))
        for text in texts(vector):
            reason = None
            try:
                notary.verify(text, values)
            except NotaryError as error:
                reason = error.reason
            expected = {vector["strict_reason"], "size", "document"} - {None}
            assert (reason is None) if vector["strict_valid"] else (reason in expected), vector["name"]


def test_A34_covered_takes_what_strict_takes_and_refuses_uncovered_leaves(vectors: list[Vector]) -> None:
    for vector in vectors:
        for text in texts(vector):
            strict, covered, compatible = (
                judge(vector, text, policy) for policy in ("strict", "covered", "compatible")
            )
            if isinstance(strict, notary.Verdict):
                assert covered == strict, vector["name"]
            if isinstance(covered, notary.Verdict):
                assert compatible == covered, vector["name"]
            uncovered = uncovered_leaves(vector, text)
            if uncovered:
                assert isinstance(covered, NotaryError), vector["name"]
            if isinstance(compatible, notary.Verdict):
                assert compatible.uncovered == uncovered, vector["name"]


def uncovered_leaves(vector: Vector, text: str) -> int:
    """Leaves that no field names, counted on a tree."""
    try:
        fields = notary.parse(text).fields
        values = json.loads(vector["values_json"])
    except (NotaryError, ValueError):
        return 0
    signed = {*fields, *(path.lower() for path in fields)}
    return sum(path not in signed and path not in EXEMPT for path in naive_walk("$", values))


def naive_walk(path: str, value: Any) -> Iterator[str]:
    match value:
        case None | "":
            return
        case list():
            for index, element in enumerate(value):
                yield from naive_walk(f"{path}[{index}]", element)
        case dict():
            for name, member in value.items():
                yield from naive_walk(f"{path}['{name}']", member)
        case _:
            yield path


def test_signatures_are_reproduced_from_their_keys(vectors: list[Vector]) -> None:
    for vector in vectors:
        if vector["kind"] != "sign" or vector["strict_reason"] in {"document", "limits", "order"}:
            continue
        key = bytes.fromhex(vector["private_key"][2:])
        form: notary.NumberForm = "js" if vector["source_impl"] == "js" else "jvm"
        values = notary.Values.from_document(vector["values_json"].encode())
        signed = notary.sign(values, key, number_form=form)
        assert notary.address_of(key) == vector["address"]
        assert (signed.fields, signed.hash, signed.rsv) == (vector["fields"], vector["hash"], vector["rsv"])
        for container in ("brotli", "gzip"):
            opened = notary.parse(signed.serialize(container))
            assert (opened.container, opened) == (container, signed)


def test_chains_are_reproduced_step_by_step(vectors: list[Vector]) -> None:
    for vector in vectors:
        if vector["kind"] != "chain" or not vector["strict_valid"]:
            continue
        first, *others = vector["steps"]
        before = notary.Values.from_document(first["values_json"].encode())
        signed = notary.parse(first["serialized"])
        for step in others:
            after = notary.Values.from_document(step["values_json"].encode())
            key = bytes.fromhex(step["private_key"][2:])
            signed = notary.resign(signed, before, after, list(step["rewritten_fields"]), key)
            assert (signed.fields, signed.rewrites[-1].values) == (step["fields"], step["rewritten_fields"])
            before = after
        verdict = notary.verify(signed, before)
        assert verdict.chain == tuple(step["address"] for step in reversed(vector["steps"]))
        assert verdict.origin == first["address"]


@pytest.mark.parametrize(
    "vector", json.loads((OWN / "notary.json").read_text())["messages"], ids=lambda v: v["name"]
)
def test_A34_A35_our_own_messages_are_judged_as_written_out(vector: Vector) -> None:
    for text in texts(vector):
        for policy in ("strict", "covered", "compatible"):
            answer = judge(vector, text, policy)
            reason = answer.reason if isinstance(answer, NotaryError) else "valid"
            assert reason == vector[policy], policy
            if policy == "compatible" and isinstance(answer, notary.Verdict):
                assert answer.uncovered == vector["uncovered"]
    if signed := vector["signed"]:
        values = notary.Values.from_document(signed["values_json"].encode())
        made = notary.sign(values, bytes.fromhex(signed["private_key"][2:]))
        assert (made.fields, made.hash, made.rsv) == (signed["fields"], signed["hash"], signed["rsv"])


def test_A36_recoveries_and_personal_messages_of_our_own() -> None:
    eth = json.loads((OWN / "eth.json").read_text())
    for checksum in eth["checksums"]:
        assert _native.checksum_address(checksum.lower()) == checksum
    for vector in eth["personal"]:
        key, message = bytes.fromhex(vector["private_key"][2:]), bytes.fromhex(vector["message"])
        assert _native.address_of(key) == vector["address"]
        assert _native.personal_sign(key, message) == vector["rsv"]
        assert _native.personal_recover(message, vector["rsv"]) == vector["address"]
