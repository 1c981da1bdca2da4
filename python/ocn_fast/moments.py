"""Moments as OCPI writes them (DateTime) and as this package counts them: Unix milliseconds, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d{1,9})?Z?", re.ASCII)


def read(text: object) -> int | None:
    """Unix milliseconds of a DateTime, further digits cut off; None for what is none."""
    match = _DATE_TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        seconds = datetime.fromisoformat(match.string[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return int(seconds) * 1_000 + int((match["fraction"] or ".0")[1:].ljust(3, "0")[:3])


def write(moment: int) -> str:
    """A DateTime with milliseconds and `Z`."""
    text = datetime.fromtimestamp(moment / 1_000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def write_seconds(seconds: int) -> str:
    """A DateTime of whole Unix seconds: how registries note the time of a block."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
