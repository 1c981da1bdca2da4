"""Signatures of a party: one small interface to make and check them, and whose signature counts.

`OwnKey` is `ocn_fast.notary` with a key of the party's own. `Sidecar` asks another program over HTTP, so that
a party can run with any implementation of the scheme. Checking has two halves: the signature itself (a
`Signer`), and whether the signers are those that the registry names (`Trust`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl

import httpx
import orjson

from ocn_fast import notary
from ocn_fast.errors import ConfigError, NotaryError
from ocn_fast.parties.ocpi import Party
from ocn_fast.registry import snapshot

Container = Literal["brotli", "gzip"]
Role = Literal["party", "operator", "hub", "unchecked"]


@dataclass(frozen=True)
class Signable:
    """What is signed of one message: the headers that count, the decoded query, the body as on the wire."""

    headers: tuple[tuple[str, str], ...]
    params: tuple[tuple[str, str], ...]
    body: bytes | None

    @classmethod
    def of_request(cls, headers: Iterable[tuple[str, str]], query: str, body: bytes | None) -> Signable:
        """Takes all headers of the message, in any case."""
        params = tuple(parse_qsl(query, keep_blank_values=True))
        return cls(_picked(headers, notary.REQUEST_HEADERS), params, body or None)

    @classmethod
    def of_response(cls, headers: Iterable[tuple[str, str]], body: bytes) -> Signable:
        """Takes all headers of the answer, and its body without the signature."""
        return cls(_picked(headers, notary.RESPONSE_HEADERS), (), body)

    def values(self) -> notary.Values:
        return notary.Values(self.headers or None, self.params or None, self.body)

    def document(self) -> bytes:
        """`{"headers", "params", "body"}` as JSON, the body with the very bytes it has."""
        parts = {b"headers": self.headers, b"params": self.params}
        members = [b'"%b":%b' % (name, orjson.dumps(dict(pairs))) for name, pairs in parts.items()]
        if self.body is not None:
            members.append(b'"body":' + self.body)
        return b"{" + b",".join(members) + b"}"


def _picked(headers: Iterable[tuple[str, str]], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """In the order in which they are signed."""
    found = [(name.lower(), value) for name, value in headers]
    return tuple((name, value) for name in names for given, value in found if given == name)


@dataclass(frozen=True)
class Seal:
    """What a valid signature says: who signed, newest first, and which leaves a rewriter changed."""

    chain: tuple[str, ...]
    """Addresses; the last is the origin, the others rewrote on the way."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Path of each rewritten leaf, with the value that the origin had signed."""

    @property
    def origin(self) -> str:
        return self.chain[-1]


class Signer(Protocol):
    """Makes and checks signatures."""

    address: str
    """Of the key that signs, in EIP-55 form."""

    async def sign(self, message: Signable, container: Container) -> str:
        """The signature's text. Raises `NotaryError` if the message cannot be signed."""
        ...

    async def verify(self, signature: str, message: Signable) -> Seal:
        """Raises `NotaryError` unless the signature covers exactly this message."""
        ...

    async def close(self) -> None: ...


class OwnKey:
    """Signs with a key of the party's own, through the public notary API."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.address = notary.address_of(key)

    async def sign(self, message: Signable, container: Container) -> str:
        return notary.sign(message.values(), self._key).serialize(container)

    async def verify(self, signature: str, message: Signable) -> Seal:
        opened = notary.parse(signature)
        verdict = notary.verify(opened, message.values())
        before: dict[str, str] = {}
        for rewrite in reversed(opened.rewrites):  # newest first: the oldest has the last word
            before |= {path: str(value) for path, value in rewrite.values.items()}
        return Seal(tuple(verdict.chain), before)

    async def close(self) -> None:
        """Nothing is held open."""


class Sidecar:
    """Asks another program, which holds the key, to sign and verify.

    `GET {url}/address` -> `{"address"}` · `POST {url}/sign` `{"values", "container"}` -> `{"signature"}` ·
    `POST {url}/verify` `{"signature", "values"}` -> `{"chain": [newest, …], "before": {path: value}}`, or
    HTTP 422 `{"error", "reason"}` if it does not hold. `values` is `{"headers", "params", "body"}`.
    """

    def __init__(self, url: str, address: str, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._client = client
        self.address = address

    @classmethod
    async def connect(cls, url: str) -> Sidecar:
        """Raises `ConfigError` if the program does not answer."""
        client = httpx.AsyncClient(trust_env=False, timeout=10)
        try:
            answer = await client.get(f"{url.rstrip('/')}/address")
            return cls(url, str(answer.raise_for_status().json()["address"]), client)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            await client.aclose()
            raise ConfigError(f"the signer at {url} gives no address: {type(error).__name__}") from None

    async def sign(self, message: Signable, container: Container) -> str:
        answer = await self._ask("sign", message, {"container": container})
        return str(answer["signature"])

    async def verify(self, signature: str, message: Signable) -> Seal:
        answer = await self._ask("verify", message, {"signature": signature})
        return Seal(tuple(answer["chain"]), dict(answer.get("before") or {}))

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, verb: str, message: Signable, more: Mapping[str, Any]) -> dict[str, Any]:
        document = b'{"values":' + message.document() + b"," + orjson.dumps(more)[1:]
        try:
            answer = await self._client.post(
                f"{self._url}/{verb}", content=document, headers={"content-type": "application/json"}
            )
            content: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NotaryError(f"the signer did not answer: {type(error).__name__}", "malformed") from None
        if answer.status_code != httpx.codes.OK:
            raise NotaryError(str(content.get("error", "refused")), str(content.get("reason", "malformed")))
        return content


class Untrusted(NotaryError):
    """A valid signature, but not by anybody whom the registry names for this message."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "signer")


@dataclass(frozen=True)
class Listing:
    """The registry's entry of one party: its own address and its operator's."""

    address: str
    operator: str


@dataclass(frozen=True)
class Trust:
    """Whose signatures count, as the registry has it. Without a registry every signer does."""

    listings: Mapping[Party, Listing] | None = None
    operators: frozenset[str] = frozenset()

    @classmethod
    def read(cls, file: Path | None, signers: Sequence[str]) -> Trust:
        """From a registry snapshot that one of `signers` signed; without any named, whoever did.

        Raises `RegistryFileError` if it is not what it must be.
        """
        if file is None:
            return cls()
        return cls.of(snapshot.read(file, signers=signers or None).snapshot)

    @classmethod
    def of(cls, content: snapshot.Snapshot) -> Trust:
        """As a registry lists them."""
        listings = {
            Party.of(one.country_code, one.party_id): Listing(one.address.lower(), one.operator.lower())
            for one in content.parties
        }
        return cls(listings, frozenset(one.address.lower() for one in content.operators))

    def judge(self, seal: Seal, sender: Party) -> Role:
        """Who signed for a party: itself or its operator; others in the chain must be operators.

        Raises `Untrusted` otherwise.
        """
        if self.listings is None:
            return "unchecked"
        listing = self.listings.get(sender)
        if listing is None:
            raise Untrusted(f"{sender} is not in the registry")
        if any(signer.lower() not in self.operators for signer in seal.chain[:-1]):
            raise Untrusted("rewritten by somebody who is no operator in the registry")
        if seal.origin.lower() == listing.address:
            return "party"
        if seal.origin.lower() == listing.operator:
            return "operator"
        raise Untrusted(f"signed neither by {sender} nor by its operator")

    def judge_hub(self, seal: Seal, own: Party) -> Role:
        """Who signed an answer that the hub made itself: it must be the operator of our own party."""
        if self.listings is None:
            return "unchecked"
        listing = self.listings.get(own)
        if listing is None or seal.origin.lower() != listing.operator or len(seal.chain) != 1:
            raise Untrusted("not signed by our operator")
        return "hub"
