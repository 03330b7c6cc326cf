# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies a bundle offline, with a public key from elsewhere: what was changed, what is not proved (EVIDENCE.md).

The signed statement has the hashes of manifest.jsonl and SHA256SUMS, and these have the hashes of everything else. What
each kind of change is called:

- another byte, another size, two files with each other's content, a link or FIFO in a file's place: `invalid`
- a file that is gone: `missing`; one that nothing lists (a copy, a folder, a hidden or temporary file): `unlisted`;
  a renamed file is both
- lines of the manifest: see _verify_chain; a valid chain whose end was cut off: `truncated`; a valid chain that is not
  the sealed one (written anew, of another run): `invalid`
- the envelope: `invalid` in any other form than its one valid one; `bad-signature` for another statement or signature;
  `wrong-key` for another key or key id; a good one of another run: `invalid`
- no attestation: `unsealed`, also when there is a SHA256SUMS. Whether it was taken away or a crash came before it, only
  the ledger knows.

Without a good signature the manifest and SHA256SUMS are compared with each other and with the files. `tampered` is a
bundle with any of these findings, but `incomplete` one without attestation that has only what a crash can leave: a torn
last line, files that were not listed yet, files that a copy did not bring along.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ._dsse import TrustedKey
from ._evidence import RFC8785_IMPORT_ERROR, RUN_FILE
from ._names import parse_run_id
from ._verdict import RESULTS
from ._verify_addendum import ADDENDUM, link_of
from ._verify_bundle import Case
from ._verify_files import Finding, Folder, VerifyError
from ._verify_seal import read_seal
from ._verify_times import check_times

EXIT_CODES = {"ok": 0, "tampered": 2, "incomplete": 3, "mismatch": 4}
COULD_NOT = 1
"""Exit code when nothing was found out: no such folder, wrong arguments."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def verify(
    folder: str | Path,
    keys: Sequence[TrustedKey],
    *,
    image: str = "",
    timestamp_roots: bytes = b"",
    identity: str = "",
    issuer: str = "",
    results: Collection[str] = (),
) -> dict[str, Any]:
    """What is to be said of one bundle. Nothing of it is changed, nothing outside of `folder` is touched.

    `image` (`sha256:…`) and `results` (allowed verdicts) are what it has to be about: `wrong-subject` else.
    `identity` and `issuer` are for keyless signatures, `timestamp_roots` (PEM) for RFC 3161 time stamps.

    Returns `bundle`, `run_id`, `result` (ok, tampered, incomplete, mismatch), `exit_code`, `findings` (`class`, `path`,
    `seq`, `reason`), `files` (items: `seq`, `name`, `path`, `class`), `counts` by class, `signature` (`class`, `keyid`,
    `trust`, `identity`, `reason`), `verdict`, `image`, `sealed` (the seal's own words), `timestamps`, `sha256` (of
    `run`, `manifest`, its last line `head`, `attestation`), `addendum` (see _verify_addendum; None for a bundle that is
    none), `ledger` and `online` (None: not asked).

    Raises VerifyError when there is no bundle, or it cannot be read; ValueError as check_question.
    """
    check_question(image, results)
    if RFC8785_IMPORT_ERROR is not None:
        raise VerifyError("the Python package rfc8785 is not installed here; without it no bundle can be verified")
    try:
        opened = Folder(folder)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise VerifyError(f"{folder} is no evidence bundle: {why}") from exc
    with opened as place:
        case = Case(place, read_seal(place, keys, identity, issuer))
        case.answer(image, results)
        timestamps = check_times(case, timestamp_roots)
        return _said(case, timestamps)


def check_question(image: str, results: Collection[str]) -> None:
    """ValueError when nothing could be about this image, or have one of these verdicts."""
    if image and not _DIGEST.fullmatch(image):
        raise ValueError(f"{image!r} is not the digest of an image: sha256: and 64 hexadecimal digits")
    if unknown := sorted(set(results) - set(RESULTS)):
        raise ValueError(f"{unknown[0]!r} is not a verdict; these are {', '.join(RESULTS)}")


def weight(case: Case, finding: Finding) -> str:
    """What a finding means for the whole. Where there is no attestation, what a crash leaves is no accusation."""
    if finding.kind == "wrong-subject":
        return "mismatch"
    if finding.kind == "unsealed" or (not case.attested and finding.kind in ("torn", "missing")):
        return "incomplete"
    if finding.kind == "unlisted" and case.left_by_crash(finding.path):
        return "incomplete"
    return "tampered"


def worst(results: Collection[str]) -> str:
    """Of `ok`, `mismatch`, `incomplete` and `tampered` the one that says most against it."""
    return next((each for each in ("tampered", "incomplete", "mismatch") if each in results), "ok")


def _said(case: Case, timestamps: list[dict[str, Any]]) -> dict[str, Any]:
    result = worst({weight(case, finding) for finding in case.findings})
    claims, seal = case.claims, case.seal
    counts = Counter(finding.kind for finding in case.findings)
    counts["ok"] = sum(item.kind == "ok" for item in case.items.values())
    return {
        "bundle": str(case.folder.path),
        "run_id": _run_id(case),
        "result": result,
        "exit_code": EXIT_CODES[result],
        "findings": [finding.as_dict() for finding in case.findings],
        "files": [
            {"seq": item.seq, "name": item.name, "path": item.path, "class": item.kind} for item in case.items.values()
        ],
        "counts": dict(sorted(counts.items())),
        "signature": {
            "class": "invalid" if seal.kind == "ok" and claims is None else seal.kind,
            "keyid": seal.keyid,
            "trust": claims.trust if claims is not None else "",
            "identity": seal.identity or (str(claims.seal.get("identity") or "") if claims is not None else ""),
            "reason": seal.reason,
        },
        "verdict": case.result,
        "image": next(iter(claims.images.values()), "") if claims is not None else "",
        "sealed": dict(claims.seal) if claims is not None else {},
        "timestamps": timestamps,
        "sha256": {
            "run": case.folder.sha256(RUN_FILE),
            "manifest": case.chain.sha256,
            "head": case.chain.head,
            "attestation": seal.sha256,
        },
        "addendum": link_of(case.object(ADDENDUM)),
        "ledger": None,
        "online": None,
    }


def _run_id(case: Case) -> str:
    """As run.json says it, else as the signed statement does; "" when that is no run id."""
    said = case.run.get("run_id") or (case.claims.run_id if case.claims is not None else "")
    try:
        return parse_run_id(str(said)).text
    except ValueError:
        return ""
