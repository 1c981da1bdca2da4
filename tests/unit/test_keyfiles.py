"""Key files: made once, for their owner only; refused if others can read them or everybody knows the key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocn_fast import keyfiles
from ocn_fast.errors import ConfigError

ANVIL_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
GOOD_ADMIN = "k3Yx-0123456789-abcdefghijklmnop"


def secret(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_A126_files_are_made_for_their_owner_only_and_never_over_another(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        keyfiles.create_node_key(tmp_path / "node.key")
        keyfiles.create_key_ring(tmp_path / "ring")
        keyfiles.create_admin_key(tmp_path / "admin")
    finally:
        os.umask(old)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        before = path.read_bytes()
        assert "not overwritten" in refusal(lambda path=path: keyfiles.create(path, "other"))  # type: ignore[misc]
        assert path.read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "not overwritten" in refusal(lambda: keyfiles.create(tmp_path / "link", "x"))
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_made_can_be_read(tmp_path: Path) -> None:
    address = keyfiles.create_node_key(tmp_path / "node.key")
    assert keyfiles.address(tmp_path / "node.key") == address
    assert len(keyfiles.read_node_key(tmp_path / "node.key")) == 32
    keyfiles.create_key_ring(tmp_path / "ring")
    [(identity, key)] = keyfiles.read_key_ring(tmp_path / "ring")
    assert identity == 1
    assert len(key) == 32
    keyfiles.create_admin_key(tmp_path / "admin", 64)
    assert len(keyfiles.read_admin_key(tmp_path / "admin", 64)) >= 64


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_A126_a_key_that_others_can_read_or_write_is_refused_with_the_command(
    tmp_path: Path, mode: int
) -> None:
    path = secret(tmp_path, "11" * 32, mode)
    assert f"chmod 600 {path}" in refusal(lambda: keyfiles.read_node_key(path))


def test_A126_a_symlink_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    path = secret(tmp_path, "11" * 32)
    (tmp_path / "link").symlink_to(path)
    assert "is a symlink" in refusal(lambda: keyfiles.read(tmp_path / "link"))
    assert "is no regular file" in refusal(lambda: keyfiles.read(tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is no regular file" in refusal(lambda: keyfiles.read(tmp_path / "pipe"))
    assert "is missing" in refusal(lambda: keyfiles.read(tmp_path / "none"))


def test_A126_others_that_can_read_what_is_no_key_are_a_warning(tmp_path: Path) -> None:
    path = secret(tmp_path, "x", 0o600)
    assert keyfiles.exposures({"database": str(path), "none": str(tmp_path / "none")}) == []
    path.chmod(0o640)
    [line] = keyfiles.exposures({"database": str(path)})
    assert f"chmod 600 {path}" in line
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    [line] = keyfiles.exposures({"database": str(path)})
    assert f"chmod o-w {tmp_path}" in line
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "text", ["", "zz", "11" * 31, "11" * 33, "0" * 64, "f" * 64, "11 " * 32 + "x", "\x00" * 9]
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    said = refusal(lambda: keyfiles.read_node_key(secret(tmp_path, text)))
    assert "must be a signing key" in said
    assert len(text) < 8 or text not in said


@pytest.mark.parametrize("text", [ANVIL_KEY, "0x" + ANVIL_KEY, "00" * 31 + "07", "11" * 32])
def test_A145_a_key_that_everybody_knows_only_with_dev(tmp_path: Path, text: str) -> None:
    path = secret(tmp_path, text)
    said = refusal(lambda: keyfiles.read_node_key(path))
    assert "published key" in said
    assert text not in said
    assert keyfiles.read_node_key(path, dev=True)


@pytest.mark.parametrize(
    "ring",
    [
        {},
        [],
        {"keys": []},
        {"keys": [{"id": 1}]},
        {"keys": [{"id": 256, "key": "11" * 32}]},
        {"keys": [{"id": -1, "key": "11" * 32}]},
        {"keys": [{"id": True, "key": "11" * 32}]},
        {"keys": [{"id": "1", "key": "11" * 32}]},
        {"keys": [{"id": 1, "key": "11" * 31}]},
        {"keys": [{"id": 1, "key": "11" * 32}, {"id": 1, "key": "22" * 32}]},
    ],
)
def test_a_ring_of_another_form_is_refused(tmp_path: Path, ring: object) -> None:
    assert "must be a key ring" in refusal(lambda: keyfiles.read_key_ring(secret(tmp_path, json.dumps(ring))))


def test_the_first_key_of_a_ring_is_the_current_one(tmp_path: Path) -> None:
    ring = {"keys": [{"id": 7, "key": "11" * 32}, {"id": 3, "key": "22" * 32}]}
    assert [identity for identity, _ in keyfiles.read_key_ring(secret(tmp_path, json.dumps(ring)))] == [7, 3]


def test_A115_an_admin_key_has_its_least_length(tmp_path: Path) -> None:
    assert len(GOOD_ADMIN) == 32
    path = secret(tmp_path, GOOD_ADMIN + "\n")
    assert keyfiles.read_admin_key(path, 32) == GOOD_ADMIN
    assert "at least 33 characters" in refusal(lambda: keyfiles.read_admin_key(path, 33))


@pytest.mark.parametrize(
    "text", ["", "\n", "a" * 40, "changeme" * 5 + " x", "ä" + GOOD_ADMIN, GOOD_ADMIN + "\nx"]
)
def test_A115_an_empty_uniform_or_broken_admin_key_is_refused(tmp_path: Path, text: str) -> None:
    said = refusal(lambda: keyfiles.read_admin_key(secret(tmp_path, text), 32))
    assert len(text.strip()) < 8 or text.strip() not in said
