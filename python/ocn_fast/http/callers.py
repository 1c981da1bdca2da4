"""Whose token a request shows: for versions, credentials and rules. Relayed messages are judged natively.

Our tokens are stored as digests and looked up by them, so no comparison takes a time that depends on a
secret. What strangers may cost is bounded: failures by source, look-ups of unknown tokens in all, and a short
memory of tokens that nobody holds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from starlette.requests import Request

from ocn_fast.config import Settings
from ocn_fast.http.responses import Refusal
from ocn_fast.http.sources import Failures, Networks, source_of
from ocn_fast.lookups import LookUps
from ocn_fast.store import Platform, RegistrationToken, Store
from ocn_fast.store.records import TokenEncoding

HEADER_CHARACTERS = 256
"""No form of a token is longer."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A caller whose token is known: exactly one of `platform` and `registration` is there.

    `token` is what he showed, decoded, and `encoding` the form in which he showed it.
    """

    token: str
    encoding: TokenEncoding
    platform: Platform | None
    registration: RegistrationToken | None


class Callers:
    """Recognises callers, within the bounds of `auth.*`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._proxies = Networks(settings.http.trusted_proxies)
        self._failures = Failures(settings.auth.failures_per_min)
        self._look_ups = LookUps(settings.auth)

    async def authenticate(self, request: Request) -> Authenticated:
        """The caller. Raises OcpiError: 401 with one text for whatever is wrong with the token, 429 for a
        source that fails too often, 503 if too many unknown tokens are being looked up; StoreUnavailable."""
        source = source_of(request, self._proxies)
        if self._failures.exceeded(source):
            raise Refusal.TOO_MANY_REQUESTS.error()
        header = request.headers.get("authorization", "")
        found = await self._find(candidates(header), header)
        if found is None:
            self._failures.add(source)
            raise Refusal.UNAUTHORIZED.error()
        request.state.authenticated = True
        return found

    async def platform(self, request: Request) -> Platform:
        """The platform that calls. A registration token is good for nothing here: 401."""
        caller = await self.authenticate(request)
        if caller.platform is None:
            request.state.authenticated = False
            raise Refusal.UNAUTHORIZED.error()
        return caller.platform

    async def _find(self, texts: list[str], header: str) -> Authenticated | None:
        mark = hashlib.sha256(header.encode(errors="replace")).digest()
        if not texts or self._look_ups.is_unknown(mark):
            return None
        if not self._look_ups.take():
            raise Refusal.UNAVAILABLE.error()
        found = await self._store.find_caller(texts)
        if found is None:
            self._look_ups.remember(mark)
            return None
        self._look_ups.give_back()
        encoding: TokenEncoding = "plain" if found.form == 0 else "base64"
        return Authenticated(texts[found.form], encoding, found.platform, found.registration)


def candidates(header: str) -> list[str]:
    """What an `Authorization` header may mean, in order: the token as it stands, Base64-decoded once, and
    that without a final newline (`ocpi-hub.md` 1.2). The scheme word is not checked. Empty: no token."""
    scheme, _, token = header.partition(" ")
    graphic = all("!" <= character <= "~" for character in token)
    if not scheme or not token or len(token) > HEADER_CHARACTERS or not graphic:
        return []
    try:
        decoded = base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return [token]
    return [token, decoded, *([decoded[:-1]] if decoded.endswith("\n") else [])]
