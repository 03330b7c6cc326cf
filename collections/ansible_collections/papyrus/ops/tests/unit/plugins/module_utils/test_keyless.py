# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyless signing (J2) with sigstore-python against a Sigstore of the tests: never against the public one."""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sigstore")
pytest.importorskip("securesystemslib")

import rfc8785
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import (
    BadSignature,
    DsseError,
    WrongKey,
    check_keyless,
    check_signature,
    parse_envelope,
    public_key,
)
from ansible_collections.papyrus.ops.plugins.module_utils._signers import OpenSigner, SignerError, open_signer
from ansible_collections.papyrus.ops.tests.unit.sigstore_stand import GITHUB, WORKFLOW, Sigstore, served
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1"}'
IDENTITY = f"https://github.com/{WORKFLOW}"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No workflow that sigstore's detection knows."""
    for name in ("GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CIRCLECI", "BUILDKITE", "SIGSTORE_ID_TOKEN", "GOOGLE_SERVICE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sigstore(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sigstore]:
    """A workflow of GitHub Actions and a Sigstore that is taken for the public one."""
    from sigstore.models import ClientTrustConfig

    with served(Sigstore()) as stand:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hunter22-request")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{stand.url}/token?api-version=2")
        config = ClientTrustConfig.from_json(stand.trust_config())
        monkeypatch.setattr(ClientTrustConfig, "production", classmethod(lambda *dummy, **unused: config))
        yield stand


@pytest.fixture
def root(sigstore: Sigstore, tmp_path: Path) -> str:
    return write(tmp_path / "trusted_root.json", sigstore)


def write(file: Path, stand: Sigstore) -> str:
    file.write_text(json.dumps(stand.trusted_root()))
    return str(file)


def opened() -> OpenSigner:
    signer = open_signer({"type": "sigstore"})
    assert signer is not None
    return signer


def test_j2_a_workflow_signs_as_what_it_is(sigstore: Sigstore, root: str) -> None:
    signer = opened()
    assert (signer.kind, signer.trust, signer.keyid, signer.public_key) == ("sigstore", "keyless", "", "")
    assert signer.identity == IDENTITY
    envelope = parse_envelope(signer.envelope(STATEMENT))
    assert envelope.payload == STATEMENT
    assert check_keyless(envelope, IDENTITY, GITHUB, trusted_root=root) == IDENTITY
    assert len(sigstore.tokens) == 2  # a token for the seal, as the first may have expired during the run
    with pytest.raises(WrongKey, match="keyless"):
        check_signature(envelope, [public_key(_certificate_key(envelope.bundle), "certificate")])


def _certificate_key(bundle: Any) -> bytes:
    from sigstore.models import Bundle

    key = Bundle.from_json(json.dumps(bundle)).signing_certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_j2_a_keyless_signature_is_of_one_identity_and_one_root(sigstore: Sigstore, root: str, tmp_path: Path) -> None:
    envelope = parse_envelope(opened().envelope(STATEMENT))
    for identity, issuer in (
        (IDENTITY.replace("release", "other"), GITHUB),
        (IDENTITY, "https://accounts.example.com"),
        (IDENTITY + " ", GITHUB),
        ("", GITHUB),
    ):
        with pytest.raises(WrongKey, match="another identity"):
            check_keyless(envelope, identity, issuer, trusted_root=root)
    with pytest.raises(BadSignature, match="does not verify"):
        check_keyless(envelope, IDENTITY, GITHUB, trusted_root=write(tmp_path / "other.json", Sigstore()))
    for content in ("", "{}", "[]", '{"mediaType":"x"}'):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(DsseError, match=r"trusted root \(.*broken\.json\) cannot be had") as caught:
            check_keyless(envelope, IDENTITY, GITHUB, trusted_root=str(tmp_path / "broken.json"))
        assert caught.type is DsseError  # nothing is said about the signature
    with pytest.raises(DsseError, match="cannot be had: FileNotFoundError"):
        check_keyless(envelope, IDENTITY, GITHUB, trusted_root=str(tmp_path / "none.json"))


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from nodes(child, (*path, key))


def changes(document: dict[str, Any], path: tuple[Any, ...], rng: random.Random) -> Iterator[dict[str, Any]]:
    """The document with what is at `path` longer, with other characters, gone, and there twice."""
    for kind in ("gone", "twice", "longer", *["other"] * 8):
        changed = copy.deepcopy(document)
        within = changed
        for step in path[:-1]:
            within = within[step]
        value = within[path[-1]]
        if kind == "gone":
            del within[path[-1]]
        elif kind == "twice" and isinstance(within, dict):
            within["another"] = value
        elif kind == "twice":
            within.append(value)
        elif not isinstance(value, str):
            continue
        elif kind == "longer":
            within[path[-1]] = "0" + value if value.isdigit() else value + "A"
        else:
            place = rng.randrange(len(value))
            other = "10" if value[place].isdigit() else "AB"
            within[path[-1]] = value[:place] + other[value[place] == other[0]] + value[place + 1 :]
        yield changed


def test_j2_every_changed_part_of_a_keyless_envelope_is_refused(sigstore: Sigstore, root: str) -> None:
    document = json.loads(opened().envelope(STATEMENT))
    rng, tried = random.Random(7), 0
    for path in nodes(document):
        for changed in changes(document, path, rng):
            tried += 1
            try:
                envelope = parse_envelope(bytes(rfc8785.dumps(changed)))
            except DsseError:
                continue
            with pytest.raises((BadSignature, WrongKey)):
                check_keyless(envelope, IDENTITY, GITHUB, trusted_root=root)
                pytest.fail(f"accepted with another {path}: {changed}")
    assert tried > 200


def test_j2_a_keyless_signature_of_another_statement_is_bad(sigstore: Sigstore, root: str) -> None:
    one, other = (json.loads(opened().envelope(STATEMENT + text)) for text in (b"", b" "))
    one["signatures"] = other["signatures"]
    with pytest.raises(BadSignature, match="does not verify"):
        check_keyless(parse_envelope(bytes(rfc8785.dumps(one))), IDENTITY, GITHUB, trusted_root=root)


def test_j2_where_no_workflow_is_nobody_signs_keyless(nowhere: None) -> None:
    with pytest.raises(SignerError, match="no OIDC identity .* id-token: write.*sign with a key file or KMS"):
        opened()


def test_j2_a_workflow_without_the_permission_is_told_so(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(SignerError, match="OIDC identity of this workflow cannot be had: .*permission"):
        opened()


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"exp": 1}, {"sub": None, "iss": 7}])
def test_j2_a_token_that_is_not_for_sigstore_is_refused(sigstore: Sigstore, claims: dict[str, Any]) -> None:
    sigstore.claims = claims
    with pytest.raises(SignerError, match="cannot be had") as caught:
        opened()
    assert sigstore.tokens[-1] not in repr(caught.value)


@pytest.mark.parametrize(
    ("path", "status"), [("/token", 403), ("/api/v2/signingCert", 500), ("/api/v1/log/entries", 503)]
)
def test_j2_a_part_of_sigstore_that_is_down_stops_the_seal(sigstore: Sigstore, path: str, status: int) -> None:
    signer = opened()
    sigstore.refuse[path] = status
    with pytest.raises(SignerError, match=f"Keyless signing as {IDENTITY} failed: .*evidence_seal") as caught:
        signer.envelope(STATEMENT)
    assert not any(secret in str(caught.value) for secret in [*sigstore.tokens, "hunter22-request"])


def test_j2_an_identity_that_changes_its_issuer_during_the_run_does_not_sign(sigstore: Sigstore) -> None:
    signer = opened()
    sigstore.issuer = "https://accounts.example.com"
    with pytest.raises(SignerError, match="did not match key"):
        signer.envelope(STATEMENT)


def test_j2_a_token_of_another_issuer_has_the_identity_of_its_subject(sigstore: Sigstore) -> None:
    sigstore.issuer = "https://gitlab.com"  # and a claim of GitHub's, which means nothing there
    assert opened().identity == "repo:octo/shop"


def test_j2_without_the_package_keyless_is_refused_by_name(sigstore: Sigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = parse_envelope(opened().envelope(STATEMENT))
    for name in [name for name in sys.modules if name == "sigstore" or name.startswith("sigstore.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SignerError, match="needs the Python package sigstore"):
        opened()
    with pytest.raises(DsseError, match="needs the Python package sigstore"):
        check_keyless(envelope, IDENTITY, GITHUB)
