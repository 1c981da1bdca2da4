"""Sign and verify per second, beside the bare curve work of the same run."""

from __future__ import annotations

import time
from collections.abc import Callable

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
_CONTAINERS: tuple[notary.Container, ...] = ("brotli", "gzip")
_PAYLOADS = {
    "START_SESSION": payloads.start_session,
    "CDR": payloads.cdr,
    "Location": payloads.location,
}
_SLICE_S = 0.25
"""How long one row runs before the next has its turn."""


def measure(rounds: int) -> Section:
    """One thread, all that a party or node does for one message: values, walk, hash, curve, container."""
    key = _native.new_key()
    address = _native.address_of(key)
    work: list[tuple[Row, Callable[[], object]]] = []

    message = b"0x" + b"5a" * 32  # the form of a notary hash
    rsv = _native.personal_sign(key, message)
    if _native.personal_recover(message, rsv) != address:
        raise BenchError("recover does not give the signer's address back")
    work.append((Row("bare recover"), lambda: _native.personal_recover(message, rsv)))
    work.append((Row("bare sign"), lambda: _native.personal_sign(key, message)))

    for name, build in _PAYLOADS.items():
        body = payloads.encode(build())
        for container in _CONTAINERS:
            work += _message(name, body, container, key, address)

    for _, call in work:
        _rate(call, _SLICE_S / 5)  # warm
    for _ in range(rounds):
        for row, call in work:
            rate = _rate(call, _SLICE_S)
            row.add(per_second=rate, microseconds=1e6 / rate)
    recover = work[0][0].median("microseconds")
    for row, _ in work:
        if recover and row.name.startswith("verify"):
            for sample in row.samples["microseconds"]:
                row.add(recovers=sample / recover)
    columns = (
        Column("per_second", "per second"),
        Column("microseconds", "us each", 1),
        Column("recovers", "x bare recover", 2),
    )
    return Section(
        "Signatures, one thread, per second of its CPU time, through the Python API",
        columns,
        [row for row, _ in work],
    )


def _message(
    name: str, body: bytes, container: notary.Container, key: bytes, address: str
) -> list[tuple[Row, Callable[[], object]]]:
    def sign() -> str:
        return notary.sign(notary.Values(HEADERS, None, body), key).serialize(container)

    text = sign()

    def verify() -> notary.Verdict:
        return notary.verify(text, notary.Values(HEADERS, None, body))

    if verify().signatory != address:
        raise BenchError(f"{name}: the signature is not by its signer")
    tampered = notary.Values(HEADERS, None, body.replace(b"2026", b"2027", 1))
    try:
        notary.verify(text, tampered)
    except notary.NotaryError:
        pass
    else:
        raise BenchError(f"{name}: a tampered body was accepted")
    label = f"{name} ({len(body):,} bytes), {container}, signature {len(text):,}"
    return [(Row(f"verify {label}"), verify), (Row(f"sign {label}"), sign)]


def _rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second of this thread's CPU time: other processes count as little as can be."""
    done, start = 0, time.thread_time()
    while (elapsed := time.thread_time() - start) < seconds:
        for _ in range(20):
            call()
        done += 20
    return done / elapsed
