"""The OCN Notary: signing OCPI messages, and checking who signed them.

A message is signed leaf by leaf: the five OCPI headers of a request (or four of a response), the query
parameters and the JSON body. The signature travels as text: in the header `OCN-Signature` of a request, in
the member `ocn_signature` of a response body. A node that must change a signed value stashes the old one with
the signature over it and signs anew, so a receiver sees every signatory, the origin last.

What is on the wire is what is signed: give bodies as the bytes that are sent or were received.

>>> from ocn_fast import notary
>>> key = bytes.fromhex("46" * 32)
>>> headers = {
...     "X-Correlation-ID": "b1a4", "OCPI-from-country-code": "DE", "OCPI-from-party-id": "CPO",
...     "OCPI-to-country-code": "NL", "OCPI-to-party-id": "MSP",
... }
>>> body = b'{"id": "LOC1", "evses": [{"uid": "E1", "status": "AVAILABLE"}]}'
>>> signed = notary.sign(notary.request_values(headers, "limit=10", body), key)
>>> signed.fields[-1]
"$['body']['evses'][0]['status']"
>>> text = signed.serialize()                       # the value of the header OCN-Signature

The receiver:

>>> received = notary.request_values(headers, "limit=10", body)
>>> notary.verify(text, received).signatory
'0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F'
>>> tampered = notary.request_values(headers, "limit=10", body.replace(b"LOC1", b"LOC2"))
>>> notary.verify(text, tampered)
Traceback (most recent call last):
    ...
ocn_fast.errors.NotaryError: the message has been modified

A response carries its signature inside the body:

>>> answer = b'{"status_code": 1000, "timestamp": "2026-01-01T00:00:00Z", "data": []}'
>>> sent = notary.attach(answer, notary.sign(notary.response_values({}, answer), key).serialize())
>>> body, text = notary.detach(sent)
>>> body == answer, notary.verify(text, notary.response_values({}, sent)).uncovered
(True, 0)

The scheme: `spec/ocn-notary.md`; the reasons of `NotaryError`: its section 10.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal, Self
from urllib.parse import parse_qsl

from ocn_fast import _native
from ocn_fast.errors import NotaryError

__all__ = [
    "DEFAULT_LIMITS",
    "LINK",
    "LOCATION",
    "REQUEST_HEADERS",
    "RESPONSE_HEADERS",
    "RESPONSE_URL_BODY",
    "RESPONSE_URL_PARAMS",
    "Container",
    "Limits",
    "Notary",
    "NotaryError",
    "NumberForm",
    "Policy",
    "Rewrite",
    "Values",
    "Verdict",
    "address_of",
    "attach",
    "detach",
    "new_key",
    "parse",
    "request_values",
    "resign",
    "response_values",
    "sign",
    "verify",
]

Container = Literal["brotli", "gzip"]
"""How the notary object is compressed: `brotli` for v1 nodes and the JavaScript package, `gzip` for v2
nodes."""

Policy = Literal["strict", "covered", "compatible"]
"""How much must be signed, and how. `strict`: every leaf in order, one form of signature. `covered`: every
leaf, in any order of the body. `compatible`: unsigned leaves are only counted; it accepts forgeries."""

NumberForm = Literal["js", "jvm"]
"""How numbers become text: as ECMAScript or as Java writes them."""

REQUEST_HEADERS = (
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
)
"""What is signed of a request's headers, in canonical order (ocn-notary.md 2)."""

RESPONSE_HEADERS = ("x-limit", "x-total-count", "link", "location")
"""What is signed of a response's headers, in canonical order (ocn-notary.md 2)."""

RESPONSE_URL_BODY = "$['body']['response_url']"
RESPONSE_URL_PARAMS = "$['params']['response_url']"
LINK = "$['headers']['link']"
LOCATION = "$['headers']['location']"

Pairs = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a notary object and of the message it signs; one above is refused (`size`, `limits`)."""

    text_bytes: int = 98_304
    """Characters of the Base64 text."""
    notary_bytes: int = 1 << 20
    """Bytes of the inflated notary object."""
    fields: int = 20_000
    """Signed leaves."""
    rewrites: int = 16
    rewrite_paths: int = 16
    """Values stashed by one rewrite."""
    depth: int = 128
    """Brackets open at once in the message, counted from the values object."""
    number_chars: int = 1_000
    """Characters of one number."""


DEFAULT_LIMITS = Limits()

_bounds = attrgetter(*(bound.name for bound in fields(Limits)))
"""Limits as the native side takes them. `astuple` would copy each of them deeply: a fifth of a recovery."""


class Values:
    """What is signed of one message.

    `headers`: lower-case names out of `REQUEST_HEADERS` or `RESPONSE_HEADERS`, values as on the wire.
    `params`: decoded query parameters in the order of the URL. `body`: JSON as bytes, taken as it is; any
    other object is serialised once, and `body_bytes` is what must be sent then. `as_text` takes the body's
    bytes (UTF-8) as one string, as existing nodes do with bodies of custom modules.
    """

    __slots__ = ("_body", "_native")

    def __init__(
        self,
        headers: Pairs | None = None,
        params: Pairs | None = None,
        body: object = None,
        *,
        as_text: bool = False,
    ) -> None:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        self._body = body
        text = body.decode() if as_text and body is not None else None
        self._native = _native.NotaryValues(_pairs(headers), _pairs(params), body, text)

    @classmethod
    def from_document(cls, document: bytes) -> Self:
        """The values object as JSON: `{"headers": …, "params": …, "body": …}`. Read when it is used."""
        values = cls.__new__(cls)
        values._body = None
        values._native = _native.NotaryValues.from_document(document)
        return values

    @property
    def body_bytes(self) -> bytes | None:
        """The body as it must be sent; None without a body, or if the values came as one document."""
        return self._body


def _pairs(pairs: Pairs | None) -> list[tuple[str, str]] | None:
    if pairs is None:
        return None
    return list(pairs.items() if isinstance(pairs, Mapping) else pairs)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A stashed signature: `values` (path to previous value) restore the message that it signs."""

    values: Mapping[str, object]
    hash: str
    rsv: str
    signatory: str


class Notary:
    """A notary object: signed paths, signature, stashed signatures. Made by `sign`, `parse` and `resign`.

    A parsed object has the right shape; only `verify` says whether it is true.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.Notary) -> None:
        self._native = native

    @property
    def fields(self) -> list[str]:
        """The signed paths in order of signing, as `$['body']['evses'][0]['uid']`."""
        return self._native.fields

    @property
    def hash(self) -> str:
        """keccak-256 of the signed text: `0x` and 64 digits."""
        return self._native.hash

    @property
    def rsv(self) -> str:
        """The signature: `0x`, r, s and v."""
        return self._native.rsv

    @property
    def signatory(self) -> str:
        """The address that claims to have signed last, with its EIP-55 checksum."""
        return self._native.signatory

    @property
    def rewrites(self) -> list[Rewrite]:
        """Stashed signatures, oldest first."""
        return [
            Rewrite({path: json.loads(raw) for path, raw in values}, hash_, rsv, signatory)
            for values, hash_, rsv, signatory in self._native.rewrites
        ]

    @property
    def container(self) -> Container:
        """The container it came in: answer in the same. `brotli` for what was signed here."""
        return self._native.container

    def serialize(self, container: Container = "brotli") -> str:
        """The wire form: compressed JSON as Base64 text."""
        return self._native.pack(container)

    def to_json(self) -> str:
        """The notary object as JSON, for reading."""
        return self._native.to_json()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Notary) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.hash, self.rsv))

    def __repr__(self) -> str:
        return f"Notary(hash={self.hash!r}, signatory={self.signatory!r}, fields={len(self.fields)})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A true signature. Whether the signatories may sign for the sender is a question to the registry."""

    signatory: str
    """Who signed the message as it is."""
    chain: tuple[str, ...] = field(repr=False)
    """All signatories, newest first, origin last."""
    uncovered: int
    """Leaves that nobody signed; 0 except under the policy `compatible`."""
    number_form: Literal["any", "js", "jvm"]
    """The number form in which the newest signature is true; `any` where both give the same text."""

    @property
    def origin(self) -> str:
        """Who signed first."""
        return self.chain[-1]


def new_key() -> bytes:
    """A new private key from the operating system's random source: 32 bytes."""
    return _native.new_key()


def address_of(key: bytes) -> str:
    """The address of a private key, with its EIP-55 checksum. Raises `ValueError` for what is no key."""
    return _native.address_of(key)


def sign(
    values: Values, key: bytes, *, number_form: NumberForm = "js", limits: Limits = DEFAULT_LIMITS
) -> Notary:
    """Signs a message with a private key of 32 bytes.

    Raises `NotaryError` (`document`, `limits`) for what cannot be signed, `ValueError` for what is no key.
    """
    return Notary(_native.Notary.sign(values._native, key, number_form, _bounds(limits)))


def parse(text: str | bytes, *, limits: Limits = DEFAULT_LIMITS) -> Notary:
    """Reads the wire form; Brotli and gzip are told apart.

    Raises `NotaryError` (`encoding`, `size`, `container`, `format`, `limits`).
    """
    return Notary(_native.Notary.open(_ascii(text), None, _bounds(limits)))


def verify(
    notary: Notary | str | bytes,
    values: Values,
    *,
    policy: Policy = "strict",
    exempt: Iterable[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Verdict:
    """Checks every signature over `values`.

    `notary` in wire form is inflated only as far as the message itself can need. `exempt` are paths of leaves
    that need no signature; `ocn_signature` and an unlisted `ocn_verification_status` in the body never do.

    Raises `NotaryError`: `reason` is the first failing check, `path` the first leaf that differs where one
    can be told, `rewrite` the number of the rewrite concerned (0 is the newest).
    """
    bounds = _bounds(limits)
    if not isinstance(notary, Notary):
        notary = Notary(_native.Notary.open(_ascii(notary), values._native, bounds))
    chain, uncovered, form = notary._native.verify(values._native, policy, list(exempt), bounds)
    return Verdict(chain[0], tuple(chain), uncovered, form)


def resign(
    notary: Notary,
    before: Values,
    after: Values,
    changed: Sequence[str],
    key: bytes,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Notary:
    """Stashes the signature together with the values that change, and signs the new ones.

    `before` is what `notary` signs, `after` the same with other values at the paths `changed` (only the six
    paths that nodes may rewrite: ocn-notary.md 10). The order of the fields stays.

    Raises `NotaryError`: `rewrite_path` for any other path, `rewrite_value` where a leaf got lost,
    `rewrite_hash` if something else changed too, `limits`.
    """
    resigned = notary._native.resign(before._native, after._native, list(changed), key, _bounds(limits))
    return Notary(resigned)


def request_values(headers: Pairs, query: str = "", body: object = None) -> Values:
    """The values of a request: picks the signed headers (any case) out of all, decodes the raw query string.

    Headers that are missing are left out; one that comes twice is refused when the values are used.
    """
    params = parse_qsl(query, keep_blank_values=True, errors="strict") if query else None
    return Values(_pick(headers, REQUEST_HEADERS), params, body or None if isinstance(body, bytes) else body)


def response_values(headers: Pairs, body: object = None) -> Values:
    """The values of a response: picks the signed headers (any case) out of all. The body may hold its
    signature."""
    return Values(_pick(headers, RESPONSE_HEADERS), None, body or None if isinstance(body, bytes) else body)


def _pick(headers: Pairs, names: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name.lower(), value) for name, value in pairs if name.lower() in names]


def attach(body: bytes, signature: str) -> bytes:
    """The response body with `ocn_signature` as its last member; every other byte stays.

    Raises `NotaryError` (`document`) if the body is no JSON object or has that member already.
    """
    return _native.attach_signature(body, signature)


def detach(body: bytes) -> tuple[bytes, str | None]:
    """The response body without `ocn_signature`, and its value; None if it carries none.

    Raises `NotaryError` (`document`) if the body is no JSON object, `format` if the member is no string.
    """
    return _native.detach_signature(body)


def _ascii(text: str | bytes) -> bytes:
    # What is not ASCII is no Base64 either: it becomes `?` and is refused as that.
    return text.encode("ascii", "replace") if isinstance(text, str) else text
