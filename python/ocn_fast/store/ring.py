"""The key ring: master keys that encrypt the tokens of others at rest and seal page links in the core.

Each ciphertext begins with the id byte of its key, so keys can be rotated: the first one encrypts, all of
them decrypt. From a master key a key of its own is derived for this use; purpose and row are bound to the
ciphertext, so that one cannot be put in the place of another.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ocn_fast.errors import StoreError
from ocn_fast.keyfiles import read_key_ring

KEY_BYTES = 32
_NONCE_BYTES = 12
_USE = b"ocn-fast store secrets 1"


class KeyRing:
    """Master keys, current one first."""

    def __init__(self, entries: list[tuple[int, bytes]]) -> None:
        """`entries` are id (0 to 255) and key (32 bytes). Raises ValueError otherwise."""
        ids = [key_id for key_id, _ in entries]
        if not entries or len(set(ids)) != len(ids) or not all(0 <= key_id <= 255 for key_id in ids):
            raise ValueError("a key ring holds at least one key, and ids from 0 to 255, each once")
        if any(len(key) != KEY_BYTES for _, key in entries):
            raise ValueError(f"a key of the ring is {KEY_BYTES} bytes long")
        self._entries = tuple(entries)
        self._ciphers = {key_id: ChaCha20Poly1305(_derive(key)) for key_id, key in entries}

    @classmethod
    def load(cls, path: str | Path) -> KeyRing:
        """The ring of `node.key_ring_file`. Raises ConfigError."""
        return cls(read_key_ring(path))

    @property
    def entries(self) -> list[tuple[int, bytes]]:
        """Ids and keys, current first: for the native core."""
        return list(self._entries)

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._entries)} keys>"

    def encrypt(self, secret: str, place: str) -> bytes:
        """The secret under the current key, bound to the place where it stands (`token_b of platform 7`)."""
        key_id = self._entries[0][0]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, secret.encode(), place.encode())
        return bytes([key_id]) + nonce + sealed

    def decrypt(self, data: bytes, place: str) -> str:
        """The secret again. Raises StoreError if its key has left the ring or the row was tampered with."""
        cipher = self._ciphers.get(data[0]) if data else None
        if cipher is None:
            raise StoreError(f"the key of {place} is not in the key ring")
        try:
            nonce, sealed = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
            return cipher.decrypt(nonce, sealed, place.encode()).decode()
        except (InvalidTag, ValueError):
            raise StoreError(f"{place} cannot be decrypted: wrong key, or the row was changed") from None


def _derive(master: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=_USE).derive(master)
