"""Verify and sign for the four sizes of `ocn-notary.md` section 11, beside the bare curve and the JavaScript
package in the same run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import payloads
from bench.measure import BenchError, Row
from bench.report import Column, Section
from ocn_fast import _native, notary

HEADERS = {
    "x-correlation-id": "b3c4f3ac-3d0b-4a53-9f1c-6a2c51f1d9b7",
    "ocpi-from-country-code": "DE",
    "ocpi-from-party-id": "CPO",
    "ocpi-to-country-code": "DE",
    "ocpi-to-party-id": "MSP",
}
TITLE = "Signatures"
SIZES: dict[str, Callable[[], dict[str, Any]]] = {
    "START_SESSION": payloads.start_session,
    "CDR": payloads.cdr,
    "Location, 12 EVSEs": lambda: payloads.location(12),
    "Location, 100 EVSEs": lambda: payloads.location(100),
}
_CONTAINERS: tuple[notary.Container, ...] = ("brotli", "gzip")
_JS_WARM_S = 1.0
"""Its compiler needs that long to have done what it can, once: the code is the same for all sizes."""
_JS_SLICES = 4
"""It gets so many of our turns at a time: it is slower, and pauses for its garbage."""
_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent / "tests/interop/node_modules/@shareandcharge/ocn-notary"


class Bare:
    """Recovery and signature by the curve alone, as a node hashes: two rows."""

    def __init__(self) -> None:
        key = _native.new_key()
        message = b"0x" + b"5a" * 32  # the form of a notary hash
        rsv = _native.personal_sign(key, message)
        if _native.personal_recover(message, rsv) != _native.address_of(key):
            raise BenchError("recover does not give the signer's address back")
        self.rows = (Row("bare recover"), Row("bare sign"))
        self._calls: tuple[Callable[[], object], ...] = (
            lambda: _native.personal_recover(message, rsv),
            lambda: _native.personal_sign(key, message),
        )

    def turn(self, seconds: float) -> None:
        """Gives each of them its turn."""
        for row, call in zip(self.rows, self._calls, strict=True):
            rate = _rate(call, seconds)
            row.add(per_second=rate, cpu=1e6 / rate)


_BUSY = """from bench.signatures import Bare
bare = Bare()
print(flush=True)
while True:
    bare.turn(1.0)"""


@contextlib.contextmanager
def other_cores_busy() -> Iterator[None]:
    """Every other core recovers and signs meanwhile. Cores share caches and more: what is compared with a
    relay, which keeps all of them busy, has to be measured on a machine as busy."""
    command = [sys.executable, "-c", _BUSY]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range((os.cpu_count() or 1) - 1)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()


def measure(rounds: int, slice_s: float) -> Section:
    """One thread, all that a party or node does for one message: values, walk, hash, curve, container."""
    key = _native.new_key()
    bare = Bare()
    work: list[tuple[Row, Callable[[], tuple[float, float]]]] = []
    with contextlib.ExitStack() as stack:
        js = stack.enter_context(_javascript())
        warm_s = _JS_WARM_S
        for name, build in SIZES.items():
            body = payloads.encode(build())
            for container in _CONTAINERS:
                work += _ours(name, body, container, key, slice_s)
            if js is not None:
                work += _theirs(name, body, key, js, slice_s * _JS_SLICES, warm_s)
                warm_s = 0.0
        bare.turn(slice_s / 5)
        for _, call in work:
            call()  # warm
        for _ in range(rounds):
            bare.turn(slice_s)
            for row, call in work:
                operations, seconds = call()
                row.add(per_second=operations / seconds, cpu=seconds * 1e6 / operations)
    recover = bare.rows[0].median("cpu")
    for row, _ in work:
        for sample in list(row.samples["cpu"]):
            row.add(recovers=sample / (recover or sample))
    columns = (
        Column("per_second", "per second"),
        Column("cpu", "us CPU each", 1),
        Column("recovers", "x bare recover", 2),
    )
    notes = [
        "per second of one thread's CPU time, from the bytes of a message to the verdict, or to the text of "
        "the signature"
    ]
    if js is None:
        notes.append(f"JavaScript: skipped, {_why_not()}")
    return Section(TITLE, columns, [*bare.rows, *(row for row, _ in work)], notes)


def row_name(what: str, size: str, by: str) -> str:
    """How a row is called; `by` is a container of ours, or `JavaScript`."""
    return f"{what} {size}, {by}"


def _ours(
    size: str, body: bytes, container: notary.Container, key: bytes, slice_s: float
) -> list[tuple[Row, Callable[[], tuple[float, float]]]]:
    def sign() -> str:
        return notary.sign(notary.Values(HEADERS, None, body), key).serialize(container)

    text = sign()

    def verify() -> notary.Verdict:
        return notary.verify(text, notary.Values(HEADERS, None, body))

    if verify().signatory != _native.address_of(key):
        raise BenchError(f"{size}: the signature is not by its signer")
    tampered = notary.Values(HEADERS, None, body.replace(b'"1"', b'"2"', 1))
    try:
        notary.verify(text, tampered)
    except notary.NotaryError:
        pass
    else:
        raise BenchError(f"{size}: a tampered body was accepted")
    fields = len(notary.parse(text).fields)
    note = f"{len(body):,} bytes, {fields:,} fields, signature {len(text):,} characters"
    rows = [(Row(row_name(what, size, container), note=note), call) for what, call in
            (("verify", verify), ("sign", sign))]  # fmt: skip
    return [(row, lambda call=call: _timed(call, slice_s)) for row, call in rows]  # type: ignore[misc]


def _theirs(
    size: str, body: bytes, key: bytes, js: Callable[..., dict[str, float]], slice_s: float, warm_s: float
) -> list[tuple[Row, Callable[[], tuple[float, float]]]]:
    values = b'{"headers":%b,"body":%b}' % (payloads.encode(HEADERS), body)
    text = notary.sign(notary.Values(HEADERS, None, body), key).serialize("brotli")
    arguments = {"values": values.decode(), "signature": text, "key": "0x" + key.hex()}

    def call(what: str) -> tuple[float, float]:
        said = js(call=what, seconds=slice_s, **arguments)
        return said["operations"], said["seconds"]

    for what in ("verify", "sign"):
        js(call=what, seconds=warm_s, **arguments)
    return [
        (Row(row_name("verify", size, "JavaScript")), lambda: call("verify")),
        (Row(row_name("sign", size, "JavaScript")), lambda: call("sign")),
    ]


@contextlib.contextmanager
def _javascript() -> Iterator[Callable[..., dict[str, float]] | None]:
    """Asks the package in a process of its own; None where there is no node or no package."""
    if _why_not():
        yield None
        return
    command = ["node", str(_HERE / "javascript.js")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        inlet, outlet = process.stdin, process.stdout
        assert inlet is not None
        assert outlet is not None

        def ask(**request: object) -> dict[str, float]:
            inlet.write(json.dumps(request) + "\n")
            inlet.flush()
            line = outlet.readline()
            if not line:
                raise BenchError("the JavaScript package refused a message, or ended")
            answer: dict[str, float] = json.loads(line)
            return answer

        yield ask
        inlet.close()


def _why_not() -> str:
    if shutil.which("node") is None:
        return "node is not on the path"
    return "" if _PACKAGE.is_dir() else "the package is not installed: npm --prefix tests/interop ci"


def _timed(call: Callable[[], object], seconds: float) -> tuple[int, float]:
    """How often the call was made, and this thread's CPU time: other processes count as little as can be."""
    done, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < seconds:
        for _ in range(20):
            call()
        done += 20
    return done, elapsed


def _rate(call: Callable[[], object], seconds: float) -> float:
    done, elapsed = _timed(call, seconds)
    return done / elapsed
