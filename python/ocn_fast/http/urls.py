"""URLs that peers give us: which of them may be kept.

Stricter than the native parser, which judges again at each call: a URL that is kept is one that it takes.
What address a host resolves to is judged there only, at the connection.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeGuard
from urllib.parse import urlsplit

MOST_CHARACTERS = 255
"""OCPI's type URL."""

_URL = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?([/?][!$-;=?-_a-~]*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_usable(url: object) -> TypeGuard[str]:
    """Whether this is an absolute http(s) URL of at most 255 characters that every parser reads alike: no
    user info, fragment, backslash, quotation mark, angle bracket, grave accent, blank or non-ASCII
    character, and a host in its plain spelling."""
    if not isinstance(url, str) or len(url) > MOST_CHARACTERS or "\\" in url or "#" in url:
        return False
    match = _URL.fullmatch(url)
    if match is None or not _is_plain_host(match["host"]):
        return False
    return match["port"] is None or 0 < int(match["port"]) <= 65_535


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a usable URL."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS[scheme]


def lies_under(url: str, base: str) -> bool:
    """Whether a usable URL leads to `base` or below it."""
    path, root = urlsplit(url).path.rstrip("/"), urlsplit(base).path.rstrip("/")
    return origin(url) == origin(base) and (path == root or path.startswith(root + "/"))


def _is_plain_host(host: str) -> bool:
    if host.startswith("["):
        return _is_address(ipaddress.IPv6Address, host[1:-1])
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Parsers take such hosts for addresses, in spellings that other parsers read differently.
        return _is_address(ipaddress.IPv4Address, host)
    return all(0 < len(label) <= 63 and _is_plain_label(label) for label in labels)


def _is_plain_label(label: str) -> bool:
    if not label.lower().startswith("xn--"):
        return True
    try:
        return label.lower().encode().decode("idna").encode("idna") == label.lower().encode()
    except UnicodeError:
        return False


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
