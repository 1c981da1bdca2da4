"""Whole requests, written and signed before a run, no two alike; made on all cores and kept for the next run.

A file holds `<length>\n<request>` again and again. Where the sender's token belongs stands `TOKEN`, which is
as long as any token: whoever sends a request puts the token of that run in its place. Nothing that is signed
depends on the run, so a file serves until the code that writes it changes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from bench import payloads
from bench.measure import BenchError
from ocn_fast import notary

CACHE = Path(__file__).parent / ".cache"
TOKEN = "~" * 60
"""In place of a token in Base64; `~` is no such character."""
CPO = ("DE", "CPO")
MSP = ("DE", "MSP")
KEYS = {party: hashlib.sha256(b"bench %s %s" % (party[0].encode(), party[1].encode())).digest()
        for party in (CPO, MSP)}  # fmt: skip
"""Keys of the parties: always the same, so that signed messages can be kept."""
_CHUNK = 500
_EVSES = {"location-5k": 9, "location-10k": 19, "location-50k": 98, "location-200k": 392}
_PART = {
    "connector": 4, "location-5k": 5, "location-10k": 10, "location-50k": 50, "location-200k": 200,
    "start-session": 10,
}  # fmt: skip
"""Large messages, and those that wait for the disk, are fewer: so many times."""
_LEAST = 200


@dataclass(frozen=True)
class Batch:
    """So many messages of a kind: `session`, `connector`, `location-10k` and other sizes (PUT by the CPO), or
    `start-session` (POST by the eMSP, with a `response_url` below `home`)."""

    kind: str
    count: int
    signed: bool = True
    home: str = ""

    @classmethod
    def of(cls, kind: str, many: int, *, signed: bool = True, home: str = "") -> Batch:
        """As many as befits the kind, where there are `many` sessions."""
        return cls(kind, max(many // _PART.get(kind, 1), _LEAST), signed, home)

    @property
    def body_bytes(self) -> int:
        """Length of the first one's body."""
        return len(_content(self, 0)[2])

    @property
    def request_bytes(self) -> int:
        """Length of the first one, head and body."""
        return len(request(self, 0))

    @property
    def sender(self) -> tuple[str, str]:
        return MSP if self.kind == "start-session" else CPO

    def file(self) -> Path:
        """The file, made if it is not there."""
        code = b"".join(Path(source).read_bytes() for source in (__file__, payloads.__file__))
        digest = hashlib.sha256(code + repr(self).encode()).hexdigest()[:16]
        stem = f"{self.kind}-{'signed' if self.signed else 'plain'}"
        path = CACHE / f"{stem}-{digest}"
        if not path.exists():
            CACHE.mkdir(exist_ok=True)
            for old in CACHE.glob(f"{stem}-*"):
                old.unlink()
            self._write(path)
        return path

    def _write(self, path: Path) -> None:
        draft = path.with_suffix(".draft")
        starts = range(0, self.count, _CHUNK)
        # Spawned: a fork of a process with threads of Rust could hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool, draft.open("wb") as file:
            for chunk in pool.map(partial(_chunk, self), starts):
                file.write(chunk)
        draft.replace(path)


def _chunk(batch: Batch, start: int) -> bytes:
    requests = (request(batch, number) for number in range(start, min(start + _CHUNK, batch.count)))
    return b"".join(b"%d\n%s" % (len(one), one) for one in requests)


def request(batch: Batch, number: int) -> bytes:
    """One request, head and body."""
    method, path, body = _content(batch, number)
    receiver = CPO if batch.sender == MSP else MSP
    headers = {
        "host": "127.0.0.1",
        "authorization": f"Token {TOKEN}",
        "content-type": "application/json",
        "x-request-id": str(uuid.uuid4()),
        "x-correlation-id": str(uuid.uuid4()),
        "ocpi-from-country-code": batch.sender[0],
        "ocpi-from-party-id": batch.sender[1],
        "ocpi-to-country-code": receiver[0],
        "ocpi-to-party-id": receiver[1],
        "content-length": str(len(body)),
    }
    if batch.signed:
        signed = notary.sign(notary.request_values(headers, "", body), KEYS[batch.sender])
        headers["ocn-signature"] = signed.serialize()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} /ocpi/receiver/2.2.1/{path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def _content(batch: Batch, number: int) -> tuple[str, str, bytes]:
    """Method, path below the version, body."""
    if batch.kind == "session":
        body = payloads.encode(payloads.session(number))
        return "PUT", f"sessions/DE/CPO/{payloads.session_id(number)}", body
    if batch.kind == "start-session":
        url = f"{batch.home}/2.2.1/commands/START_SESSION/{number:08}"
        return "POST", "commands/START_SESSION", payloads.encode(payloads.start_session(url))
    if batch.kind == "connector":
        path = f"locations/DE/CPO/LOC-{number:06}/1/1"
        return "PUT", path, payloads.encode(payloads.connector(number))
    location = payloads.location(_EVSES[batch.kind], number)
    return "PUT", f"locations/DE/CPO/{location['id']}", payloads.encode(location)


def read(path: Path, token: str, start: int = 0, count: int | None = None) -> Iterator[bytes]:
    """Requests of a file with a token (as it stands behind `Token `) in their heads.

    Raises BenchError for a token that would not leave the length as it is.
    """
    if len(token) != len(TOKEN):
        raise BenchError(f"a token of {len(token)} characters, {len(TOKEN)} were planned for")
    hole, filling = TOKEN.encode(), token.encode()
    stop = None if count is None else start + count
    with path.open("rb") as file:
        for one in islice(_stored(file), start, stop):
            yield one.replace(hole, filling, 1)


def _stored(file: BinaryIO) -> Iterator[bytes]:
    while length := file.readline():
        yield file.read(int(length))
