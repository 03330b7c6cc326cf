# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seal of a bundle that may be hostile: envelope, signature, and what the statement in it claims."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._dsse import (
    MAX_ENVELOPE,
    BadSignature,
    DsseError,
    Envelope,
    TrustedKey,
    WrongKey,
    check_keyless,
    check_signature,
    parse_envelope,
)
from ._evidence import ATTESTATION, MANIFEST, SUMS
from ._statement import BUNDLE_SUBJECTS, PREDICATE_TYPE, STATEMENT_TYPE
from ._verdict import RESULTS
from ._verify_chain import strict_object
from ._verify_files import Folder, NotPlain, VerifyError

TRUST = {
    "self-asserted": "signed with a key file of the machine that ran it: nothing was changed since then; whether that "
    "machine told the truth is its own word",
    "kms": "says to be signed by AWS KMS with a key that only the release role may use: the key's policy and the Sign "
    "events of CloudTrail show whether that is so",
    "keyless": "signed by the workflow with this OIDC identity (Sigstore): what else that workflow ran is its own word",
}
"""What the signature reaches, by trust class of EVIDENCE.md; said with every verification."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Claims:
    """What the signed statement says, in valid form. `images`: name of the subject → digest as `sha256:…`."""

    manifest: str
    sums: str
    images: Mapping[str, str]
    result: str
    run_id: str
    run_sha256: str
    seal: Mapping[str, Any]
    timestamp: bytes = b""

    @property
    def trust(self) -> str:
        return str(self.seal["trust"])


@dataclass(frozen=True)
class Seal:
    """`kind`: `ok`, `unsealed`, `bad-signature`, `wrong-key`, or `invalid` for what is no envelope or no statement.

    `claims` are there only when the signature is good: nothing of an unsigned statement is ever shown as a fact.
    """

    kind: str
    reason: str = ""
    sha256: str = ""
    keyid: str = ""
    scheme: str = ""
    identity: str = ""
    claims: Claims | None = None
    asked: Mapping[str, str] = field(default_factory=dict)


def read_seal(folder: Folder, keys: Sequence[TrustedKey], identity: str = "", issuer: str = "") -> Seal:
    """Never raises for what the bundle holds. VerifyError when it cannot be read, or a package is missing here."""
    try:
        data = folder.read(ATTESTATION, MAX_ENVELOPE)
    except FileNotFoundError:
        return Seal("unsealed", "there is no signed statement")
    except NotPlain as exc:
        return Seal("invalid", f"is {exc}")
    own = hashlib.sha256(data).hexdigest() if len(data) <= MAX_ENVELOPE else ""
    try:
        envelope = parse_envelope(data)
    except DsseError as exc:
        return Seal("invalid", str(exc), own)
    try:
        keyid, scheme = _check(envelope, keys, identity, issuer)
    except WrongKey as exc:
        return Seal("wrong-key", str(exc), own)
    except BadSignature as exc:
        return Seal("bad-signature", str(exc), own)
    except DsseError as exc:
        raise VerifyError(str(exc)) from exc
    try:
        claims = parse_statement(envelope.payload)
        _same_signer(claims, keyid, keyless=envelope.bundle is not None)
    except ValueError as exc:
        return Seal("invalid", f"the signature is good, but the statement {exc}", own, keyid, scheme)
    return Seal("ok", "", own, keyid, scheme, identity if envelope.bundle is not None else "", claims)


def _check(envelope: Envelope, keys: Sequence[TrustedKey], identity: str, issuer: str) -> tuple[str, str]:
    if envelope.bundle is not None and identity and issuer:
        check_keyless(envelope, identity, issuer)
        return "", "sigstore"
    key = check_signature(envelope, keys)
    return key.keyid, key.scheme


def _same_signer(claims: Claims, keyid: str, *, keyless: bool) -> None:
    if (claims.trust == "keyless") != keyless:
        raise ValueError(f"says {claims.trust} of a signature {'without' if keyless else 'with'} a key")
    if not keyless and claims.seal.get("keyid") != keyid:
        raise ValueError("names another key than the one that signed it")


def parse_statement(payload: bytes) -> Claims:
    """ValueError says what is not as in a statement that this project makes.

    Fields that it does not know are let pass in the predicate (in-toto's parsing rule), nowhere else.
    """
    value = strict_object(payload)
    if set(value) != {"_type", "subject", "predicateType", "predicate"}:
        raise ValueError("has other fields than _type, subject, predicateType and predicate")
    if value["_type"] != STATEMENT_TYPE:
        raise ValueError(f"is not of the type {STATEMENT_TYPE}")
    if value["predicateType"] != PREDICATE_TYPE:
        raise ValueError(f"has not the predicate type {PREDICATE_TYPE}")
    subjects = _subjects(value["subject"])
    predicate = value["predicate"]
    if not isinstance(predicate, dict) or predicate.get("result") not in RESULTS:
        raise ValueError(f"has no result, one of {', '.join(RESULTS)}")
    for name in ("passedTests", "warnedTests", "failedTests"):
        tests = predicate.get(name)
        if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
            raise ValueError(f"has no list {name}")
    described = _configuration(predicate.get("configuration"))
    run, seal = described.get("run", {}), described.get("seal", {})
    if not isinstance(seal.get("annotations"), dict) or seal["annotations"].get("trust") not in TRUST:
        raise ValueError(f"does not say how far its signer can be trusted, one of {', '.join(TRUST)}")
    if not isinstance(run.get("annotations"), dict) or not isinstance(run["annotations"].get("runId"), str):
        raise ValueError("does not name its run")
    return Claims(
        manifest=subjects.pop(MANIFEST),
        sums=subjects.pop(SUMS),
        images={name: f"sha256:{digest}" for name, digest in subjects.items()},
        result=predicate["result"],
        run_id=run["annotations"]["runId"],
        run_sha256=_digest(run.get("digest"), "of the run"),
        seal=seal["annotations"],
        timestamp=_timestamp(described.get("timestamp"), value["subject"]),
    )


def _subjects(value: Any) -> dict[str, str]:
    subjects: dict[str, str] = {}
    for subject in value if isinstance(value, list) else []:
        if not isinstance(subject, dict) or set(subject) != {"name", "digest"} or not isinstance(subject["name"], str):
            raise ValueError("has a subject that is not a name and a digest")
        if subject["name"] in subjects:
            raise ValueError("has two subjects of one name")
        subjects[subject["name"]] = _digest(subject["digest"], "of a subject")
    if not set(BUNDLE_SUBJECTS) <= set(subjects) or len(subjects) > len(BUNDLE_SUBJECTS) + 2:
        raise ValueError(f"has not the subjects {' and '.join(BUNDLE_SUBJECTS)}, and at most an image and its platform")
    return subjects


def _digest(value: Any, what: str) -> str:
    digest = value.get("sha256") if isinstance(value, dict) and set(value) == {"sha256"} else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"has a digest {what} that is not one SHA-256")
    return digest


def _configuration(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("has no configuration")
    described = {str(each.get("name")): each for each in value}
    if len(described) != len(value):
        raise ValueError("describes one thing twice in its configuration")
    return described


def _timestamp(described: Mapping[str, Any] | None, subjects: Any) -> bytes:
    """The RFC 3161 answer in the statement, which has to be over the manifest that is its subject."""
    if described is None:
        return b""
    if _digest(described.get("digest"), "of its time stamp") != _subjects(subjects)[MANIFEST]:
        raise ValueError("has a time stamp over another manifest")
    try:
        return base64.b64decode(str(described.get("content")), validate=True)
    except ValueError as exc:
        raise ValueError("has a time stamp that is no base64") from exc
