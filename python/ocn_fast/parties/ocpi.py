"""The words of OCPI 2.2.1 that both roles need: parties, tokens in headers, envelopes, lists, patches.

Pure functions over bytes and plain objects. Section numbers in the docstrings are those of OCPI's chapters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import orjson

from ocn_fast.errors import OcpiError

VERSION = "2.2.1"
SUCCESS = 1000
CLIENT_ERROR = 2000
INVALID = 2001
NOT_ENOUGH = 2002
UNKNOWN_LOCATION = 2003
UNKNOWN_TOKEN = 2004
SERVER_ERROR = 3000
UNUSABLE_API = 3001
UNSUPPORTED_VERSION = 3002
NO_ENDPOINTS = 3003

Object = dict[str, Any]
"""An OCPI object as JSON has it."""

_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


@dataclass(frozen=True)
class Party:
    """Country code and party id, kept in upper case: OCPI compares them without case."""

    country_code: str
    party_id: str

    @classmethod
    def of(cls, country_code: str, party_id: str) -> Party:
        """Raises `OcpiError` 2001 unless they are 2 letters and 3 letters or digits."""
        party = cls(country_code.upper(), party_id.upper())
        if not re.fullmatch("[A-Z]{2}/[A-Z0-9]{3}", str(party)):
            raise OcpiError(200, INVALID, "a party is a country code of 2 letters and an id of 3 characters")
        return party

    @classmethod
    def parse(cls, text: str) -> Party:
        """Reads `DE/CPO` or `DECPO`."""
        return cls.of(text[:2], text[2:].removeprefix("/"))

    def __str__(self) -> str:
        return f"{self.country_code}/{self.party_id}"

    @property
    def path(self) -> str:
        """As the owner's part of a URL: `DE/CPO`."""
        return f"{self.country_code}/{self.party_id}"

    def owns(self, thing: Mapping[str, Any]) -> bool:
        """Whether an object names this party as its owner."""
        named = (str(thing.get("country_code")).upper(), str(thing.get("party_id")).upper())
        return named == (self.country_code, self.party_id)


class Envelope(msgspec.Struct):
    """An answer's envelope (transport and format). `data` stays the bytes that came."""

    status_code: int
    data: msgspec.Raw = msgspec.Raw(b"")
    status_message: str | None = None
    timestamp: str | None = None


def read_envelope(body: bytes) -> Envelope | None:
    """The envelope of an answer, or None if the body is none."""
    try:
        return msgspec.json.decode(body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def envelope(status_code: int, data: object = None, message: str | None = None) -> bytes:
    """An answer's body. `data` of type `bytes` is JSON already and goes in untouched; None is left out."""
    members: list[bytes] = []
    if data is not None:
        members.append(b'"data":' + (data if isinstance(data, bytes) else orjson.dumps(data)))
    members.append(b'"status_code":%d' % status_code)
    if message is not None:
        members.append(b'"status_message":' + orjson.dumps(message))
    members.append(b'"timestamp":' + orjson.dumps(now()))
    return b"{" + b",".join(members) + b"}"


def now() -> str:
    """The time as OCPI writes it: UTC, milliseconds, `Z`."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment as OCPI writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """Reads a DateTime (types): UTC, `Z` may be missing, no offsets. Raises `OcpiError` 2001."""
    if not _DATETIME.fullmatch(text):
        raise OcpiError(200, INVALID, "a DateTime is YYYY-MM-DDThh:mm:ss[.fraction][Z]")
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise OcpiError(200, INVALID, "a DateTime is YYYY-MM-DDThh:mm:ss[.fraction][Z]") from None


def digest(body: bytes) -> str:
    """SHA-256 of bytes, in hex: how two parties compare what was on the wire."""
    return hashlib.sha256(body).hexdigest()


class _SignedData(msgspec.Struct):
    signed_data: msgspec.Raw = msgspec.Raw(b"")


def signed_data_digest(cdr: bytes) -> str:
    """Digest of the bytes of a CDR's `signed_data` as they stand; empty if there are none."""
    try:
        found = bytes(msgspec.json.decode(cdr, type=_SignedData).signed_data)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return digest(found) if found else ""


# --- tokens in the Authorization header (transport and format) ---


def authorization(token: str) -> str:
    """The header's value for a credentials token: Base64, as 2.2.1 wants it."""
    return f"Token {base64.b64encode(token.encode()).decode()}"


def presented_tokens(header: str | None) -> list[str]:
    """What the caller may have meant: the text as it stands, and decoded, as many peers do not encode."""
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "token" or not text:
        return []
    try:
        decoded = base64.b64decode(text, validate=True).decode().removesuffix("\n")
    except (binascii.Error, UnicodeDecodeError):
        return [text]
    return [text, decoded]


def is_token(header: str | None, token: str | None) -> bool:
    """Whether the header presents this token. A comparison takes the same time for every wrong one."""
    if token is None:
        return False
    wanted = hashlib.sha256(token.encode()).digest()
    given = (hashlib.sha256(text.encode()).digest() for text in presented_tokens(header))
    return any(hmac.compare_digest(one, wanted) for one in given)


# --- lists (transport and format, pagination) ---


@dataclass(frozen=True)
class ListQuery:
    """The four parameters that every list must understand."""

    date_from: datetime | None = None
    date_to: datetime | None = None
    offset: int = 0
    limit: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ListQuery:
        """Raises `OcpiError` 2001 for what is not a DateTime or not a number."""
        return cls(
            moment(query["date_from"]) if "date_from" in query else None,
            moment(query["date_to"]) if "date_to" in query else None,
            _whole(query.get("offset", "0"), "offset", least=0),
            _whole(query["limit"], "limit", least=1) if "limit" in query else None,
        )


@dataclass(frozen=True)
class Page:
    """One page of a list: its objects, and what the headers say about the rest."""

    objects: Sequence[Object]
    total: int
    most: int
    next_query: str | None

    def headers(self, url: str) -> dict[str, str]:
        """`Link` (absent on the last page), `X-Total-Count`, `X-Limit`. `url` is that of the list itself."""
        headers = {"link": f'<{url}?{self.next_query}>; rel="next"'} if self.next_query else {}
        return headers | {"x-total-count": str(self.total), "x-limit": str(self.most)}


def page(objects: Sequence[Object], query: ListQuery, most: int) -> Page:
    """Cuts one page out of a list: `date_from` inclusive, `date_to` exclusive, at most `most` objects."""
    wanted = [one for one in objects if _within(moment(one["last_updated"]), query)]
    size = min(query.limit or most, most)
    end = query.offset + size
    rest: str | None = None
    if end < len(wanted):
        filters = {"date_from": query.date_from, "date_to": query.date_to}
        kept = {name: stamp(at) for name, at in filters.items() if at is not None}
        rest = urlencode(kept | {"offset": str(end), "limit": str(size)})
    return Page(wanted[query.offset : end], len(wanted), most, rest)


def next_link(header: str | None) -> str | None:
    """The target of `rel="next"` in a `Link` header; None on the last page."""
    for target, parameters in re.findall(r"<([^>]*)>([^,<]*)", header or ""):
        if re.search(r';\s*rel\s*=\s*"?next"?\s*(;|$)', parameters):
            return str(target)
    return None


def _within(at: datetime, query: ListQuery) -> bool:
    return (query.date_from is None or at >= query.date_from) and (
        query.date_to is None or at < query.date_to
    )


def _whole(text: str, name: str, least: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise OcpiError(200, INVALID, f"{name} must be a whole number of at least {least}")
    return int(text)


# --- objects ---


def patched(thing: Object, patch: Object) -> Object:
    """An object after a PATCH: given fields replace, others stay; `charging_periods` are appended (sessions).

    Raises `OcpiError` 2001 without `last_updated`, which every PATCH must carry.
    """
    if not isinstance(patch.get("last_updated"), str):
        raise OcpiError(200, INVALID, "a PATCH must carry last_updated")
    merged = thing | patch
    if "charging_periods" in patch:
        merged["charging_periods"] = [
            *(thing.get("charging_periods") or []),
            *(patch["charging_periods"] or []),
        ]
    return merged


def parse_object(body: bytes) -> Object:
    """A request's body as an object. Raises `OcpiError` 400/2001 for no JSON, 200/2001 for no object."""
    try:
        thing = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise OcpiError(400, INVALID, "the body is not JSON") from None
    if not isinstance(thing, dict):
        raise OcpiError(200, INVALID, "the body must be an object")
    return thing


def member(thing: Mapping[str, Any], *names: str) -> list[str]:
    """Text members that must be there. Raises `OcpiError` 2001 naming the first that is not."""
    for name in names:
        if not isinstance(thing.get(name), str) or not thing[name]:
            raise OcpiError(200, INVALID, f"{name} is missing")
    return [thing[name] for name in names]


def join(url: str, *segments: str) -> str:
    """An endpoint's URL with path segments behind it, each percent-encoded, one slash between them."""
    return "/".join([url.rstrip("/"), *(quote(one, safe="") for one in segments)])


def origin(url: str) -> str:
    """Scheme, host and port of a URL, default ports spelt out. Raises `OcpiError` 2001 if it has none."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        raise OcpiError(200, INVALID, "the URL is not http or https") from None
    if not parts.hostname or "@" in parts.netloc:
        raise OcpiError(200, INVALID, "the URL names no host")
    return f"{parts.scheme}://{parts.hostname}:{port}"
