"""JSON from strangers: refused where it is lax, too deep or ambiguous, whatever the interpreter allows."""

import sys
from collections.abc import Iterator

import pytest

from ocn_fast.http import documents


@pytest.fixture(autouse=True)
def generous_interpreter() -> Iterator[None]:
    """Some libraries raise the recursion limit far above what the stack can bear."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("depth", [2_000, 100_000, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_A25_deep_documents_are_refused_and_harmless(opening: bytes, closing: bytes, depth: int) -> None:
    with pytest.raises(ValueError):
        documents.loads(opening * depth + b"1" + closing * depth)
    with pytest.raises(ValueError):
        documents.loads(opening * depth)


@pytest.mark.parametrize(
    "document", [b'{"a":1,"a":2}', b'{"token":"x","t\\u006fken":"y"}', b'[{"b":{"c":1,"c":1}}]']
)
def test_A26_a_repeated_member_is_refused_however_spelt(document: bytes) -> None:
    with pytest.raises(ValueError, match="repeated"):
        documents.loads(document)


@pytest.mark.parametrize(
    "document", [b"", b"{", b"01", b"NaN", b"[1,]", b"\xff", b'"\xff"', b"\xef\xbb\xbf{}", b"{} x"]
)
def test_A29_what_is_no_json_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):
        documents.loads(document)


def test_sound_documents_are_read() -> None:
    assert documents.loads(b' {"a":[1,2.5,null,true,"\\u00e4"]} ') == {"a": [1, 2.5, None, True, "ä"]}
