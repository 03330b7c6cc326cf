# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signers (J2): a key file that only its owner can read, a KMS that says the truth; nothing of a key in any message."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("securesystemslib")

from ansible_collections.papyrus.ops.plugins.module_utils import _signers
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import (
    MAX_ENVELOPE,
    check_signature,
    load_public_keys,
    low_s,
    parse_envelope,
    public_key,
)
from ansible_collections.papyrus.ops.plugins.module_utils._signers import (
    OpenSigner,
    SignerError,
    check_signer,
    open_signer,
)
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1"}'
PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
KEY = ed25519.Ed25519PrivateKey.generate()
ARN = "arn:aws:kms:us-west-2:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"
Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def write(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


def private_pem(key: Private = KEY, kind: Any = PKCS8, encryption: Any = PLAIN) -> bytes:
    return key.private_bytes(PEM, kind, encryption)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "key.pem", private_pem())


def opened(path: Path | str) -> OpenSigner:
    signer = open_signer({"type": "file", "private_key": str(path)})
    assert signer is not None
    return signer


# -- options --------------------------------------------------------------------------------------------------------


def test_j2_nobody_signs_when_no_signer_is_named() -> None:
    assert check_signer({}) == {}
    assert open_signer({}) is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"private_key": "/k"}, "type is None; it must be one of file, kms, sigstore"),
        ({"type": "gpg"}, "type is 'gpg'"),
        ({"type": ["file"]}, "it must be one of"),
        ({"type": "file"}, "private_key must be given"),
        ({"type": "file", "private_key": ""}, "private_key must be given"),
        ({"type": "file", "private_key": 7}, "private_key must be given"),
        ({"type": "file", "private_key": "/k\n"}, "private_key must be given"),
        ({"type": "file", "private_key": "keys/k.pem"}, "keys/k.pem must be an absolute path"),
        ({"type": "file", "private_key": "/k", "key_id": "x"}, "unknown option key_id; it has: private_key"),
        ({"type": "kms"}, "key_id must be given"),
        ({"type": "kms", "key_id": "x", "region": "y"}, "unknown option region; it has: key_id"),
        ({"type": "sigstore", "identity": "me"}, "unknown option identity; it has: none"),
    ],
)
def test_j2_options_of_a_signer_are_told_apart(options: dict[str, Any], match: str) -> None:
    for check in (check_signer, open_signer):
        with pytest.raises(ValueError, match=match):
            check(options)


def test_j2_checked_options_can_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/runner")
    checked = check_signer({"type": "file", "private_key": "~/key.pem"})
    assert json.loads(json.dumps(checked)) == {"type": "file", "private_key": "/home/runner/key.pem"}
    assert check_signer(checked) == checked
    assert check_signer({"type": "kms", "key_id": " alias/x "}) == {"type": "kms", "key_id": "alias/x"}
    assert check_signer({"type": "sigstore"}) == {"type": "sigstore"}


# -- key file -------------------------------------------------------------------------------------------------------


def test_j2_a_key_file_signs_what_its_public_half_verifies(file: Path, tmp_path: Path) -> None:
    signer = opened(file)
    assert (signer.kind, signer.trust, signer.identity) == ("file", "self-asserted", "")
    write(tmp_path / "pub.pem", signer.public_key.encode())
    keys = load_public_keys([str(tmp_path / "pub.pem")])
    data = signer.envelope(STATEMENT)
    envelope = parse_envelope(data)
    assert (envelope.payload, envelope.keyid) == (STATEMENT, signer.keyid)
    assert check_signature(envelope, keys).keyid == signer.keyid
    assert not data.endswith(b"\n")
    assert opened(file).envelope(STATEMENT) == data  # Ed25519 has no randomness


def test_j2_the_key_is_read_once(file: Path) -> None:
    signer = opened(file)
    file.unlink()
    assert parse_envelope(signer.envelope(STATEMENT)).payload == STATEMENT


def test_j2_a_statement_too_large_for_an_envelope_is_not_signed(file: Path) -> None:
    with pytest.raises(SignerError, match="is not used: the envelope has"):
        opened(file).envelope(bytes(MAX_ENVELOPE))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_j2_a_key_file_that_others_can_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SignerError, match=f"mode {mode:04o}.*chmod 600 {file}.*openssl genpkey"):
        opened(file)
    file.chmod(0o400)
    assert opened(file)


def test_j2_a_key_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SignerError, match="belongs to user id"):
        opened(file)


def test_j2_a_link_or_anything_but_a_file_is_refused(file: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.pem", tmp_path / "pipe"
    link.symlink_to(file)
    with pytest.raises(SignerError, match="is a link; give the file itself"):
        opened(link)
    os.mkfifo(pipe, 0o600)
    with pytest.raises(SignerError, match="is not a file"):
        opened(pipe)
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    for path in (folder, "/dev/zero"):
        with pytest.raises(SignerError, match="is not a file|cannot be read"):
            opened(path)
    with pytest.raises(SignerError, match=r"There is no signing key .*none\.pem\. Make one: .*openssl genpkey"):
        opened(tmp_path / "none.pem")


SECRET = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (private_pem(SECRET, encryption=serialization.BestAvailableEncryption(b"x")), "not an unencrypted PKCS#8"),
        (private_pem(SECRET, serialization.PrivateFormat.OpenSSH), "not an unencrypted PKCS#8"),
        (private_pem(ec.generate_private_key(ec.SECP256R1())), "is not an Ed25519 key"),
        (private_pem(rsa.generate_private_key(65537, 2048)), "is not an Ed25519 key"),
        (private_pem(rsa.generate_private_key(65537, 2048), serialization.PrivateFormat.TraditionalOpenSSL), "PKCS#8"),
        (private_pem(SECRET).replace(b"MC4", b"MC5"), "its PEM is damaged"),
        (private_pem(SECRET)[:60], "its PEM is damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nhunter22hunter22\n-----END PRIVATE KEY-----\n", "its PEM is damaged"),
        (b"", "not an unencrypted PKCS#8"),
    ],
    ids=range(9),
)
def test_j2_what_is_no_ed25519_key_is_refused_and_never_quoted(content: bytes, match: str, tmp_path: Path) -> None:
    file = write(tmp_path / "key.pem", content)
    with pytest.raises(SignerError, match=match) as caught:
        opened(file)
    text = f"{caught.value!r} {caught.value.__cause__!r} {caught.getrepr(showlocals=False, style='value')}"
    assert "openssl genpkey -algorithm ed25519" in str(caught.value)
    for line in content.splitlines():
        if line and b"-----" not in line:
            assert line.decode("latin-1") not in text


def test_j2_the_private_key_is_in_no_text_of_the_signer(file: Path) -> None:
    signer = opened(file)
    raw = KEY.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, PLAIN)
    body = private_pem().splitlines()[1].decode()
    shown = f"{signer!r} {signer} {vars(signer)}"
    assert raw.hex() not in shown and body not in shown
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(signer)


@pytest.mark.parametrize(
    ("keyid", "signature", "match"),
    [
        ("", bytes(64), "the signature is not by"),
        ("", b"", "the signature is not by"),
        ("other", b"", "names key .other"),
    ],
)
def test_j2_a_signature_that_does_not_verify_is_not_handed_out(
    file: Path, keyid: str, signature: bytes, match: str
) -> None:
    good = opened(file)
    bad = dataclasses.replace(good, sign=lambda dummy: (keyid or good.keyid, signature, None))
    with pytest.raises(SignerError, match=f"What the signer .file. returned is not used: .*{match}"):
        bad.envelope(STATEMENT)


def test_j2_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "securesystemslib", None)
        with pytest.raises(SignerError, match=r"needs the Python package securesystemslib\[crypto\]"):
            opened(file)
    monkeypatch.setattr(_signers, "CRYPTOGRAPHY_IMPORT_ERROR", ImportError("no cryptography"))
    with pytest.raises(SignerError, match=r"needs the Python package securesystemslib\[crypto\]: no cryptography"):
        opened(file)


# -- AWS KMS --------------------------------------------------------------------------------------------------------


class Kms:
    """GetPublicKey and Sign over a key of ours, wrong where a test says so."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, spec: str, **public: Any) -> None:
        self.key, self.spec, self.public = key, spec, public
        self.aws = FakeAws({"kms.get_public_key": self.public_key, "kms.sign": self.sign})
        self.signed: Callable[[bytes], bytes] = lambda signature: signature
        self.dry_run: Callable[[], None] = self.would_sign

    @staticmethod
    def would_sign() -> None:
        raise Refusal(
            "DryRunOperationException", "The request was rejected because the DryRun parameter was specified."
        )

    def public_key(self, dummy: Mapping[str, Any]) -> Mapping[str, Any]:
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return {"KeyId": ARN, "KeyUsage": "SIGN_VERIFY", "KeySpec": self.spec, "PublicKey": der, **self.public}

    def sign(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        assert (sent["KeyId"], sent["MessageType"]) == (ARN, "DIGEST")
        if sent.get("DryRun"):
            self.dry_run()
        algorithm = {32: hashes.SHA256(), 48: hashes.SHA384()}[len(sent["Message"])]
        if isinstance(self.key, rsa.RSAPrivateKey):
            assert sent["SigningAlgorithm"] == "RSASSA_PSS_SHA_256"
            pss = padding.PSS(padding.MGF1(algorithm), 32)
            made = self.key.sign(sent["Message"], pss, utils.Prehashed(algorithm))
        else:
            assert sent["SigningAlgorithm"] == f"ECDSA_SHA_{algorithm.digest_size * 8}"
            made = self.key.sign(sent["Message"], ec.ECDSA(utils.Prehashed(algorithm)))
        return {"KeyId": ARN, "Signature": self.signed(made), "SigningAlgorithm": sent["SigningAlgorithm"]}


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kms]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    def make(key: Any = None, spec: str = "ECC_NIST_P256", **public: Any) -> Kms:
        made = Kms(key or ec.generate_private_key(ec.SECP256R1()), spec, **public)
        monkeypatch.setattr(_signers, "client_factory", lambda *dummy, **unused: made.aws)
        return made

    return make


def kms_signer() -> OpenSigner:
    signer = open_signer({"type": "kms", "key_id": "alias/release"})
    assert signer is not None
    return signer


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ECC_NIST_P256"),
        (ec.generate_private_key(ec.SECP384R1()), "ECC_NIST_P384"),
        (rsa.generate_private_key(65537, 2048), "RSA_2048"),
    ],
    ids=["P-256", "P-384", "RSA"],
)
def test_j2_kms_is_asked_for_its_key_then_whether_it_would_sign(kms: Callable[..., Kms], key: Any, spec: str) -> None:
    made = kms(key, spec)
    signer = kms_signer()
    assert [(name, sent.get("KeyId"), sent.get("DryRun")) for name, sent in made.aws.requests] == [
        ("kms.get_public_key", "alias/release", None),
        ("kms.sign", ARN, True),
    ]
    assert (signer.trust, signer.identity) == ("kms", ARN)
    trusted = public_key(signer.public_key.encode(), "key")
    signatures = [parse_envelope(signer.envelope(STATEMENT)) for dummy in range(16)]
    for envelope in signatures:
        assert check_signature(envelope, [trusted]) == trusted
    assert len({envelope.signature for envelope in signatures}) == 16


def test_j2_a_high_s_of_kms_is_made_the_low_one(kms: Callable[..., Kms]) -> None:
    made, seen = kms(), []

    def keep(signature: bytes) -> bytes:
        seen.append(signature)
        return signature

    made.signed = keep
    signer = kms_signer()
    used = [parse_envelope(signer.envelope(STATEMENT)).signature for dummy in range(24)]
    assert [low_s(signature, "ecdsa-sha2-nistp256") for signature in seen] == used
    assert seen != used


@pytest.mark.parametrize("signature", [b"", b"0", bytes(64), b"\x30\x06\x02\x01\x01\x02\x01\x01"])
def test_j2_what_kms_returns_is_verified_before_it_is_used(kms: Callable[..., Kms], signature: bytes) -> None:
    made = kms()
    signer = kms_signer()
    made.signed = lambda dummy: signature
    with pytest.raises(SignerError, match="returned no signature of|is not used: the signature is not by key"):
        signer.envelope(STATEMENT)


def test_j2_a_permission_that_is_missing_is_known_before_the_run(kms: Callable[..., Kms]) -> None:
    made = kms()

    def denied() -> None:
        raise Refusal("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: kms:Sign")

    made.dry_run = denied
    with pytest.raises(SignerError, match=f"KMS Sign on {ARN} failed: AccessDeniedException: .*needs kms:GetPublicKey"):
        kms_signer()


def test_j2_a_kms_that_signs_a_dry_run_would_sign(kms: Callable[..., Kms]) -> None:
    made = kms()
    made.dry_run = lambda: None
    assert kms_signer().envelope(STATEMENT)


@pytest.mark.parametrize(
    ("public", "match"),
    [
        ({"KeyUsage": "KEY_AGREEMENT"}, "is for KEY_AGREEMENT with ECC_NIST_P256"),
        ({"KeySpec": "ML_DSA_65"}, "is for SIGN_VERIFY with ML_DSA_65"),
        (
            {"KeySpec": "ECC_NIST_P384"},
            "says that alias/release is ECC_NIST_P384, and its public key is for ecdsa-sha2-nistp256",
        ),
        ({"PublicKey": b"x"}, "public key for alias/release that cannot be read"),
    ],
    ids=range(4),
)
def test_j2_a_key_that_is_not_for_this_is_refused(kms: Callable[..., Kms], public: dict[str, Any], match: str) -> None:
    kms(**public) if "KeySpec" not in public else kms(None, public["KeySpec"])
    with pytest.raises(SignerError, match=match):
        kms_signer()


def test_j2_no_region_and_an_unknown_profile_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(SignerError, match="alias/release cannot be asked for: You must specify a region"):
        kms_signer()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SignerError, match="cannot be asked for: The config profile .nobody. could not be found"):
        kms_signer()


def test_j2_no_credentials_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SignerError, match="KMS GetPublicKey on alias/release failed: NoCredentialsError"):
        kms_signer()
