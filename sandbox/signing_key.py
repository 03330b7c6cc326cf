"""The key that signs evidence made against this sandbox: made at the first start, kept, for its owner alone."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.config import Settings, write_atomically


class SigningKeyError(Exception):
    """The key is there and cannot be used; the message says what to do. It is never replaced by itself."""


def ensure(settings: Settings) -> None:
    """Makes `settings.signing_key` (PKCS#8 PEM, Ed25519, 0600) unless it is there, and its public key beside it.

    Called by the one process that holds the sandbox. A key that is damaged stays: what it has signed still names it.
    """
    settings.signing_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        pem = settings.signing_key.read_bytes()
    except FileNotFoundError:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomically(settings.signing_key, pem.decode("ascii"), 0o600)
    public = _public_pem(pem, settings.signing_key)
    if not settings.signing_public_key.exists() or settings.signing_public_key.read_text() != public:
        write_atomically(settings.signing_public_key, public)


def _public_pem(pem: bytes, file: Path) -> str:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{file} is no Ed25519 key: remove it, then a new one is made at the next start")
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii")
    )
