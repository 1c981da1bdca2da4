"""How a process begins and ends: what it gives back to the system."""

import ctypes
import mmap
from pathlib import Path

import pytest

from ocn_fast import lifecycle

BLOCK, BLOCKS = 100_000, 500
"""Blocks that glibc takes from its heap: larger ones would have pages of their own."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_was_used_for_a_while_goes_back_to_the_system() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    # The last one stays: what is free below it does not go back by itself.
    for block in blocks[:-1]:
        libc.free(block)
    before = resident()
    lifecycle.give_back_memory()
    after = resident()
    libc.free(blocks[-1])
    assert before - after > BLOCK * BLOCKS // 2
