"""The signature scheme in plain Python: enough of it to judge messages that no node has rewritten.

One thing is left to the JSON library: a document with a member that comes twice is read, not refused.
"""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import brotli
import orjson
from coincurve import PublicKey
from Crypto.Hash import keccak

REQUEST_HEADERS = (
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
)
RESPONSE_HEADERS = ("x-limit", "x-total-count", "link", "location")
_RSV = re.compile("0x[0-9a-f]{128}1[bc]")
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_UNREADABLE = (
    ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, zlib.error, brotli.error
)  # fmt: skip
_GZIP = b"\x1f\x8b\x08"
_UNCOVERED = {"$['body']['ocn_signature']"}


class Refused(Exception):
    """The message is not the one that was signed, or its signature is none."""


def values(
    headers: Mapping[str, str], names: Sequence[str], params: Mapping[str, str], body: Any
) -> dict[str, Any]:
    """What is signed of a message; `body` is parsed JSON, or None."""
    picked = {name: headers[name] for name in names if name in headers}
    return {"headers": picked, "params": dict(params), "body": body}


def signer(text: str, signed: Mapping[str, Any]) -> str:
    """The address, in lower case, that signed exactly these values. Raises Refused."""
    try:
        packed = base64.b64decode(text, validate=True)
        inflate = gzip.decompress if packed.startswith(_GZIP) else brotli.decompress
        notary = orjson.loads(inflate(packed))
        fields, claimed, rsv = notary["fields"], notary["hash"], notary["rsv"]
        signatory = notary["signatory"].lower()
        rewritten = notary.get("rewrites")
    except _UNREADABLE as error:
        raise Refused(f"no signature: {error}") from None
    if rewritten:
        raise Refused("rewritten by a node")
    leaves = [(path, leaf) for path, leaf in _walk("$", signed) if path not in _UNCOVERED]
    if not fields or fields != [path for path, _ in leaves]:
        raise Refused("the signature does not cover the message")
    digest = _keccak("".join(leaf for _, leaf in leaves).encode())
    if claimed != f"0x{digest.hex()}":
        raise Refused("the message has been modified")
    if _recover(claimed.encode(), rsv) != signatory:
        raise Refused("signed by somebody else")
    return str(signatory)


def _walk(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Paths and texts of all leaves that are not empty, in document order."""
    if isinstance(value, dict):
        for key, member in value.items():
            if "'" in key:
                raise Refused("a quote in a key")
            yield from _walk(f"{path}['{key}']", member)
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _walk(f"{path}[{index}]", element)
    elif value is not None and value != "":
        yield path, _text(value)


def _text(value: str | float | bool) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value)


def number_text(value: float) -> str:
    """ECMAScript's text of a number."""
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    # Python and ECMAScript agree on the digits, not on where an exponent begins.
    mantissa, _, exponent = f"{float(value)!r}".partition("e")
    negative, mantissa = mantissa.startswith("-"), mantissa.removeprefix("-")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + ("" if fraction == "0" else fraction)).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    digits = digits.rstrip("0")
    if not digits:
        return "0"
    if 0 < point <= 21:
        text = digits.ljust(point, "0")
        text = text[:point] + ("." + text[point:] if len(text) > point else "")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return "-" + text if negative else text


def _recover(message: bytes, rsv: Any) -> str:
    if not isinstance(rsv, str) or not _RSV.fullmatch(rsv):
        raise Refused("no signature")
    signature = bytes.fromhex(rsv[2:])
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise Refused("a signature that can be written in two ways")
    digest = _keccak(b"\x19Ethereum Signed Message:\n%d%s" % (len(message), message))
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
        )
    except ValueError as error:
        raise Refused(f"no signature: {error}") from None
    return "0x" + _keccak(key.format(compressed=False)[1:])[-20:].hex()


def _keccak(data: bytes) -> bytes:
    return keccak.new(data=data, digest_bits=256).digest()
