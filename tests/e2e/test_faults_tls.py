"""Receivers whose TLS cannot be trusted: the message does not leave, and the requester is told the kind."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from peers import Network, Peer, Talk, network

CONNECT_S = 0.5

pytestmark = pytest.mark.timeout(300)


class Authority:
    """A certificate authority of our own."""

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        # Two of one name would differ by their keys alone, which is another kind of error.
        name = f"authority {next(self._numbers)}"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self._name, self._key, 0, 1)
        ca = x509.BasicConstraints(ca=True, path_length=None)
        self._certificate = builder.add_extension(ca, critical=True).sign(self._key, hashes.SHA256())

    def write(self, file: Path) -> Path:
        """The authority's certificate (PEM)."""
        file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def server(
        self, folder: Path, name: str = "127.0.0.1", *, days: tuple[int, int] = (-1, 1)
    ) -> ssl.SSLContext:
        """What a server of that name shows; its certificate is valid from and to so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))])
        builder = self._builder(subject, key, *days).add_extension(alternative, critical=False)
        file = folder / f"server-{next(self._numbers)}.pem"
        file.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, first: int, last: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=first, hours=-1))
            .not_valid_after(now + timedelta(days=last))
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def net(folder: Path, authority: Authority) -> Iterator[Network]:
    flags = (
        f"outbound.ca_file={authority.write(folder / 'ca.pem')}",
        f"relay.connect_ms={CONNECT_S * 1000:.0f}",
        "relay.breaker_failures=1000",
    )
    with network(folder, *flags, contexts={"CPO": authority.server(folder)}) as running:
        yield running


@pytest.fixture
def receiver(net: Network) -> Iterator[Peer]:
    """The receiver, trusted before and after; in between it shows what the test wants."""
    peer = net["CPO"]
    trusted = peer.context
    net.probe()
    yield peer
    peer.context = trusted
    with peer.play(peer.serve):
        net.probe()


def assert_not_delivered(net: Network, receiver: Peer, kind: str) -> None:
    with receiver.play(receiver.serve):
        reply = net.send()
        assert reply.verdict == (200, 4003, "no")
        assert kind in reply.document["status_message"]
        assert receiver.bytes_received == b""


@pytest.mark.parametrize(
    ("kind", "name", "days"),
    [
        ("TLS: certificate expired", "127.0.0.1", (-9, -1)),
        ("TLS: certificate not yet valid", "127.0.0.1", (1, 9)),
        ("TLS: wrong name", "127.0.0.2", (-1, 1)),
    ],
)
def test_F41_a_certificate_that_does_not_hold(
    net: Network,
    receiver: Peer,
    authority: Authority,
    folder: Path,
    kind: str,
    name: str,
    days: tuple[int, int],
) -> None:
    receiver.context = authority.server(folder, name, days=days)
    assert_not_delivered(net, receiver, kind)


def test_F41_a_certificate_of_a_stranger(net: Network, receiver: Peer, folder: Path) -> None:
    receiver.context = Authority().server(folder)
    assert_not_delivered(net, receiver, "TLS: unknown issuer")


def test_F41_no_tls_behind_the_port(net: Network, receiver: Peer) -> None:
    receiver.context = None

    def shout(talk: Talk) -> None:
        talk.read()
        talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with receiver.play(shout):
        reply = net.send()
        assert reply.verdict == (200, 4003, "no")
        assert "TLS" in reply.document["status_message"]
        assert b"marker" not in receiver.bytes_received


def test_F41_a_handshake_that_stalls(net: Network, receiver: Peer) -> None:
    receiver.context = None
    with receiver.play(Talk.until_closed):
        reply = net.send()
        assert reply.verdict == (200, 4003, "no")
        assert "no connection in time" in reply.document["status_message"]
        assert b"marker" not in receiver.bytes_received
