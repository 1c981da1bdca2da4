"""Files that hold secrets: signing key, key ring, admin key. Made, read and checked here only.

Such a file is made once, with mode 0600 and never over another (`O_EXCL`), and is read only if it is a
regular file that nobody but its owner can read. No secret is ever part of an error's text.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from ocn_fast import _native
from ocn_fast.errors import ConfigError

KEY_BYTES = 32
RING_KEYS = 200
_FILE_BYTES = 64 * 1024

# Signing keys that everybody knows: they come from the mnemonics of development chains and from
# documentation.
PUBLISHED = frozenset(
    address.lower()
    for address in (
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
        "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
        "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
        "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
        "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
        "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
        "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
        "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
        "0x627306090abaB3A6e1400e9345bC60c78a8BEf57",
        "0xf17f52151EbEF6C7334FAD080c5704D77216b732",
        "0xC5fdf4076b8F3A5357c5E395ab970B5B54098Fef",
        "0x821aEa9a577a9b44299B9c15c88cf3087F3b5544",
        "0x0d1d4e623D10F9FBA5Db95830F7d3839406C6AF2",
        "0x2932b7A2355D6fecc4b5c0B6BD44cC31df247a2e",
        "0x2191eF87E392377ec08E7c08Eb105Ef5448eCED5",
        "0x0F4F2Ac550A1b4e2280d04c21cEa7EBD822934b5",
        "0x6330A553Fc93768F612722BB8c2eC78aC90B3bbc",
        "0x5AEDA56215b167893e80B4fE645BA6d5Bab767DE",
        "0xdD3D370a673cfdCfB0c4cA2a3fE313e1559d1fdc",
        "0xB43253229b9d16cE16e9c836B472D84269338808",
        "0x46Cbb47C915C645BE33049AF2387757bfD35b399",
        "0x2640750A1d9D9c3137C0096e7e59AE9C368bD4f3",
    )
)
_SMALL = 2**64
"""A key that is a small number was typed, not drawn."""


def create_node_key(path: Path) -> str:
    """Makes a new signing key; returns its address (EIP-55). Raises ConfigError if the file is there."""
    key = _native.new_key()
    create(path, key.hex() + "\n")
    return _native.address_of(key)


def create_key_ring(path: Path) -> None:
    """Makes a key ring with one key in it."""
    ring = {"keys": [{"id": 1, "key": secrets.token_hex(KEY_BYTES)}]}
    create(path, json.dumps(ring) + "\n")


def create_admin_key(path: Path, least: int = 32) -> None:
    """Makes an admin key of at least `least` characters."""
    create(path, secrets.token_urlsafe(max(least, KEY_BYTES)) + "\n")


def create(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read, and has it on the disk before returning."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigError("is there already and is not overwritten", source=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", source=str(path)) from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read_node_key(path: Path | str, *, dev: bool = False) -> bytes:
    """The signing key: 32 bytes. Refused with ConfigError: a key that is none, is published or was typed."""
    return node_key(read(path), str(path), dev=dev)


def node_key(text: str, source: str, *, dev: bool = False) -> bytes:
    """As `read_node_key`, from a text that `source` gave."""
    digits = text.strip().removeprefix("0x")
    try:
        key = bytes.fromhex(digits if len(digits) == 2 * KEY_BYTES else "")
        address = _native.address_of(key)
    except ValueError:
        raise ConfigError("must be a signing key: 64 hex digits", source=source) from None
    weak = address.lower() in PUBLISHED or int.from_bytes(key) < _SMALL or len(set(key)) == 1
    if weak and not dev:
        raise ConfigError(f"is a published key ({address}): anybody can sign with it", source=source)
    return key


def address(path: Path | str) -> str:
    """The address (EIP-55) of a signing key's file."""
    return address_of(read_node_key(path, dev=True))


def address_of(key: bytes) -> str:
    """The address (EIP-55) of a signing key."""
    return _native.address_of(key)


def read_key_ring(path: Path | str) -> list[tuple[int, bytes]]:
    """The key ring, current key first: pairs of id (0 to 255) and 32 bytes."""
    fault = ConfigError(
        'must be a key ring: {"keys": [{"id": 1, "key": "<64 hex digits>"}]}', source=str(path)
    )
    try:
        ring = json.loads(read(path))
        keys = [(entry["id"], bytes.fromhex(entry["key"])) for entry in ring["keys"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise fault from None
    ids = [identity for identity, _ in keys]
    numbers = all(type(identity) is int and 0 <= identity <= 255 for identity in ids)
    lengths = all(len(key) == KEY_BYTES for _, key in keys)
    if not keys or len(keys) > RING_KEYS or not numbers or not lengths or len(set(ids)) != len(ids):
        raise fault
    return keys


def read_admin_key(path: Path | str, least: int) -> str:
    """The admin key. Refused: shorter than `least` characters, or so uniform that it was not drawn."""
    key = read(path).strip()
    if len(key) < least:
        raise ConfigError(f"must hold at least {least} characters (admin.key_chars)", source=str(path))
    if len(set(key)) < 8 or not key.isascii() or any(character.isspace() for character in key):
        raise ConfigError(
            "must be one random word, such as `ocn-fast keys new admin` makes", source=str(path)
        )
    return key


def read(path: Path | str) -> str:
    """The text of a secret file. Refused: no regular file, a symlink, or open to others."""
    source = str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(
            "is missing; `ocn-fast init` or `ocn-fast keys new` makes it", source=source
        ) from None
    except OSError as error:
        symlink = Path(path).is_symlink()
        text = "is a symlink: name the file itself" if symlink else f"cannot be read: {error.strerror}"
        raise ConfigError(text, source=source) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("is no regular file", source=source)
        if status.st_mode & 0o077:
            raise ConfigError(f"can be read or written by others: run `chmod 600 {path}`", source=source)
        if status.st_uid not in (os.geteuid(), 0):
            raise ConfigError(f"belongs to another user (uid {status.st_uid})", source=source)
        data = os.read(descriptor, _FILE_BYTES)
    finally:
        os.close(descriptor)
    # What is no text becomes a sign that no key contains.
    return data.decode(errors="replace")


def exposures(files: Mapping[str, str]) -> list[str]:
    """What others can read or change though it holds no key: a line each, with the command that mends it.

    `files` maps what a file is ("settings", "database") to its path; files that are not there are passed
    over.
    """
    lines = []
    for name, text in files.items():
        path = Path(text)
        if not path.exists():
            continue
        if path.stat().st_mode & 0o077:
            lines.append(f"{name}: others can read or write it: run `chmod 600 {path}`")
        folder = path.parent.stat().st_mode
        if folder & 0o002 and not folder & stat.S_ISVTX:
            lines.append(f"{name}: everybody can write in its folder: run `chmod o-w {path.parent}`")
    return lines
