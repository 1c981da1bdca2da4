"""JSON that strangers send: strict, bounded in depth whatever the interpreter allows, no member twice."""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(document: bytes) -> Any:
    """The value of a document. Raises ValueError where it is no JSON (RFC 8259), nested more than some
    1,000 levels, or repeats a member (`safety.md` A25, A26).
    """
    # orjson bounds the depth by itself; that keeps the second reader, which recurses, on its stack.
    orjson.loads(document)
    try:
        return json.loads(document, object_pairs_hook=_members)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members
