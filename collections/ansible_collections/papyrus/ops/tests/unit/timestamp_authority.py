# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A time stamping authority (RFC 3161) of the tests on 127.0.0.1: right by default, wrong in one way when told so."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

REPLY = "application/timestamp-reply"
POLICY = "1.3.6.1.4.1.13762.3"
Key = ec.EllipticCurvePrivateKey


@dataclass
class Authority:
    """Root, certificate and key of an authority. Certificates are valid from an hour ago for `valid`.

    `usage` and `critical` are the certificate's extended key usage; `granted` False rejects; `shift` moves the clock.
    `nonce` and `imprint` change what is answered, `reply` the finished bytes.
    """

    valid: dt.timedelta = dt.timedelta(days=1)
    usage: Any = ExtendedKeyUsageOID.TIME_STAMPING
    critical: bool = True
    granted: bool = True
    shift: dt.timedelta = dt.timedelta()
    nonce: Callable[[int], int] = lambda nonce: nonce
    imprint: Callable[[bytes], bytes] = lambda digest: digest
    reply: Callable[[bytes], bytes] = lambda reply: reply
    root_key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        name = _name("tests: root of time")
        self.root = _certificate(name, name, self.root_key, self.root_key, dt.timedelta(days=3650))(
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
        )
        self.certificate = _certificate(_name("tests: time"), name, self.key, self.root_key, self.valid)(
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
            (x509.ExtendedKeyUsage([self.usage]), self.critical),
        )

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def answer(self, query: bytes) -> bytes:
        """DER TimeStampResp for a DER TimeStampReq."""
        request = tsp.TimeStampReq.load(query, strict=True)
        if not self.granted:
            status = {"status": "rejection", "status_string": ["not today"], "fail_info": {"time_not_available"}}
            # asn1crypto has no TimeStampResp without a token, RFC 3161 has (2.4.2).
            body = tsp.PKIStatusInfo(status).dump()
            return bytes([0x30, len(body)]) + bytes(body)
        imprint = request["message_imprint"]
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": tsp.MessageImprint(
                    {
                        "hash_algorithm": imprint["hash_algorithm"],
                        "hashed_message": self.imprint(imprint["hashed_message"].native),
                    }
                ),
                "serial_number": secrets.randbits(64),
                "gen_time": (dt.datetime.now(dt.UTC) + self.shift).replace(microsecond=0),
                "nonce": self.nonce(request["nonce"].native),
            }
        ).dump()
        reply = tsp.TimeStampResp(
            {"status": tsp.PKIStatusInfo({"status": "granted"}), "time_stamp_token": self._token(info)}
        )
        return self.reply(bytes(reply.dump()))

    def _token(self, info: bytes) -> cms.ContentInfo:
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        certificate = asn1_x509.Certificate.load(der)
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(info).digest()]}),
                cms.CMSAttribute(
                    {
                        "type": "signing_certificate_v2",
                        "values": [tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(der).digest()}]})],
                    }
                ),
            ]
        )
        digest = algos.DigestAlgorithm({"algorithm": "sha256"})
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier(
                    {
                        "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                            {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
                        )
                    }
                ),
                "digest_algorithm": digest,
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": self.key.sign(attributes.dump(), ec.ECDSA(hashes.SHA256())),
            }
        )
        return cms.ContentInfo(
            {
                "content_type": "signed_data",
                "content": cms.SignedData(
                    {
                        "version": "v3",
                        "digest_algorithms": [digest],
                        "encap_content_info": {
                            "content_type": "tst_info",
                            "content": core.ParsableOctetString(info),
                        },
                        "certificates": [certificate],
                        "signer_infos": [signer],
                    }
                ),
            }
        )


Respond = Callable[[BaseHTTPRequestHandler, bytes], None]


@contextlib.contextmanager
def served(authority: Authority | None = None, respond: Respond | None = None) -> Iterator[str]:
    """URL of an authority on 127.0.0.1; `respond` writes the whole HTTP answer instead of `authority`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            if respond is not None:
                with contextlib.suppress(OSError):
                    respond(self, query)
            elif authority is not None and self.headers["Content-Type"] == "application/timestamp-query":
                send(self, authority.answer(query))
            else:
                self.send_error(415)
            self.close_connection = True

        def log_message(self, *dummy: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsa"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = REPLY,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler, ended: threading.Event) -> None:
    """Header bytes, one at a time, until `ended`."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not ended.wait(0.05):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: Key, issuer_key: Key, valid: dt.timedelta
) -> Callable[..., x509.Certificate]:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)

    def signed(*extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + valid)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        for extension, critical in (*extensions, (own, False), (by, False)):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(issuer_key, hashes.SHA256())

    return signed
