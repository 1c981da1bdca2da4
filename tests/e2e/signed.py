"""Parties that sign what they send and answer: on top of the scripted peers."""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence

from peers import VERSION, Network, Peer, Script, Talk, answer, envelope

from ocn_fast import notary


def routing(sender: str, to: str, correlation_id: str | None = None) -> dict[str, str]:
    """The message headers between two German parties."""
    return {
        "X-Request-ID": str(uuid.uuid4()),
        "X-Correlation-ID": correlation_id or str(uuid.uuid4()),
        "OCPI-from-country-code": "DE",
        "OCPI-from-party-id": sender,
        "OCPI-to-country-code": "DE",
        "OCPI-to-party-id": to,
    }


def signature(headers: Mapping[str, str], key: bytes, query: str = "", body: bytes | None = None) -> str:
    """The value of OCN-Signature for a request."""
    return notary.sign(notary.request_values(headers, query, body), key).serialize()


def signed_answer(peer: Peer, body: bytes = envelope(), headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A whole HTTP answer whose body carries the peer's signature."""
    text = notary.sign(notary.response_values(list(headers), body), peer.key).serialize()
    return answer(notary.attach(body, text), headers=[f"{name}: {value}" for name, value in headers])


def signing(peer: Peer, respond: Callable[[bytes], bytes] | None = None) -> Script:
    """A script that answers every request, signed; `respond` makes the answer from the raw request."""

    def script(talk: Talk) -> None:
        while request := talk.request():
            if not talk.write(respond(request) if respond else signed_answer(peer)):
                return

    return script


def token(peer: Peer) -> str:
    """The Authorization header of a party."""
    return "Token " + base64.b64encode(peer.token_c.encode()).decode()


def raw_request(
    net: Network,
    *,
    sender: str = "MSP",
    to: str = "CPO",
    method: str = "PUT",
    target: str = f"/ocpi/receiver/{VERSION}/sessions/DE/MSP/1",
    body: bytes = b"",
    sign: bool = True,
    headers: Mapping[str, str] | None = None,
    correlation_id: str | None = None,
) -> bytes:
    """The exact bytes of a request, signed by its sender unless told otherwise."""
    fields = routing(sender, to, correlation_id) | {"Authorization": token(net[sender])}
    if sign:
        query = target.partition("?")[2]
        fields["OCN-Signature"] = signature(fields, net[sender].key, query, body or None)
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= headers or {}
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{net.node.port}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Line:
    """One connection to the node, kept open."""

    def __init__(self, net: Network, seconds: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", net.node.port), timeout=seconds)
        self._file = self._socket.makefile("rb")

    def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Sends raw bytes, reads one whole answer."""
        self._socket.sendall(request)
        status = int(self._file.readline().split(b" ")[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, self._chunks()
        return status, headers, self._file.read(int(headers.get("content-length", "0")))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._file.readline().strip(), 16):
            body += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return body

    def close(self) -> None:
        """Hangs up."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def status_code(body: bytes) -> int:
    """The OCPI status of an envelope."""
    return int(json.loads(body)["status_code"])
