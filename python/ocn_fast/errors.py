"""Every exception this package raises on purpose, as one tree. A leaf: it imports nothing of the package.

    OcnError
    ├── ConfigError             a setting, a key file or the command line is wrong: the process exits 1
    ├── NotaryError             a signature was refused: `reason`, and the first leaf that differs
    ├── OcpiError               an answer of the hub itself, in OCPI's own error form
    ├── OutboundError           a call to another server gave no usable answer: `kind` says what became of it
    ├── RegistryFileError       a registry snapshot is not what it must be
    ├── RpcError                a chain's endpoint gave no usable answer: `kind` says what was wrong
    ├── StoreError              the database did not do what was asked
    │   ├── StoreConflict       somebody else has it already, or it changed under our hands
    │   ├── StoreFull           a bound on stored rows is reached
    │   └── StoreUnavailable    no answer from the database: nobody may be called unknown
    └── TransactionError        a change on chain did not come about: `sent` says how far it got

The native extension raises some of them, so their names and arguments are part of its interface.
Texts are ours: they name what happened, where, and what was expected, and carry no secret.
"""

from typing import Literal

Delivery = Literal["no", "maybe", "yes"]
"""Whether the message may have reached its receiver: the values of the header `OCN-Delivery`."""


class OcnError(Exception):
    """The root: whoever catches it has caught everything that the package raises on purpose."""


class ConfigError(OcnError):
    """Something that the operator set is wrong. The text is one line that says where and what to do.

    `source` is the file, environment variable or flag that holds the value, `key` the setting as `table.key`;
    both are None where the fault is not in one place.
    """

    def __init__(self, text: str, *, source: str | None = None, key: str | None = None) -> None:
        self.text = text
        self.source = source
        self.key = key
        super().__init__(": ".join(part for part in (source, key, text) if part))


class NotaryError(OcnError):
    """A signature, or what it signs, was refused.

    `reason` is the code of the failed check ("coverage", "hash", …), `path` the first leaf that differs
    (as `$['body']['id']`) and `rewrite` the number of the rewrite that failed, newest first; None where they
    say nothing.
    """

    def __init__(
        self, text: str, reason: str = "malformed", path: str | None = None, rewrite: int | None = None
    ) -> None:
        self.reason = reason
        self.path = path
        self.rewrite = rewrite
        super().__init__(text)


class OcpiError(OcnError):
    """An error answer of the hub: HTTP status, OCPI status code, text, and the delivery verdict."""

    def __init__(self, http_status: int, status_code: int, message: str, delivery: Delivery = "no") -> None:
        self.http_status = http_status
        self.status_code = status_code
        self.message = message
        self.delivery: Delivery = delivery
        super().__init__(message)


class OutboundError(OcnError):
    """A call to another server failed.

    `kind` is `not_sent` (no byte left), `maybe_sent` (bytes left, no whole answer came back) or `unusable`
    (an answer came and breaks a rule).
    """

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)


class RegistryFileError(OcnError):
    """A registry snapshot file is malformed, wrongly signed, too big or older than what is known."""


RpcKind = Literal[
    "batch",
    "busy",
    "chain",
    "code",
    "form",
    "http",
    "moved",
    "refused",
    "reset",
    "reverted",
    "size",
    "timeout",
    "transport",
    "variant",
]
"""What was wrong with an answer of an endpoint.

`batch`: it takes no arrays of calls (of that length). `busy`: HTTP 429. `chain`: another chain id than
expected. `code`: no contract at the address. `form`: not JSON-RPC, or a value that cannot be one. `http`:
another status than 200. `moved`: the block asked for is not there, or not that block any more. `refused`: an
error object. `reset`: a chain that begins with another block. `reverted`: the contract itself failed. `size`:
more than `registry.rpc_bytes`. `timeout`: not whole within `registry.rpc_timeout_ms`. `transport`: no
connection, or it broke. `variant`: a contract with another interface.
"""


class RpcError(OcnError):
    """An endpoint of a chain gave no usable answer. `data` is what a failed call returned, if anything.

    Texts never hold more of the endpoint's URL than scheme, host and port.
    """

    def __init__(self, kind: RpcKind, text: str, data: bytes = b"") -> None:
        self.kind: RpcKind = kind
        self.data = data
        super().__init__(text)


class StoreError(OcnError):
    """The database did not do what was asked."""


class StoreConflict(StoreError):
    """What was to be written is taken already, or changed in between."""


class StoreFull(StoreError):
    """A bound on stored rows is reached (`links.per_platform`)."""


class StoreUnavailable(StoreError):
    """The database gave no answer in time. It says nothing about what is stored."""


class TransactionError(OcnError):
    """A transaction did not come about, or nobody knows.

    `sent` says whether it left: "no", "maybe" (`transaction` is its hash, to be looked up) or "yes" (it is in
    a block and failed). `reason` is the contract's own, where it gave one.
    """

    def __init__(
        self, text: str, *, sent: Delivery = "no", transaction: str | None = None, reason: str | None = None
    ) -> None:
        self.sent = sent
        self.transaction = transaction
        self.reason = reason
        super().__init__(text)
