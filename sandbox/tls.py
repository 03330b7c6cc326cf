"""The sandbox's certificate authority: made once, kept across restarts, signs databases and HTTPS listeners."""

from __future__ import annotations

import datetime
import ipaddress
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.config import write_atomically

CA_LIFE = datetime.timedelta(days=3650)
LEAF_LIFE = datetime.timedelta(days=397)
# A laptop that slept or a container with a slow clock must not refuse a certificate as "not yet valid".
BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Credential:
    """A certificate with its private key, both PEM."""

    certificate: str
    key: str


class Authority:
    """Signs server certificates with the key in `folder` (`ca.pem`, `ca.key` 0600); makes both when missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None

    @property
    def certificate_file(self) -> Path:
        """What clients trust; made on first use."""
        self._load()
        return self._folder / "ca.pem"

    def issue(self, common_name: str, names: Iterable[str] = (), addresses: Iterable[str] = ()) -> Credential:
        """A server certificate for DNS `names` and IP `addresses` (subject alternative names, RFC 5280 4.2.1.6)."""
        ca, ca_key = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(names)]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
        builder = _builder(_subject(common_name[:64]), ca.subject, key.public_key(), LEAF_LIFE)
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return Credential(_pem(certificate), _key_pem(key))

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._read() or self._make()
            return self._loaded

    def _read(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        try:
            certificate = x509.load_pem_x509_certificate((self._folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((self._folder / "ca.key").read_bytes(), password=None)
        except (OSError, ValueError):
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            return None
        return certificate, key

    def _make(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject("Papyrus sandbox RDS and ELB root CA")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            _builder(name, name, key.public_key(), CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        # The key first: a certificate without its key is made anew, one that clients trust must stay.
        write_private(self._folder / "ca.key", _key_pem(key))
        write_private(self._folder / "ca.pem", _pem(certificate), mode=0o644)
        return certificate, key


def write_private(file: Path, text: str, mode: int = 0o600) -> None:
    """Write `text` so that nobody else can read it at any moment, replacing what was there."""
    write_atomically(file, text, mode)


def _subject(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "papyrus.ops sandbox")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
