# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DSSE envelope around the statement, with exactly one valid form, and its verification with public keys.

https://github.com/secure-systems-lab/dsse/blob/master/protocol.md and envelope.md. What those leave open is closed
here: an envelope is the RFC 8785 form of its JSON, has no other fields, one signature, base64 with padding and without
stray bits, and a signature that nobody can turn into another valid one. So no changed byte leaves a valid envelope.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._evidence import BundleError, canonical

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    CRYPTOGRAPHY_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    CRYPTOGRAPHY_IMPORT_ERROR = exc

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE = 8 * 1024 * 1024
MAX_KEY_FILE = 64 * 1024
MIN_RSA_BITS = 2048

_MAX_DEPTH = 32
_PEM_LABEL = re.compile(rb"-----BEGIN ([^-\r\n]*)-----")
_CURVES = {"ecdsa-sha2-nistp256": "secp256r1", "ecdsa-sha2-nistp384": "secp384r1"}
_ORDERS = {
    # Group orders n: https://doi.org/10.6028/NIST.SP.800-186, sections 3.2.1.3 and 3.2.1.4
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
}


class DsseError(Exception):
    """The bytes are no envelope in its one valid form; the message says what is wrong with them."""


class BadSignature(DsseError):
    """The key is the one that the envelope names, and the signature is not by it over this payload."""


class WrongKey(Exception):
    """The envelope is signed with a key that is none of the given ones; nothing can be said about its signature."""


class BadKeyFile(ValueError):
    """A file that should hold a public key does not; the message names it and says what to give instead."""


@dataclass(frozen=True)
class Envelope:
    """`payload` and `signature` are decoded; `bundle` is Sigstore's, for keyless signatures only."""

    payload: bytes
    payload_type: str
    keyid: str
    signature: bytes
    bundle: Mapping[str, Any] | None = None

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over: the pre-authentication encoding, PAE(payloadType, payload)."""
        return pae(self.payload_type, self.payload)

    def to_bytes(self) -> bytes:
        """The one valid form, without a line end. DsseError when it is too large or `bundle` is no plain JSON."""
        signature: dict[str, Any] = {"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode("ascii")}
        if self.bundle is not None:
            signature["bundle"] = dict(self.bundle)
        try:
            data = canonical(
                {
                    "payload": base64.b64encode(self.payload).decode("ascii"),
                    "payloadType": self.payload_type,
                    "signatures": [signature],
                }
            )
        except BundleError:
            raise  # rfc8785 is not installed
        except (ValueError, TypeError, RecursionError) as exc:
            raise DsseError(f"the envelope has no canonical form (RFC 8785): {exc}") from exc
        if len(data) > MAX_ENVELOPE:
            raise DsseError(f"the envelope has {len(data)} bytes; {MAX_ENVELOPE} are allowed")
        return data


@dataclass(frozen=True)
class TrustedKey:
    """`keyid`: SHA-256 of the DER SubjectPublicKeyInfo, in hex. `pem`: the same key. `scheme` as securesystemslib."""

    keyid: str
    pem: str
    scheme: str


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes) -> Envelope:
    """The envelope in `data`. DsseError for anything but its one valid form."""
    if len(data) > MAX_ENVELOPE:
        raise DsseError(f"the envelope has {len(data)} bytes; {MAX_ENVELOPE} are allowed")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise DsseError(f"the envelope is no JSON in UTF-8: {str(exc)[:200]}") from exc
    if _deeper_than(value, _MAX_DEPTH):
        raise DsseError(f"the envelope's JSON is nested deeper than {_MAX_DEPTH}")
    envelope = _envelope(value)
    if envelope.to_bytes() != data:
        raise DsseError("the envelope is not in canonical form (RFC 8785): it was written or changed by something else")
    return envelope


def check_signature(envelope: Envelope, keys: Sequence[TrustedKey]) -> TrustedKey:
    """The key that signed. WrongKey when none of `keys` has the envelope's key id, else BadSignature."""
    _need_cryptography()
    if envelope.bundle is not None:
        raise WrongKey("the envelope is signed keyless (Sigstore): it needs an identity and its issuer, not a key")
    if not keys:
        raise WrongKey(f"the envelope is signed with key {_shown(envelope.keyid)}, and no public key was given")
    key = next((key for key in keys if key.keyid == envelope.keyid), None)
    if key is None:
        given = ", ".join(sorted({key.keyid for key in keys}))
        raise WrongKey(f"the envelope names key {_shown(envelope.keyid)}; given: {given}")
    if not _verifies(key, envelope.signature, envelope.signed_bytes):
        raise BadSignature(f"the signature is not by key {key.keyid} over this statement")
    return key


def check_keyless(envelope: Envelope, identity: str, issuer: str, *, trusted_root: str = "") -> str:
    """The identity that signed, as Fulcio's certificate says it. WrongKey for another one, else BadSignature.

    `trusted_root` is the path of Sigstore's trusted_root.json, from elsewhere than the bundle; without it the public
    good instance's is fetched (TUF, needs the network). DsseError says why nothing could be verified: the package
    sigstore is not installed, or there is no such root.
    """
    if envelope.bundle is None:
        raise WrongKey("the envelope is signed with a key, not keyless: give the public key")
    try:
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
    except ImportError as exc:
        raise DsseError(f"a keyless signature needs the Python package sigstore to be verified: {exc}") from exc
    try:
        root = TrustedRoot.from_file(trusted_root) if trusted_root else None
        verifier = Verifier(trusted_root=root) if root else Verifier.production()
    except Exception as exc:  # of sigstore, TUF, requests, pydantic
        where = trusted_root or "the public one"
        raise DsseError(
            f"Sigstore's trusted root ({where}) cannot be had: {type(exc).__name__}: {str(exc)[:300]}"
        ) from exc
    try:
        _verify_keyless(envelope, verifier, identity, issuer)
    except WrongKey:
        raise
    except Exception as exc:  # of sigstore, or a parser that a hostile certificate has tripped
        raise BadSignature(f"the keyless signature does not verify: {str(exc)[:500] or type(exc).__name__}") from exc
    return identity


def _verify_keyless(envelope: Envelope, verifier: Any, identity: str, issuer: str) -> None:
    from sigstore.errors import VerificationError
    from sigstore.models import Bundle
    from sigstore.verify import policy

    given = envelope.bundle or {}
    _check_bundle_fields(given)
    bundle = Bundle.from_json(json.dumps(given))
    if canonical(json.loads(bundle.to_json())) != canonical(given) or bundle.signature != envelope.signature:
        raise DsseError("its Sigstore bundle is not in its own form, or not of this signature")
    certificate = bundle.signing_certificate
    if fingerprint(certificate.public_key()) != envelope.keyid:
        raise WrongKey(f"the envelope names key {_shown(envelope.keyid)}; its certificate is for another one")
    wanted = policy.Identity(identity=identity, issuer=issuer)
    try:
        wanted.verify(certificate)
    except VerificationError as exc:
        raise WrongKey(f"the keyless signature is by another identity: {exc}") from exc
    verifier.verify_artifact(envelope.signed_bytes, bundle, wanted)


def _check_bundle_fields(bundle: Mapping[str, Any]) -> None:
    """Sigstore takes a bundle without some of its parts as well; here it has all that sigstore-python writes."""
    _fields(bundle, "the Sigstore bundle", {"mediaType", "messageSignature", "verificationMaterial"})
    _fields(bundle["messageSignature"], "its signature", {"messageDigest", "signature"})
    material = bundle["verificationMaterial"]
    _fields(material, "its material", {"certificate", "timestampVerificationData", "tlogEntries"})
    _fields(material["timestampVerificationData"], "its time stamps", {"rfc3161Timestamps"})


def load_public_keys(paths: Sequence[str]) -> list[TrustedKey]:
    """The public keys in PEM files (SubjectPublicKeyInfo), one a file. BadKeyFile names the file and the remedy."""
    return [public_key(_read(path), path) for path in paths]


def public_key(pem: bytes, label: str) -> TrustedKey:
    """The key in `pem`: Ed25519, ECDSA on P-256 or P-384, RSA of at least 2048 bits. BadKeyFile begins with `label`."""
    _need_cryptography()
    labels = [found.decode("ascii", "replace") for found in _PEM_LABEL.findall(pem)]
    if any("PRIVATE KEY" in name for name in labels):
        raise BadKeyFile(
            f"{label}: this is a private key. Verifying needs the public one: openssl pkey -in KEY -pubout -out FILE"
        )
    if labels == ["CERTIFICATE"]:
        raise BadKeyFile(f"{label}: this is a certificate. Its key: openssl x509 -in FILE -noout -pubkey")
    if labels != ["PUBLIC KEY"]:
        raise BadKeyFile(f"{label}: not one PEM block PUBLIC KEY (found: {', '.join(labels) or 'none'})")
    try:
        key = serialization.load_pem_public_key(pem)
        name = fingerprint(key)
        text = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise BadKeyFile(f"{label}: the public key cannot be read: {exc}") from exc
    return TrustedKey(name, text.decode("ascii"), _scheme(key, label))


def fingerprint(key: Any) -> str:
    """Of a public key of cryptography's: `openssl pkey -pubin -in FILE -outform DER | sha256sum` says the same."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def low_s(signature: bytes, scheme: str) -> bytes:
    """An ECDSA signature with the smaller of its two valid s, in DER; others as they are. ValueError for no DER."""
    if scheme not in _CURVES:
        return signature
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _ORDERS[_CURVES[scheme]] - s))


def _scheme(key: object, label: str) -> str:
    if isinstance(key, Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey):
        for scheme, curve in _CURVES.items():
            if key.curve.name == curve:
                return scheme
        raise BadKeyFile(f"{label}: the curve {key.curve.name} is not one of P-256, P-384")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise BadKeyFile(f"{label}: an RSA key of {key.key_size} bits; at least {MIN_RSA_BITS} are needed")
        return "rsassa-pss-sha256"
    raise BadKeyFile(f"{label}: a key of this kind is not supported; Ed25519, ECDSA (P-256, P-384) and RSA are")


def _verifies(key: TrustedKey, signature: bytes, message: bytes) -> bool:
    loaded = serialization.load_pem_public_key(key.pem.encode("ascii"))
    try:
        if isinstance(loaded, Ed25519PublicKey):
            # Refuses s >= L (RFC 8032, 5.1.7) and any encoding of R but the one it computes: no second form.
            loaded.verify(signature, message)
        elif isinstance(loaded, ec.EllipticCurvePublicKey):
            if low_s(signature, key.scheme) != signature:
                return False
            digest = hashes.SHA256() if key.scheme == "ecdsa-sha2-nistp256" else hashes.SHA384()
            loaded.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(loaded, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            loaded.verify(signature, message, salted, hashes.SHA256())
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _envelope(value: Any) -> Envelope:
    fields = _fields(value, "the envelope", {"payload", "payloadType", "signatures"})
    if fields["payloadType"] != PAYLOAD_TYPE:
        raise DsseError(f"payloadType is {_shown(fields['payloadType'])}, not {PAYLOAD_TYPE}")
    signatures = fields["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise DsseError("the envelope has not exactly one signature")
    signature = _fields(signatures[0], "the signature", {"keyid", "sig"}, {"bundle"})
    bundle = signature.get("bundle")
    if "bundle" in signature and not isinstance(bundle, dict):
        raise DsseError("the signature's bundle is no JSON object")
    if not isinstance(signature["keyid"], str):
        raise DsseError("the signature's keyid is no text")
    return Envelope(
        payload=_base64(fields["payload"], "payload"),
        payload_type=PAYLOAD_TYPE,
        keyid=signature["keyid"],
        signature=_base64(signature["sig"], "sig"),
        bundle=bundle,
    )


def _fields(
    value: Any, what: str, needed: set[str], allowed: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DsseError(f"{what} is no JSON object")
    unknown, missing = sorted(set(value) - needed - allowed), sorted(needed - set(value))
    if unknown or missing:
        said = [f"unknown {', '.join(map(_shown, unknown))}"] * bool(unknown) + [f"no {', '.join(missing)}"] * bool(
            missing
        )
        raise DsseError(f"{what} has other fields than it should: {'; '.join(said)}")
    return value


def _base64(value: Any, name: str) -> bytes:
    """RFC 4648, section 4, with padding; a second spelling (bits left over, white space) fails at the comparison."""
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error) as exc:
        raise DsseError(f"{name} is no base64") from exc


def _deeper_than(value: Any, limit: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    if limit == 0:
        return True
    return any(_deeper_than(child, limit - 1) for child in (value.values() if isinstance(value, dict) else value))


def _shown(value: Any) -> str:
    """Text of an untrusted envelope for a message: one line, short."""
    text = ascii(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BadKeyFile(f"{path}: not a file")
            data = file.read(MAX_KEY_FILE + 1)
    except OSError as exc:
        raise BadKeyFile(f"{path}: the public key cannot be read: {exc.strerror or exc}") from exc
    if len(data) > MAX_KEY_FILE:
        raise BadKeyFile(f"{path}: larger than {MAX_KEY_FILE} bytes: no public key")
    return data


def _need_cryptography() -> None:
    if CRYPTOGRAPHY_IMPORT_ERROR is not None:
        raise DsseError("the Python package cryptography is not installed here") from CRYPTOGRAPHY_IMPORT_ERROR
