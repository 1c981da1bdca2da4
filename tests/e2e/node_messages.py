"""Messages between nodes, signed and checked by an implementation of RFC 9421 that is not ours.

`http-message-signatures` builds the signature base; only the algorithm is plugged in: the base as an Ethereum
personal message. Session keys are agreed on by `cryptography`. Nothing here shares code with the node.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_account import Account
from eth_account.messages import encode_defunct
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)
from http_message_signatures.algorithms import HMAC_SHA256
from peers import answer, envelope
from processes import until
from two_nodes import DOOR, SESSION, STRANGER, Message, Node, Nodes

VERSION = "2.2.1"
TAG = "ocn-relay/3"
LABEL = "ocn"

REQUEST = (
    "@method",
    "@path",
    "@query",
    "ocn-to-node",
    "x-request-id",
    "x-correlation-id",
    "ocpi-from-country-code",
    "ocpi-from-party-id",
    "ocpi-to-country-code",
    "ocpi-to-party-id",
    "ocn-ocpi-version",
    "ocn-deadline",
    "ocn-signature",
    "content-type",
    "content-digest",
)
"""What a request covers, in this order, of what is there."""

ASKING = tuple(name for name in REQUEST if name != "x-correlation-id" and not name.startswith("ocpi-"))
"""What a request for a session covers, in this order, of what is there."""

RESPONSE = (
    "@status",
    "content-digest",
    "x-request-id",
    "link",
    "location",
    "x-total-count",
    "x-limit",
    "ocn-origin",
    "ocn-delivery",
    '"signature";req;key="ocn"',
)
"""What an answer covers, in this order, of what is there."""

NO_HEADERS: Mapping[str, str] = {}
THEIRS = envelope("theirs")
"""What the stranger answers as a node."""


class PersonalSign(HTTPSignatureAlgorithm):
    """EIP-191 over the signature base. Keys are 32 bytes, public ones addresses."""

    algorithm_id = "secp256k1-keccak256"

    def __init__(self, public_key: str | None = None, private_key: bytes | None = None) -> None:
        self._address = public_key
        self._key = private_key

    def sign(self, message: bytes) -> bytes:
        """r, s and v."""
        return bytes(Account.sign_message(encode_defunct(message), self._key).signature)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature."""
        if Account.recover_message(encode_defunct(message), signature=signature) != self._address:
            raise InvalidSignature("signed by somebody else")


class Noting(PersonalSign):
    """The same; keeps the last signature base in `base`."""

    base = b""

    def sign(self, message: bytes) -> bytes:
        """r, s and v."""
        Noting.base = message
        return super().sign(message)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature."""
        Noting.base = message
        super().verify(signature, message)


class Keys(HTTPSignatureKeyResolver):
    """One private key; the public key of an address is the address."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> bytes:
        return self._key

    def resolve_public_key(self, key_id: str) -> str:
        return key_id


class SessionKeys(HTTPSignatureKeyResolver):
    """One key for both ends, under the name of one session."""

    def __init__(self, session: str, key: bytes) -> None:
        self._session = session
        self._key = key

    def resolve_private_key(self, key_id: str) -> bytes:
        """Raises KeyError."""
        return {self._session: self._key}[key_id]

    resolve_public_key = resolve_private_key


@dataclass(frozen=True)
class Session:
    """What both ends of a session have."""

    id: str
    request_key: bytes
    answer_key: bytes

    def sign(self, message: Message, answered: Message | None = None, **changes: Any) -> Message:
        """The message under this session; arguments as of `sign`."""
        means = HMAC_SHA256, SessionKeys(self.id, self._key(answered))
        return sign(message, b"", answered=answered, means=means, key_id=self.id, **changes)

    def verify(self, message: Message, answered: Message | None = None) -> list[str]:
        """What is covered. Raises InvalidSignature, or KeyError for another session."""
        means = HMAC_SHA256, SessionKeys(self.id, self._key(answered))
        return verify(message, answered, means)[1]

    def _key(self, answered: Message | None) -> bytes:
        return self.request_key if answered is None else self.answer_key


@dataclass
class Seen:
    """A message as the library wants it."""

    headers: dict[str, str]
    method: str = ""
    url: str = ""


@dataclass
class SeenAnswer:
    """An answer as the library wants it."""

    headers: dict[str, str]
    status_code: int
    request: Seen


def _seen(message: Message) -> Seen:
    # The authority is not covered.
    return Seen(dict(message.fields), message.method, f"http://node.example{message.target}")


def _seen_answer(answer: Message, request: Message) -> SeenAnswer:
    return SeenAnswer(dict(answer.fields), answer.status, _seen(request))


def digest(body: bytes) -> str:
    """The value of Content-Digest."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def present(message: Message, names: Sequence[str]) -> list[str]:
    """Those components that the message has."""
    return [name for name in names if name[0] in '@"' or message.get(name) is not None]


def request(
    node: Node,
    *,
    sender: str = STRANGER,
    to: str = "CPO",
    method: str = "GET",
    target: str = "/ocn/relay/sender/locations",
    body: bytes = b"",
    headers: Mapping[str, str] = NO_HEADERS,
) -> Message:
    """A request of another node to this one, without its signature."""
    fields = {
        "Host": "node.example",
        "OCN-To-Node": node.address,
        "X-Request-ID": str(uuid.uuid4()),
        "X-Correlation-ID": str(uuid.uuid4()),
        "OCPI-from-country-code": "DE",
        "OCPI-from-party-id": sender,
        "OCPI-to-country-code": "DE",
        "OCPI-to-party-id": to,
        "OCN-OCPI-Version": VERSION,
        "OCN-Deadline": "15",
    }
    if body:
        fields |= {"Content-Type": "application/json", "Content-Digest": digest(body)}
    if body or method != "GET":
        fields["Content-Length"] = str(len(body))
    return Message(f"{method} {target} HTTP/1.1", tuple((fields | dict(headers)).items()), body)


def sign(
    message: Message,
    key: bytes,
    *,
    answered: Message | None = None,
    components: Sequence[str] | None = None,
    age_s: int = 0,
    lifetime_s: int = 30,
    means: tuple[type[HTTPSignatureAlgorithm], HTTPSignatureKeyResolver] | None = None,
    **changes: Any,
) -> Message:
    """The message with its signature. `answered` is the request if it is an answer. `means` are other ones
    than `key`.

    `components` are those covered instead of the protocol's; `changes` override arguments of the library.
    """
    created = datetime.now(UTC) - timedelta(seconds=age_s)
    seen = _seen(message) if answered is None else _seen_answer(message, answered)
    algorithm, keys = means or (PersonalSign, Keys(key))
    signer = HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=keys)
    arguments = {
        "key_id": Account.from_key(key).address if key else "",
        "created": created,
        "expires": created + timedelta(seconds=lifetime_s),
        "nonce": os.urandom(16).hex(),
        "label": LABEL,
        "tag": TAG,
        "covered_component_ids": components or present(message, REQUEST if answered is None else RESPONSE),
        "use_existing_digest": message.get("content-digest") is not None,
    }
    signer.sign(seen, **(arguments | changes))
    signed = message
    for name in ("Signature-Input", "Signature"):
        signed = signed.without(name.lower()).having(name.lower(), seen.headers[name])
    return signed


def verify(
    message: Message,
    answered: Message | None = None,
    means: tuple[type[HTTPSignatureAlgorithm], HTTPSignatureKeyResolver] | None = None,
) -> tuple[str, list[str]]:
    """Who signed the message, and what is covered. Raises InvalidSignature. `answered` and `means` as in
    `sign`."""
    seen = _seen(message) if answered is None else _seen_answer(message, answered)
    algorithm, keys = means or (PersonalSign, Keys())
    verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=keys)
    (result,) = verifier.verify(seen, expect_tag=TAG, body=message.body)
    return str(result.parameters["keyid"]), list(result.covered_components)


def ask_session(node: Node, key: bytes) -> Session:
    """A session with the node for the operator of that key."""
    private = X25519PrivateKey.generate()
    own = private.public_key().public_bytes_raw()
    body = json.dumps({"key": base64.b64encode(own).decode()}).encode()
    fields = {
        "Host": "node.example",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Content-Digest": digest(body),
        "OCN-To-Node": node.address,
        "X-Request-ID": str(uuid.uuid4()),
        "OCN-Deadline": "8",
    }
    message = Message(f"POST {SESSION} HTTP/1.1", tuple(fields.items()), body)
    sent = sign(message, key, means=(Noting, Keys(key)), components=present(message, ASKING))
    base = Noting.base
    got = node.proxy.send(sent)
    assert (got.status, got.get("ocn-origin")) == (200, "node"), got
    assert verify(got, sent)[0] == node.address
    given = json.loads(got.body)
    parts = _Parts(
        Account.from_key(key).address, node.address, own, base64.b64decode(given["key"]), given["expires_s"]
    )
    return _derive(given["id"], private, parts.given, base, parts)


def give_session(message: Message, key: bytes, session_id: str, lasts_s: int = 60) -> tuple[bytes, Session]:
    """The answer of the operator of that key to a node that asks for a session, and the session."""
    asker, _ = verify(message, means=(Noting, Keys()))
    base = Noting.base
    private = X25519PrivateKey.generate()
    own = private.public_key().public_bytes_raw()
    theirs = base64.b64decode(json.loads(message.body)["key"])
    parts = _Parts(asker, Account.from_key(key).address, theirs, own, lasts_s)
    session = _derive(session_id, private, theirs, base, parts)
    body = json.dumps(
        {"id": session_id, "key": base64.b64encode(own).decode(), "expires_s": lasts_s}
    ).encode()
    return node_answer(key, message, {"OCN-Origin": "node"}, body=body), session


def by_session(message: Message) -> bool:
    """Whether a message is authenticated by a session's key."""
    return ';alg="hmac-sha256";' in (message.get("signature-input") or "")


def open_session(source: Node, target: Node) -> None:
    """Sends messages to another node until they go under a session; the first one asks for it."""

    def under_session() -> bool:
        with target.proxy.altering() as passed:
            source.ask(method="GET", target=f"/ocpi/sender/{VERSION}/locations", sign=False)
        return by_session(passed[-1].request)

    until(under_session, what="a session")


@dataclass(frozen=True)
class _Parts:
    """Who asks whom, with which public keys, for how long."""

    asker: str
    giver: str
    asked: bytes
    given: bytes
    lasts_s: int

    def info(self, direction: str) -> bytes:
        addresses = bytes.fromhex(self.asker[2:] + self.giver[2:])
        name = f"{TAG} session {direction}".encode()
        return name + addresses + self.asked + self.given + self.lasts_s.to_bytes(4, "big")


def _derive(name: str, private: X25519PrivateKey, theirs: bytes, base: bytes, parts: _Parts) -> Session:
    secret = private.exchange(X25519PublicKey.from_public_bytes(theirs))
    salt = hashlib.sha256(base).digest()
    request_key, answer_key = (
        HKDF(SHA256(), 32, salt, parts.info(direction)).derive(secret) for direction in ("request", "answer")
    )
    return Session(name, request_key, answer_key)


def parse(text: str, newline: str = "\r\n") -> Message:
    """A whole message from its text."""
    head, _, body = text.partition(newline * 2)
    line, *fields = head.split(newline)
    pairs = tuple((name, value) for name, _, value in (field.partition(": ") for field in fields))
    return Message(line, pairs, body.encode())


def node_answer(
    key: bytes,
    message: Message,
    headers: Mapping[str, str] = NO_HEADERS,
    *,
    status: str = "200 OK",
    body: bytes = THEIRS,
) -> bytes:
    """The answer of a node to a message, signed."""
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Content-Digest": digest(body),
        "X-Request-ID": message.get("x-request-id") or "",
        "OCN-Origin": "receiver",
    }
    fields |= headers
    return sign(Message(f"HTTP/1.1 {status}", tuple(fields.items()), body), key, answered=message).raw


def acting(
    nodes: Nodes,
    respond: Callable[[Message], bytes] | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Callable[[bytes], bytes]:
    """What the stranger answers as a node without sessions: who it is, and to messages what `respond` makes,
    or what `node_answer` does with these headers.
    """
    info = {
        "url": nodes.stranger.url,
        "address": Account.from_key(nodes.stranger_key).address.lower(),
        "relay": [TAG],
    }

    def reply(raw: bytes) -> bytes:
        message = parse(raw.decode())
        if message.target == SESSION:
            return answer(envelope(code=2000), status="404 Not Found")
        if not message.target.startswith(DOOR):
            return answer(json.dumps(info).encode())
        return respond(message) if respond else node_answer(nodes.stranger_key, message, headers)

    return reply


def relayed(seen: Sequence[Message]) -> list[Message]:
    """The messages among them: they came through the door of nodes and are no requests for sessions."""
    return [message for message in seen if message.target.startswith(DOOR) and message.target != SESSION]
