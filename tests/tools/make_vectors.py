"""Writes tests/vectors/*.json: keys, digests, recoveries and signed messages of our own, for both languages.

    python tests/tools/make_vectors.py            writes the files again; they must not change

Nothing here uses our implementation. Every recovery is computed twice, by libsecp256k1 (coincurve) and by the
pure Python backend of eth_keys; fields and texts of the signed messages are written out by hand.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import brotli
from coincurve import PrivateKey, PublicKey
from eth_keys.backends import NativeECCBackend
from eth_keys.datatypes import Signature
from eth_utils import keccak, to_checksum_address

FOLDER = Path(__file__).parents[1] / "vectors"
FIELD = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF = ORDER // 2
PARTY, NODE = bytes([0x46]) * 32, bytes([0x47]) * 32


def address_of(point: bytes) -> str:
    """From the 64 bytes of a public key."""
    return str(to_checksum_address(keccak(point)[12:]))


def address_of_key(key: bytes) -> str:
    return address_of(PrivateKey(key).public_key.format(compressed=False)[1:])


def personal_digest(message: bytes) -> bytes:
    return bytes(keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message))


def sign(key: bytes, digest: bytes) -> str:
    signature = PrivateKey(key).sign_recoverable(digest, hasher=None)
    return "0x" + signature[:64].hex() + f"{27 + signature[64]:02x}"


# Addresses and messages.

CHECKSUMS = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x0000000000000000000000000000000000000000",
]

MESSAGES = {
    "empty": b"",
    "one letter": b"a",
    "ten bytes": b"0123456789",
    "notary hash": b"0x" + b"ab" * 32,
    "utf-8": "Überstraße 1, Köln 😀".encode(),
    "thirty-two raw bytes": bytes(range(32)),
    "zero bytes": bytes(136),
    "longer than a block": b"x" * 137,
}
KEYS = [PARTY, NODE, (1).to_bytes(32), (ORDER - 1).to_bytes(32)]


def personal() -> Iterator[dict[str, Any]]:
    for name, message in MESSAGES.items():
        for key in KEYS:
            digest = personal_digest(message)
            yield {
                "name": name,
                "private_key": "0x" + key.hex(),
                "address": address_of_key(key),
                "message": message.hex(),
                "digest": "0x" + digest.hex(),
                "rsv": sign(key, digest),
            }


# Recoveries at the edges (safety.md 5.4).


def recovered(digest: bytes, r: int, s: int, v: int) -> str | None:
    """Who signed, as two implementations agree; None where no key fits."""
    answers = []
    compact = r.to_bytes(32) + s.to_bytes(32)
    try:
        key = PublicKey.from_signature_and_message(compact + bytes([v]), digest, hasher=None)
        answers.append(address_of(key.format(compressed=False)[1:]))
    except Exception:  # noqa: BLE001 - coincurve raises bare exceptions for all it refuses
        answers.append(None)
    try:
        point = NativeECCBackend().ecdsa_recover(digest, Signature(vrs=(v, r, s))).to_bytes()
        # The point at infinity is no key; this backend gives it as zeros.
        answers.append(address_of(point) if any(point) else None)
    except Exception:  # noqa: BLE001 - whatever it refuses with, it refuses
        answers.append(None)
    libsecp256k1, second = answers
    if libsecp256k1 != second:
        raise SystemExit(f"disagreement: {digest.hex()} {r:x} {s:x} {v}: {answers}")
    return libsecp256k1


def recoveries() -> Iterator[dict[str, Any]]:
    digest = personal_digest(b"text")
    good = bytes.fromhex(sign(PARTY, digest)[2:])
    r, s, v = int.from_bytes(good[:32]), int.from_bytes(good[32:64]), good[64] - 27
    no_point = next(x for x in range(2, 100) if recovered(digest, x, s, 0) is None)
    edges = {
        "0": 0, "1": 1, "n/2": HALF, "n/2 + 1": HALF + 1, "n - 1": ORDER - 1, "n": ORDER, "n + 1": ORDER + 1,
        "p": FIELD, "2^256 - 1": 2**256 - 1,
    }  # fmt: skip
    nonce = 5
    point = PrivateKey(nonce.to_bytes(32)).public_key.format(compressed=False)
    at_infinity = int.from_bytes(digest) * pow(nonce, -1, ORDER) % ORDER
    cases = [
        ("as signed", digest, r, s, v),
        ("high s, other v", digest, r, ORDER - s, 1 - v),
        ("other v", digest, r, s, 1 - v),
        ("r is no x coordinate", digest, no_point, s, 0),
        ("the point at infinity", digest, int.from_bytes(point[1:33]), at_infinity, point[64] & 1),
        ("digest 0", bytes(32), r, s, v),
        ("digest n", ORDER.to_bytes(32), r, s, v),
        ("digest n + 1", (ORDER + 1).to_bytes(32), r, s, v),
        ("digest 2^256 - 1", b"\xff" * 32, r, s, v),
        *((f"s = {name}", digest, r, value, v) for name, value in edges.items()),
        *((f"r = {name}", digest, value, s, v) for name, value in edges.items()),
    ]
    for name, digest_, r_, s_, v_ in cases:
        yield {
            "name": name,
            "digest": "0x" + digest_.hex(),
            "rsv": f"0x{r_:064x}{s_:064x}{27 + v_:02x}",
            "address": recovered(digest_, r_, s_, v_),
            "strict_form": 0 < r_ < ORDER and 0 < s_ <= HALF,
        }
    for spelling in (0, 1, 2, 26, 29, 30, 255):
        yield {
            "name": f"v = {spelling}",
            "digest": "0x" + digest.hex(),
            "rsv": f"0x{r:064x}{s:064x}{spelling:02x}",
            "address": recovered(digest, r, s, spelling) if spelling < 2 else None,
            "strict_form": False,
        }


# Signed messages. What each policy answers is written out: "valid", or the reason of the refusal.


@dataclass
class Case:
    """A message as it was signed, and as it is judged."""

    name: str
    values: str
    fields: list[str]
    text: str
    note: str = ""
    received: str | None = None
    """What is judged, if it is not what was signed."""
    strict: str = "valid"
    covered: str = "valid"
    compatible: str = "valid"
    uncovered: int = 0
    rewrites: list[dict[str, Any]] = field(default_factory=list)
    key: bytes = PARTY
    signed_here: bool = True
    """Whether our own `sign` gives these fields and this text (in the ECMAScript number form)."""


H = "$['headers']"
CORRELATION, FROM_COUNTRY = f"{H}['x-correlation-id']", f"{H}['ocpi-from-country-code']"
START = '{"headers":{"x-correlation-id":"b1a4","ocpi-from-country-code":"DE"},"body":'


def body_case(name: str, body: str, leaves: list[tuple[str, str]], **more: Any) -> Case:
    """A message with two headers and that body; `leaves` are paths below `$['body']` and their texts."""
    fields = [CORRELATION, FROM_COUNTRY, *("$['body']" + path for path, _ in leaves)]
    if "received" in more:
        more["received"] = START + more["received"] + "}"
    return Case(name, START + body + "}", fields, "b1a4DE" + "".join(text for _, text in leaves), **more)


def seal(text: str, key: bytes) -> dict[str, str]:
    hashed = "0x" + keccak(text.encode()).hex()
    return {
        "hash": hashed,
        "rsv": sign(key, personal_digest(hashed.encode())),
        "signatory": address_of_key(key),
    }


URL = ("['response_url']", "https://msp.example/cb/7")
NEW_URL = "https://node.example/r/0"
STASH = {"$['body']['response_url']": URL[1]}
AB = [("['id']", "ab"), ("['kwh']", "12")]
CASES = [
    body_case(
        "null and empty leaves are skipped",
        '{"a":null,"b":"","c":[null,"","x",[],{}],"d":{}}',
        [("['c'][2]", "x")],
    ),
    body_case(
        "false and zero are signed",
        '{"a":false,"b":0,"c":true}',
        [("['a']", "false"), ("['b']", "0"), ("['c']", "true")],
    ),
    body_case(
        "numbers in scientific form",
        "[1e3,1.0,1.50,1e21,1E-7]",
        [("[0]", "1000"), ("[1]", "1"), ("[2]", "1.5"), ("[3]", "1e+21"), ("[4]", "1e-7")],
    ),
    body_case(
        "numbers as the JVM writes them",
        "[1e3,1.0,20.0]",
        [("[0]", "1000.0"), ("[1]", "1.0"), ("[2]", "20.0")],
        signed_here=False,
    ),
    body_case(
        "mixed number forms",
        "[1e3,20.0]",
        [("[0]", "1000.0"), ("[1]", "20")],
        signed_here=False,
        strict="hash",
        covered="hash",
        compatible="hash",
    ),
    body_case("digits beyond a double", "[9007199254740993]", [("[0]", "9007199254740992")], strict="number"),
    body_case(
        "document order is kept",
        '{"z":"1","a":"2","m":{"y":"3","b":"4"}}',
        [("['z']", "1"), ("['a']", "2"), ("['m']['y']", "3"), ("['m']['b']", "4")],
    ),
    body_case("upper-case names", '{"EVSE":"1","evse":"2"}', [("['EVSE']", "1"), ("['evse']", "2")]),
    body_case("escapes are text", r'{"a\u0062":"\u00fc\/\ud83d\ude00\n"}', [("['ab']", "ü/😀\n")]),
    body_case("a scalar body", '"hello"', [("", "hello")]),
    body_case(
        "an array of arrays",
        '[[["deep"]],[1,[2]]]',
        [("[0][0][0]", "deep"), ("[1][0]", "1"), ("[1][1][0]", "2")],
    ),
    body_case(
        "text moved across a border",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab1","kwh":2}',
        note="residual: the scheme joins without separators",
    ),
    body_case(
        "a number turned into text",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","kwh":"12"}',
        note="residual: types are not signed",
    ),
    body_case(
        "a changed value",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","kwh":13}',
        strict="hash",
        covered="hash",
        compatible="hash",
    ),
    body_case(
        "an added leaf",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","kwh":12,"free":true}',
        strict="coverage",
        covered="coverage",
        uncovered=1,
    ),
    body_case(
        "a removed leaf",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab"}',
        strict="coverage",
        covered="coverage",
        compatible="hash",
    ),
    body_case(
        "a reordered document", '{"id":"ab","kwh":12}', AB, received='{"kwh":12,"id":"ab"}', strict="order"
    ),
    body_case(
        "a repeated name",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","id":"ab","kwh":12}',
        strict="document",
        covered="document",
        compatible="document",
    ),
    body_case(
        "an apostrophe in a name",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","kwh":12,"it\'s":null}',
        strict="document",
        covered="document",
        compatible="document",
    ),
    body_case(
        "another message hidden in one leaf",
        '{"id":"ab","kwh":12}',
        [("['x']", "ab12")],
        received='{"x":"ab12","id":"forged"}',
        strict="coverage",
        covered="coverage",
        uncovered=1,
        signed_here=False,
    ),
    body_case(
        "a signature inside the body",
        '{"id":"ab","kwh":12}',
        AB,
        received='{"id":"ab","kwh":12,"ocn_signature":"text","ocn_verification_status":"VERIFIED"}',
    ),
    body_case(
        "a rewritten call-back",
        f'{{"response_url":"{NEW_URL}","id":"ab"}}',
        [(URL[0], NEW_URL), ("['id']", "ab")],
        key=NODE,
        signed_here=False,
        rewrites=[{"rewrittenFields": STASH, **seal(f"b1a4DE{URL[1]}ab", PARTY)}],
    ),
    body_case(
        "a rewritten amount",
        '{"kwh":"99","id":"ab"}',
        [("['kwh']", "99"), ("['id']", "ab")],
        key=NODE,
        signed_here=False,
        rewrites=[{"rewrittenFields": {"$['body']['kwh']": "12"}, **seal("b1a4DE12ab", PARTY)}],
        strict="rewrite_path",
        covered="rewrite_path",
        compatible="rewrite_path",
    ),
    body_case(
        "a stash that restores nothing",
        f'{{"response_url":"{NEW_URL}","id":"ab"}}',
        [(URL[0], NEW_URL), ("['id']", "ab")],
        key=NODE,
        signed_here=False,
        rewrites=[{"rewrittenFields": STASH, **seal("b1a4DEhttps://else.example/ab", PARTY)}],
        strict="rewrite_hash",
        covered="rewrite_hash",
        compatible="rewrite_hash",
    ),
    Case(
        "nothing at all",
        '{"headers":{},"body":{"a":null}}',
        [],
        "",
        strict="empty",
        covered="empty",
        compatible="empty",
    ),
    Case(
        "headers come in canonical order",
        '{"body":[1],"headers":{"ocpi-to-party-id":"TWO","x-correlation-id":"1"},"params":{"limit":"5"}}',
        [CORRELATION, f"{H}['ocpi-to-party-id']", "$['params']['limit']", "$['body'][0]"],
        "1TWO51",
    ),
    Case(
        "the receiver before the sender",
        '{"headers":{"ocpi-from-party-id":"ONE","ocpi-to-party-id":"TWO"}}',
        [f"{H}['ocpi-to-party-id']", f"{H}['ocpi-from-party-id']"],
        "TWOONE",
        strict="order",
        signed_here=False,
    ),
]


def messages() -> Iterator[dict[str, Any]]:
    for case in CASES:
        notary = {"fields": case.fields, **seal(case.text, case.key), "rewrites": case.rewrites}
        packed = json.dumps(notary, ensure_ascii=False, separators=(",", ":")).encode()
        yield {
            "name": case.name,
            "note": case.note,
            "values_json": case.received or case.values,
            "serialized": base64.b64encode(brotli.compress(packed, quality=4, lgwin=22)).decode(),
            "serialized_gzip": base64.b64encode(gzip.compress(packed, mtime=0)).decode(),
            "strict": case.strict,
            "covered": case.covered,
            "compatible": case.compatible,
            "uncovered": case.uncovered,
            "signed": {
                "values_json": case.values,
                "private_key": "0x" + case.key.hex(),
                "fields": case.fields,
                "hash": notary["hash"],
                "rsv": notary["rsv"],
            }
            if case.signed_here
            else None,
        }


def write(name: str, content: dict[str, list[Any]]) -> None:
    """One vector a line."""
    groups = []
    for group, vectors in content.items():
        lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
        groups.append(f"{json.dumps(group)}: [\n{lines}\n]")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text("{\n" + ",\n".join(groups) + "\n}\n")


if __name__ == "__main__":
    eth = {"checksums": CHECKSUMS, "personal": list(personal()), "recovery": list(recoveries())}
    write("eth.json", eth)
    write("notary.json", {"messages": list(messages())})
