"""How a party signs and verifies: with its own key, and with another program in its place."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ocn_fast import notary
from ocn_fast.errors import ConfigError, NotaryError
from ocn_fast.parties.signing import OwnKey, Sidecar, Signable

KEY = bytes(31) + b"\x07"
HEADERS = [
    ("OCPI-to-party-id", "CPO"),
    ("OCPI-to-country-code", "DE"),
    ("X-Request-ID", "never signed"),
    ("OCPI-from-party-id", "MSP"),
    ("OCPI-from-country-code", "DE"),
    ("X-Correlation-ID", "c1"),
]
BODY = b'{"id":"1","kwh":20.0,"list":["a",null]}'
REQUEST = Signable.of_request(HEADERS, "limit=2&date_from=2026-01-01T00%3A00%3A00Z", BODY)


class Neighbour(BaseHTTPRequestHandler):
    """Another program that signs: the public notary behind HTTP."""

    def do_GET(self) -> None:
        self._say(200, {"address": OwnKey(KEY).address})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        values = notary.Values.from_document(json.dumps(asked["values"]).encode())
        if self.path == "/sign":
            self._say(200, {"signature": notary.sign(values, KEY).serialize(asked["container"])})
            return
        try:
            self._say(200, {"chain": notary.verify(asked["signature"], values).chain})
        except NotaryError as error:
            self._say(422, {"error": str(error), "reason": error.reason})

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def neighbour() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_signed_is_in_canonical_order_and_nothing_else() -> None:
    assert [name for name, _ in REQUEST.headers] == list(notary.REQUEST_HEADERS)
    assert REQUEST.params == (("limit", "2"), ("date_from", "2026-01-01T00:00:00Z"))
    assert BODY in REQUEST.document()


@pytest.mark.parametrize("container", ["brotli", "gzip"])
def test_another_program_may_sign_and_verify(neighbour: str, container: Any) -> None:
    async def story() -> None:
        sidecar, own = await Sidecar.connect(neighbour), OwnKey(KEY)
        try:
            assert sidecar.address == own.address
            theirs, ours = await sidecar.sign(REQUEST, container), await own.sign(REQUEST, container)
            assert (await own.verify(theirs, REQUEST)).chain == (own.address,)
            assert (await sidecar.verify(ours, REQUEST)).chain == (own.address,)
            other = Signable(REQUEST.headers, REQUEST.params, BODY.replace(b"20.0", b"21"))
            for signer in (sidecar, own):
                with pytest.raises(NotaryError) as refused:
                    await signer.verify(ours, other)
                assert refused.value.reason == "hash"
        finally:
            await sidecar.close()

    asyncio.run(story())


def test_a_program_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(ConfigError):
        asyncio.run(Sidecar.connect("http://127.0.0.1:1"))


def test_the_value_before_a_rewrite_is_told() -> None:
    node = bytes(31) + b"\x08"
    before = b'{"response_url":"http://msp/x"}'
    after = b'{"response_url":"http://hub/y"}'
    origin = Signable.of_request(HEADERS, "", before)
    moved = Signable.of_request(HEADERS, "", after)
    signed = notary.sign(origin.values(), KEY)
    path = notary.RESPONSE_URL_BODY
    resigned = notary.resign(signed, origin.values(), moved.values(), [path], node)
    seal = asyncio.run(OwnKey(KEY).verify(resigned.serialize(), moved))
    assert seal.chain == (OwnKey(node).address, OwnKey(KEY).address)
    assert seal.origin == OwnKey(KEY).address
    assert seal.before == {path: "http://msp/x"}
