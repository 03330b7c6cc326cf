# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TLS server of the tests on 127.0.0.1 with any certificate: it keeps every byte that a client told it."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "localhost"
"""Whom clients ask for; certificates that are right are for it."""


@dataclass
class Certificates:
    """A CA of its own and what it has signed, as files in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests: CA")])
        may_sign = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        basic = x509.BasicConstraints(ca=True, path_length=0)
        own = self._sign(self._name, self.key, dt.timedelta(days=1), basic, may_sign)
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        valid: dt.timedelta,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        """From two hours ago; `valid` from now on, negative for one that has expired."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=2))
            .not_valid_after(now + valid)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def server(self, host: str = HOST, valid: dt.timedelta = dt.timedelta(hours=1)) -> ssl.SSLContext:
        """The context of a server whose certificate is for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]),
            key,
            valid,
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([x509.DNSName(host)]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        )
        path = self.folder / f"{key.public_key().public_numbers().x:x}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@dataclass
class Seen:
    """What a server was told: how many handshakes were ended by the client's trust, and everything inside of them."""

    port: int
    connections: int = 0
    handshakes: int = 0
    told: bytes = b""


@contextlib.contextmanager
def serving(context: ssl.SSLContext, *, postgresql: bool = False) -> Iterator[Seen]:
    """Takes connections and answers none with sense: what counts is what a client says before it turns away.

    With `postgresql` TLS begins after an SSLRequest, as PostgreSQL's does:
    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    listener = socket.create_server(("127.0.0.1", 0))
    seen = Seen(listener.getsockname()[1])

    def talk(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(5)
            if postgresql:
                plain.recv(8)
                plain.sendall(b"S")
            with context.wrap_socket(plain, server_side=True) as secure:
                seen.handshakes += 1
                seen.told += secure.recv(65536)
                secure.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, dummy = listener.accept()
                seen.connections += 1
                threading.Thread(target=talk, args=(plain,), daemon=True).start()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
