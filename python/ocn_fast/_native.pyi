"""The native extension: signatures, the routing table and the journey of a message.

Everything here is written in Rust (`rust/python`). This file is its documentation and what type checkers
see; a test compares it with the extension.
"""

from asyncio import Future
from collections.abc import Callable
from typing import Any, Literal, final

__version__: str
"""The version of the package, as the extension was built."""

def keccak256(data: bytes) -> bytes:
    """keccak-256 with the padding from before SHA-3: 32 bytes."""

def new_key() -> bytes:
    """A new private key from the operating system's random source: 32 bytes."""

def address_of(key: bytes) -> str:
    """The address of a private key, with its EIP-55 checksum. Raises `ValueError` for what is no key."""

def personal_sign(key: bytes, message: bytes) -> str:
    """Signs as EIP-191 `personal_sign`: `0x`, r, s, v. Raises `ValueError` for what is no key."""

def personal_recover(message: bytes, rsv: str) -> str:
    """The address that signed `message`; high s and v 0, 1 are taken too. Raises `ValueError` if there is
    none."""

def checksum_address(address: str) -> str:
    """The address with its EIP-55 checksum; its case is not looked at. Raises `ValueError` for other
    text."""

def attach_signature(body: bytes, signature: str) -> bytes:
    """`body` with `ocn_signature` as its last member. Raises `NotaryError`."""

def detach_signature(body: bytes) -> tuple[bytes, str | None]:
    """`body` without `ocn_signature`, and that member's text. Raises `NotaryError`."""

@final
class NotaryValues:
    """A message to sign or to verify, for `ocn_fast.notary.Values`."""

    def __new__(
        cls,
        headers: list[tuple[str, str]] | None,
        params: list[tuple[str, str]] | None,
        body: bytes | None,
        text: str | None,
    ) -> NotaryValues:
        """`text` is a body that counts as one string, in place of `body`."""

    @staticmethod
    def from_document(document: bytes) -> NotaryValues:
        """The values object as JSON."""

@final
class Notary:
    """A notary object, for `ocn_fast.notary.Notary`. Limits are those of `ocn_fast.notary.Limits`, in
    order."""

    @staticmethod
    def sign(values: NotaryValues, key: bytes, form: str, limits: tuple[int, ...]) -> Notary:
        """Signs a message; `form` is `js` or `jvm`. Raises `NotaryError`, `ValueError`."""

    @staticmethod
    def open(text: bytes, values: NotaryValues | None, limits: tuple[int, ...]) -> Notary:
        """Reads the wire form; `values` bound how much is inflated. Raises `NotaryError`."""

    def pack(self, container: str) -> str:
        """The wire form; `container` is `brotli` or `gzip`."""

    def verify(
        self, values: NotaryValues, policy: str, exempt: list[str], limits: tuple[int, ...]
    ) -> tuple[list[str], int, Literal["any", "js", "jvm"]]:
        """Signatories (newest first), uncovered leaves, number form. Raises `NotaryError`."""

    def resign(
        self,
        before: NotaryValues,
        after: NotaryValues,
        changed: list[str],
        key: bytes,
        limits: tuple[int, ...],
    ) -> Notary:
        """Stashes this signature with the values that change, and signs anew. Raises `NotaryError`,
        `ValueError`."""

    def to_json(self) -> str:
        """The notary object as JSON text."""

    @property
    def fields(self) -> list[str]:
        """The signed paths, in order of signing."""

    @property
    def hash(self) -> str:
        """`0x` and 64 digits."""

    @property
    def rsv(self) -> str:
        """`0x` and 130 digits."""

    @property
    def signatory(self) -> str:
        """With its EIP-55 checksum."""

    @property
    def container(self) -> Literal["brotli", "gzip"]:
        """The container it came in."""

    @property
    def rewrites(self) -> list[tuple[list[tuple[str, str]], str, str, str]]:
        """Oldest first: paths with previous values as JSON text, hash, rsv, signatory."""

@final
class Node:
    """The native half of a worker: table, relay, outbound client, journal and message log.

    Belongs to the process and event loop on which it is opened. Raises `RuntimeError` where it is used
    before `open`, after `close`, or in a forked process.
    """

    def __new__(cls, settings: bytes, key: bytes, ring: list[tuple[int, bytes]]) -> Node:
        """`settings`: `Settings.native()`. `key`: the node's signing key, 32 bytes. `ring`: the master keys
        that seal page links and sessions, current one first, each with its id (0 to 255) and 32 bytes.

        Raises `ConfigError` where one of them cannot be used.
        """

    def open(self, on_work: Callable[[int, str, bytes], None], work_timeout_ms: int) -> int:
        """Starts runtime, client and log in this process, for the running event loop.

        Returns the file descriptor that becomes readable when `drain` has something to do; it lives until
        `close`.

        `on_work(id, verb, payload)` is called from `drain` where a message needs SQL; `payload` is JSON and
        the answer goes to `resume`. Verbs: `reserve` (a link: id, caller, owner, module, role, method,
        place, url, expires_at in Unix milliseconds, platform), `fill` (id, url), `find` (id; answered with
        a link or None). A question that is not answered within `work_timeout_ms` counts as `unavailable`.
        """

    def drain(self) -> None:
        """Delivers everything that has completed: resolves awaitables, hands out SQL work. Never blocks."""

    def admit(self, scope: dict[str, Any]) -> Gate:
        """Reads the head of a request from an ASGI HTTP scope (with `raw_path`), authenticates its sender (a
        platform by its token, a node by its signature) and books room for its body. Takes microseconds and
        awaits nothing."""

    def unavailable(self, scope: dict[str, Any]) -> Reply:
        """The refusal 503/3000 for a request that cannot be judged while the store does not answer."""

    def apply(self, change: bytes) -> None:
        """Applies a change to the table: JSON as `store` writes it. Other threads go on meanwhile; a large
        change takes time, so call it off the event loop. Raises `ValueError` where the change is malformed
        or older than the table, which then stays as it was."""

    def fetch(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes | None,
        deadline_ms: int,
        max_bytes: int,
    ) -> Future[tuple[int, list[tuple[str, bytes]], bytes]]:
        """Calls another server, for handshakes: the same checks of addresses as for messages, no redirects.

        `deadline_ms` is for everything, `max_bytes` the largest answer taken. Resolves to status, headers
        (names in lower case) and body; raises `OutboundError`. A call that nobody awaits any more still
        runs to its end.
        """

    def resume(
        self, id: int, payload: bytes | None, error: Literal["unavailable", "full", "taken"] | None
    ) -> None:
        """Answers the SQL work of that id: JSON or None, or why it was not done. Late answers are
        ignored."""

    def explain(self, query: bytes) -> bytes:
        """Where a message would go, and why: the stages of the relay, run dry. JSON in (from, to, module,
        role, method, path) and out (steps, relayed, statuses, the decision record). Raises `ValueError`
        where the query names no valid ids."""

    def stats(self) -> bytes:
        """Counters and levels of this worker as JSON: relay (by module, role and outcome, histograms),
        in_flight, buffered_bytes, completions, wakes, panics, log, connections, last_seen (Unix
        milliseconds by platform id), table (version, block, block_time, sizes)."""

    def in_flight(self) -> int:
        """Messages in work, also those whose requester is gone."""

    def sign_answer(self, body: bytes, container: Literal["brotli", "gzip"]) -> bytes:
        """`body`, an answer of the hub's own, with `ocn_signature` added, signed by the node's key."""

    def close(self) -> None:
        """Ends runtime and log; refuses SQL work that still waits. Blocks up to two seconds where a thread
        hangs. Stop watching the descriptor first. Harmless when repeated."""

@final
class Gate:
    """One message between its head and its body."""

    @property
    def reply(self) -> Reply | None:
        """The refusal, where the head was enough to refuse; the body then stays unread."""

    @property
    def announced(self) -> int | None:
        """Bytes of body to come; 0 for none, None where the length is not known."""

    def relay(self, body: bytes) -> Future[Reply]:
        """Hands the whole body over and lets the relay go. The body is borrowed, not copied. Cancelling the
        future cancels the waiting only: see `cancel`. Raises `RuntimeError` where the gate has been
        passed."""

    def grow(self, more: int) -> Reply | None:
        """Takes room for bytes of a body whose length is not known. Returns the refusal where the body is
        too large (413) or the node is full (503): the gate has ended then."""

    def refuse(self, why: Literal["gone", "slow"]) -> Reply:
        """Ends a message whose body does not come: the requester hung up, or took too long (408)."""

    def cancel(self) -> bool:
        """The requester hung up. True: nothing has left for the receiver and nothing will. False: it may
        have left; the relay runs on to its end."""

@final
class Reply:
    """An answer, as the two messages for ASGI's `send`."""

    @property
    def start(self) -> dict[str, Any]:
        """`http.response.start`: status and headers (names in lower case)."""

    @property
    def body(self) -> dict[str, Any]:
        """`http.response.body`: the whole body."""

    @property
    def stale(self) -> Literal["token", "sender", "receiver"] | None:
        """Set where this worker's table may only be behind: what it did not know."""
