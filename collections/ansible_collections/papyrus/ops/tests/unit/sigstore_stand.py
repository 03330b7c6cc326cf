# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sigstore on 127.0.0.1 for tests: a workflow's token endpoint, Fulcio with its CT log, and Rekor (version 1).

Enough of each for sigstore-python to sign and to verify with its own checks, with keys that nobody else trusts.
https://github.com/sigstore/fulcio/blob/main/fulcio.proto, https://github.com/sigstore/rekor/blob/main/openapi.yaml
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

GITHUB = "https://token.actions.githubusercontent.com"
WORKFLOW = "octo/shop/.github/workflows/release.yml@refs/heads/main"
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


class Sigstore:
    """Keys and answers of one instance; `identity` is what Fulcio certifies, `claims` what the token says."""

    def __init__(self) -> None:
        self.authority, self.ct_log, self.rekor = (ec.generate_private_key(ec.SECP256R1()) for dummy in range(3))
        self.identity, self.issuer = f"https://github.com/{WORKFLOW}", GITHUB
        self.claims: dict[str, Any] = {"job_workflow_ref": WORKFLOW}
        self.refuse: dict[str, int] = {}
        self.tokens: list[str] = []
        self.url = ""
        self.root = self._root()

    # -- the workflow ----------------------------------------------------------------------------------------------

    def token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "sigstore", "sub": "repo:octo/shop", "iat": now, "exp": now + 300}
        parts = ({"alg": "RS256", "typ": "JWT"}, {**claims, **self.claims})
        self.tokens.append(".".join([_url64(json.dumps(part).encode()) for part in parts] + [_url64(b"signature")]))
        return self.tokens[-1]

    # -- Fulcio ----------------------------------------------------------------------------------------------------

    def certify(self, request: dict[str, Any]) -> dict[str, Any]:
        csr = x509.load_pem_x509_csr(base64.b64decode(request["certificateSigningRequest"]))
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("sigstore-python makes P-256 keys")
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self.root.subject, x509.Name([]), key, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(minutes=1)).not_valid_after(now + dt.timedelta(minutes=9))
        for extension, critical in (
            (x509.KeyUsage(True, False, False, False, False, False, False, False, False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(self.identity)]), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False),
            (x509.UnrecognizedExtension(ISSUER, self.issuer.encode()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        promise = self._promise(builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes)
        certificate = builder.add_extension(promise, critical=False).sign(self.authority, hashes.SHA256())
        chain = [one.public_bytes(serialization.Encoding.PEM).decode() for one in (certificate, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def _promise(self, body: bytes) -> x509.UnrecognizedExtension:
        """A signed certificate timestamp over a precertificate: RFC 6962, 3.2 and 3.3."""
        at = int(time.time() * 1000)
        entry = hashlib.sha256(_der(self.authority)).digest() + len(body).to_bytes(3, "big") + body
        signed = struct.pack("!BBQH", 0, 0, at, 1) + entry + b"\0\0"
        signature = self.ct_log.sign(signed, ec.ECDSA(hashes.SHA256()))
        stamp = b"\0" + hashlib.sha256(_der(self.ct_log)).digest() + struct.pack("!QHBBH", at, 0, 4, 3, len(signature))
        stamp += signature
        listed = struct.pack("!HH", len(stamp) + 2, len(stamp)) + stamp
        return x509.UnrecognizedExtension(SCT_LIST, b"\x04" + _length(len(listed)) + listed)

    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests: fulcio")])
        start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, self.authority.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=3650))
        for extension, critical in (
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
            (x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.authority, hashes.SHA256())

    # -- Rekor -----------------------------------------------------------------------------------------------------

    def log(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry in a tree of its own: RFC 6962's hash of a leaf is the root."""
        body = bytes(rfc8785.dumps(entry))
        key = hashlib.sha256(_der(self.rekor)).digest()
        root = hashlib.sha256(b"\0" + body).digest()
        at = int(time.time())
        text = f"tests - 1\n1\n{base64.b64encode(root).decode()}\n"
        note = base64.b64encode(key[:4] + self._signed(text.encode())).decode()
        logged = {"body": base64.b64encode(body).decode(), "integratedTime": at, "logID": key.hex(), "logIndex": 0}
        proof = {
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
            "hashes": [],
            "checkpoint": f"{text}\n\u2014 tests {note}\n",
        }
        promise = base64.b64encode(self._signed(bytes(rfc8785.dumps(logged)))).decode()
        return {"0": {**logged, "verification": {"inclusionProof": proof, "signedEntryTimestamp": promise}}}

    def _signed(self, data: bytes) -> bytes:
        return self.rekor.sign(data, ec.ECDSA(hashes.SHA256()))

    # -- whom to trust ---------------------------------------------------------------------------------------------

    def trusted_root(self) -> dict[str, Any]:
        start = {"start": "2020-01-01T00:00:00Z"}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": _b64(_der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": start}
            identity = {"keyId": _b64(hashlib.sha256(_der(key)).digest())}
            return {"baseUrl": self.url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": identity}

        root = {"rawBytes": _b64(self.root.public_bytes(serialization.Encoding.DER))}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.rekor)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "tests", "commonName": "tests: fulcio"},
                    "uri": self.url,
                    "certChain": {"certificates": [root]},
                    "validFor": start,
                }
            ],
            "ctlogs": [log(self.ct_log)],
            "timestampAuthorities": [],
        }

    def trust_config(self) -> str:
        service = {
            "url": self.url,
            "majorApiVersion": 1,
            "validFor": {"start": "2020-01-01T00:00:00Z"},
            "operator": "tests",
        }
        signing = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service],
            "oidcUrls": [service],
            "rekorTlogUrls": [service],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [],
            "tsaConfig": {"selector": "ANY"},
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": self.trusted_root(),
                "signingConfig": signing,
            }
        )


@contextlib.contextmanager
def served(stand: Sigstore) -> Iterator[Sigstore]:
    """The instance on a port of 127.0.0.1; paths in `refuse` are answered by that status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(lambda: {"value": stand.token()})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/api/v2/signingCert":
                known = self.headers["Authorization"] in [f"Bearer {token}" for token in stand.tokens]
                self.answer((lambda: stand.certify(sent)) if known else None)
            else:
                self.answer(lambda: stand.log(sent), 201)

        def answer(self, call: Any, status: int = 200) -> None:
            status = stand.refuse.get(self.path.partition("?")[0], status if call else 401)
            body = json.dumps(call() if status < 400 else {"message": "not now"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *dummy: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    written = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(written)]) + written
