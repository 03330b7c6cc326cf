# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who signs a bundle: a key file of the runner, a key in AWS KMS, or an OIDC identity (Sigstore), by securesystemslib.

A signer is opened before a run creates anything, so that a missing key or permission stops the run and not its seal.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._aws import AwsFailure, aws_call, client_factory, error_code
from ._dsse import (
    CRYPTOGRAPHY_IMPORT_ERROR,
    MAX_KEY_FILE,
    PAYLOAD_TYPE,
    BadKeyFile,
    DsseError,
    Envelope,
    TrustedKey,
    WrongKey,
    check_signature,
    fingerprint,
    low_s,
    pae,
    parse_envelope,
    public_key,
)

Signed = tuple[str, bytes, "Mapping[str, Any] | None"]
"""Key id, signature, and Sigstore's bundle for keyless signatures."""

TRUST = {"file": "self-asserted", "kms": "kms", "sigstore": "keyless"}
"""How far each kind of signer can be trusted (EVIDENCE.md)."""

_OPTIONS = {"file": ("private_key",), "kms": ("key_id",), "sigstore": ()}
_KMS_SPECS = {
    "ECC_NIST_P256": "ecdsa-sha2-nistp256",
    "ECC_NIST_P384": "ecdsa-sha2-nistp384",
    "RSA_2048": "rsassa-pss-sha256",
    "RSA_3072": "rsassa-pss-sha256",
    "RSA_4096": "rsassa-pss-sha256",
}
_MAKE_KEY = "(umask 077; openssl genpkey -algorithm ed25519 -out FILE)"


class SignerError(Exception):
    """Nothing can be signed; the message says what was tried, where, and what to do."""


@dataclass(frozen=True)
class OpenSigner:
    """`public_key` is PEM, `keyid` its SHA-256 as in _dsse.TrustedKey; both are "" before a keyless signature.

    `identity`: ARN of the KMS key; the OIDC identity as far as it is known before signing; "" for a key file.
    """

    kind: str
    trust: str
    keyid: str
    public_key: str
    identity: str
    sign: Callable[[bytes], Signed] = field(repr=False, compare=False)

    def envelope(self, payload: bytes) -> bytes:
        """attestation.dsse.json around the statement `payload`. SignerError when signing failed or does not verify."""
        keyid, signature, bundle = self.sign(pae(PAYLOAD_TYPE, payload))
        try:
            data = Envelope(payload, PAYLOAD_TYPE, keyid, signature, bundle).to_bytes()
            envelope = parse_envelope(data)
            if self.public_key:
                check_signature(envelope, [public_key(self.public_key.encode("ascii"), "the signer's key")])
        except (DsseError, WrongKey) as exc:
            raise SignerError(f"What the signer ({self.kind}) returned is not used: {exc}") from exc
        return data


def check_signer(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a signer, validated, as JSON can carry them; {} stays {} (nobody signs). ValueError else.

    `{type: file, private_key: /path}`, `{type: kms, key_id: id, ARN or alias}` or `{type: sigstore}`.
    """
    if not options:
        return {}
    kind = options.get("type")
    if not isinstance(kind, str) or kind not in _OPTIONS:
        raise ValueError(f"signer: type is {kind!r}; it must be one of {', '.join(_OPTIONS)}")
    wanted = _OPTIONS[kind]
    unknown = sorted(str(name) for name in options if name not in {"type", *wanted})
    if unknown:
        raise ValueError(
            f"signer of type {kind}: unknown option {', '.join(unknown)}; it has: {', '.join(wanted) or 'none'}"
        )
    checked = {"type": kind}
    for name in wanted:
        value = options.get(name)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise ValueError(f"signer of type {kind}: {name} must be given, as text")
        checked[name] = value.strip()
    if kind == "file":
        checked["private_key"] = os.path.expanduser(checked["private_key"])
        if not os.path.isabs(checked["private_key"]):
            raise ValueError(f"signer of type file: private_key {checked['private_key']} must be an absolute path")
    return checked


def open_signer(options: Mapping[str, Any], *, region: str = "") -> OpenSigner | None:
    """The signer, ready to sign; None for {} (nobody signs). SignerError says what to do, ValueError as check_signer.

    For KMS, endpoint, credentials and (without `region`) the region come from the environment, as botocore does it.
    """
    checked = check_signer(options)
    if not checked:
        return None
    if checked["type"] == "file":
        return _file_signer(checked["private_key"])
    if checked["type"] == "kms":
        return _kms_signer(checked["key_id"], region)
    return _keyless_signer()


def _library() -> Any:
    """securesystemslib.signer, imported when it is needed: it brings boto3, a third of a second."""
    try:
        if CRYPTOGRAPHY_IMPORT_ERROR is not None:
            raise CRYPTOGRAPHY_IMPORT_ERROR
        from securesystemslib import signer
    except ImportError as exc:
        raise SignerError(f"Signing needs the Python package securesystemslib[crypto]: {exc}") from exc
    # It logs failures to stderr by itself; here they are exceptions.
    logging.getLogger("securesystemslib").setLevel(logging.CRITICAL + 1)
    return signer


def _library_key(key: TrustedKey) -> Any:
    """The key as securesystemslib has it, with the key id of this project."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _library().SSlibKey.from_crypto(load_pem_public_key(key.pem.encode("ascii")), key.keyid, key.scheme)


def _trusted(pem: bytes, label: str) -> TrustedKey:
    try:
        return public_key(pem, label)
    except (BadKeyFile, DsseError) as exc:
        raise SignerError(str(exc)) from exc


# -- key file -------------------------------------------------------------------------------------------------------


def _file_signer(path: str) -> OpenSigner:
    library = _library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = _private_pem(path)
    if b"-----BEGIN PRIVATE KEY-----" not in pem:
        raise SignerError(
            f"The signing key {path} is not an unencrypted PKCS#8 PEM file (PRIVATE KEY). Make one: {_MAKE_KEY}"
        )
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # What the library says could quote the file.
        raise SignerError(f"The signing key {path} cannot be read: its PEM is damaged. Make one: {_MAKE_KEY}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SignerError(f"The signing key {path} is not an Ed25519 key. Make one: {_MAKE_KEY}")
    key = _trusted(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        path,
    )
    signer = library.CryptoSigner(private, _library_key(key))

    def sign(message: bytes) -> Signed:
        return key.keyid, bytes.fromhex(signer.sign(message).signature), None

    return OpenSigner("file", TRUST["file"], key.keyid, key.pem, "", sign)


def _private_pem(path: str) -> bytes:
    """Content of a key file that only its owner, who runs this, can read. SignerError else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise SignerError(f"The signing key {path} is not a file.")
            if found.st_mode & 0o077:
                raise SignerError(
                    f"The signing key {path} can be used by others (mode {stat.S_IMODE(found.st_mode):04o}): "
                    f"chmod 600 {path} when nobody else can have read it, else make a new one: {_MAKE_KEY}"
                )
            if found.st_uid != os.geteuid():
                raise SignerError(
                    f"The signing key {path} belongs to user id {found.st_uid}, and this runs as {os.geteuid()}: "
                    "use a key of this user."
                )
            return file.read(MAX_KEY_FILE)
    except FileNotFoundError:
        raise SignerError(f"There is no signing key {path}. Make one: {_MAKE_KEY}") from None
    except OSError as exc:
        what = "is a link; give the file itself" if os.path.islink(path) else f"cannot be read: {exc.strerror or exc}"
        raise SignerError(f"The signing key {path} {what}.") from exc


# -- AWS KMS --------------------------------------------------------------------------------------------------------

_KMS_KEY = "a key with KeyUsage SIGN_VERIFY and KeySpec ECC_NIST_P256"
# Both a run's opening and its end wait for KMS: half a minute, not minutes.
_KMS_RETRIES = {"mode": "standard", "max_attempts": 4}
_KMS_HINTS = {
    "AccessDeniedException": "The role needs kms:GetPublicKey and kms:Sign on this key, in its policy or the key's.",
    "DisabledException": "Enable the key (aws kms enable-key) or give another one.",
    "KMSInvalidStateException": "A key that is disabled or waits for its deletion cannot sign: give another one.",
    "NotFoundException": "Check the key id, the alias, the region and the account.",
    "InvalidArnException": "Give a key id, a key ARN, alias/NAME or an alias ARN.",
    "InvalidKeyUsageException": f"Give {_KMS_KEY}.",
    "UnsupportedOperationException": f"A symmetric key cannot sign: give {_KMS_KEY}.",
}


def _kms_signer(key_id: str, region: str) -> OpenSigner:
    library = _library()
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError as exc:
        raise SignerError(f"Signing with KMS needs the Python packages boto3 and botocore: {exc}") from exc
    from cryptography.hazmat.primitives import serialization

    try:
        session = {"region_name": region} if region else None
        client = client_factory(session, retries=_KMS_RETRIES, read_timeout=10)("kms")
    except (AwsFailure, BotoCoreError) as exc:  # no region, an unknown profile
        raise SignerError(f"The KMS key {key_id} cannot be asked for: {exc}") from exc
    answer = _asked(lambda: client.get_public_key(KeyId=key_id), "KMS GetPublicKey", key_id)
    usage, spec = str(answer.get("KeyUsage")), str(answer.get("KeySpec"))
    if usage != "SIGN_VERIFY" or spec not in _KMS_SPECS:
        raise SignerError(
            f"The KMS key {key_id} is for {usage} with {spec}; signing needs KeyUsage SIGN_VERIFY and one of "
            f"{', '.join(_KMS_SPECS)}."
        )
    try:
        pem = serialization.load_der_public_key(answer["PublicKey"]).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except ValueError as exc:
        raise SignerError(f"KMS returned a public key for {key_id} that cannot be read: {exc}") from exc
    key = _trusted(pem, f"KMS key {key_id}")
    if key.scheme != _KMS_SPECS[spec]:
        raise SignerError(f"KMS says that {key_id} is {spec}, and its public key is for {key.scheme}.")
    arn = str(answer["KeyId"])  # an alias may lead to another key by the time of the seal
    signer = _aws_signer(library, arn, _library_key(key), client, region)
    _ask_to_sign(client, arn, signer.aws_algo, hashlib.new(signer.public_key.get_hash_algorithm_name()).digest())

    def sign(message: bytes) -> Signed:
        signature = _asked(lambda: signer.sign(message), "KMS Sign", arn)
        try:
            return key.keyid, low_s(bytes.fromhex(signature.signature), key.scheme), None
        except ValueError as exc:
            raise SignerError(f"KMS Sign with {arn} returned no signature of {key.scheme}: {exc}") from exc

    return OpenSigner("kms", TRUST["kms"], key.keyid, key.pem, arn, sign)


def _aws_signer(library: Any, arn: str, key: Any, client: Any, region: str) -> Any:
    """securesystemslib's signer with this project's client: it makes one itself, without a region or time limits."""
    import boto3

    if region:
        boto3.setup_default_session(region_name=region)
    signer = library.AWSSigner(arn, key)
    signer.client = client
    return signer


def _ask_to_sign(client: Any, arn: str, algorithm: str, digest: bytes) -> None:
    """Asks whether this principal may sign, without a signature.

    https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html: DryRun fails with
    DryRunOperationException when everything but the request's own work is in order.
    """
    try:
        client.sign(KeyId=arn, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm, DryRun=True)
    except Exception as exc:
        if error_code(exc) == "DryRunOperationException":
            return
        _raise(exc, "KMS Sign", arn)


def _asked(call: Callable[[], Any], operation: str, key_id: str) -> Any:
    try:
        return call()
    except Exception as exc:
        return _raise(exc, operation, key_id)


def _raise(exc: Exception, operation: str, key_id: str) -> None:
    try:
        with aws_call(operation, key_id, _KMS_HINTS.get(error_code(exc), "")):
            raise exc
    except AwsFailure as failure:
        raise SignerError(str(failure)) from exc


# -- Sigstore -------------------------------------------------------------------------------------------------------

_GITHUB = "https://token.actions.githubusercontent.com"


def _keyless_signer() -> OpenSigner:
    library = _library()
    identity, issuer = _ambient_identity()
    uri, key = library.SigstoreSigner.import_(identity, issuer)

    def sign(message: bytes) -> Signed:
        try:
            # Identity tokens live for minutes, a run may not: a new one at the time of the seal.
            signer = library.SigstoreSigner.from_priv_key_uri(uri, key)
            bundle = signer.sign(message).unrecognized_fields["bundle"]
            from sigstore.models import Bundle

            signed = Bundle.from_json(json.dumps(bundle))
            return fingerprint(signed.signing_certificate.public_key()), signed.signature, bundle
        except Exception as exc:  # sigstore, TUF, requests and OpenSSL each have their own
            raise SignerError(
                f"Keyless signing as {identity} failed: {type(exc).__name__}: {str(exc)[:500]}. It needs Sigstore's "
                "public instance (TUF, Fulcio, Rekor); the bundle can be sealed later with evidence_seal."
            ) from exc

    return OpenSigner("sigstore", TRUST["sigstore"], "", "", identity, sign)


def _ambient_identity() -> tuple[str, str]:
    """Identity and issuer of the workflow's OIDC token; the identity as Fulcio will certify it where that is known."""
    try:
        from sigstore.oidc import IdentityToken, detect_credential
    except ImportError as exc:
        raise SignerError(f"Keyless signing needs the Python package sigstore: {exc}") from exc
    try:
        credential = detect_credential()
        token = IdentityToken(credential) if credential else None
    except Exception as exc:
        raise SignerError(f"The OIDC identity of this workflow cannot be had: {str(exc)[:500]}") from exc
    if credential is None or token is None:
        raise SignerError(
            "There is no OIDC identity for keyless signing here: it exists in a workflow that may ask for one "
            "(GitHub Actions: permissions id-token: write). Elsewhere sign with a key file or KMS."
        )
    if token.federated_issuer == _GITHUB:
        # Fulcio certifies the workflow, not the token's subject: https://github.com/sigstore/fulcio/blob/main/docs/oidc.md
        workflow = _claims(credential).get("job_workflow_ref")
        if isinstance(workflow, str):
            return f"https://github.com/{workflow}", _GITHUB
    return token.identity, token.federated_issuer


def _claims(token: str) -> dict[str, Any]:
    """Claims of a JSON Web Token that sigstore has parsed already; nobody here decides by them."""
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
