"""The native extension: signatures, the routing table and the journey of a message.

Everything here is written in Rust (`rust/python`). This file is its documentation and what type checkers see;
a test compares it with the extension.
"""

from typing import Literal, final

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
    """The address with its EIP-55 checksum; its case is not looked at. Raises `ValueError` for other text."""

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
