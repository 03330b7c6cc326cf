# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who signed a bundle, and what a statement has to say even when a trusted key has signed it (N4)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import parse_envelope
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import canonical
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.plugins.module_utils._verify_seal import parse_statement
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, make_key, sealed_bundle, write

ATTESTATION = "attestation.dsse.json"

pytestmark = pytest.mark.usefixtures("not_for_keeping")


def said(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["class"], finding["path"]) for finding in result["findings"]]


def test_N4_only_the_given_keys_are_trusted(tmp_path: Path, folder: Path, key: Key) -> None:
    stranger = make_key(tmp_path / "stranger")
    assert verify(folder, [stranger.trusted, key.trusted])["result"] == "ok"
    for keys in ([], [stranger.trusted]):
        result = verify(folder, keys)
        assert (result["result"], said(result)) == ("tampered", [("wrong-key", ATTESTATION)])
        assert (result["sealed"], result["image"], result["signature"]["trust"]) == ({}, "", "")


Change = Callable[[dict[str, Any]], None]


def _described(statement: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in statement["predicate"]["configuration"] if each["name"] == name)


def _set(name: str, value: Any) -> Change:
    return lambda statement: statement.update({name: value})


def _in_predicate(name: str, value: Any) -> Change:
    return lambda statement: statement["predicate"].update({name: value})


def _annotate(described: str, name: str, value: Any) -> Change:
    return lambda statement: _described(statement, described)["annotations"].update({name: value})


def _subject(name: str, digest: str) -> Change:
    return lambda statement: statement["subject"].append({"name": name, "digest": {"sha256": digest}})


WRONG: dict[str, Change] = {
    "type": _set("_type", "https://in-toto.io/Statement/v0.1"),
    "predicate type": _set("predicateType", "https://example.com/other"),
    "more fields": _set("more", 1),
    "no predicate": _set("predicate", []),
    "no subject": _set("subject", []),
    "no manifest": lambda statement: statement["subject"].pop(-2) and None,
    "no sums": lambda statement: statement["subject"].pop() and None,
    "two manifests": _subject("manifest.jsonl", "00" * 32),
    "three images": lambda s: [_subject(name, "00" * 32)(s) for name in ("a", "b")] and None,
    "another image": lambda s: s["subject"][0]["digest"].update(sha256="00" * 32),
    "no image": lambda s: s["subject"].pop(0) and None,
    "subject with more": lambda s: s["subject"][0].update(uri="x"),
    "md5": lambda s: s["subject"][0]["digest"].update(md5="x"),
    "result": _in_predicate("result", "WARNED"),
    "no result": _in_predicate("result", "GOOD"),
    "tests": _in_predicate("failedTests", "none"),
    "configuration": _in_predicate("configuration", {}),
    "described twice": lambda s: s["predicate"]["configuration"].extend([{"name": "more"}, {"name": "more"}]),
    "trust": _annotate("seal", "trust", "absolute"),
    "keyless": _annotate("seal", "trust", "keyless"),
    "another key": _annotate("seal", "keyid", "00" * 32),
    "another run": _annotate("run", "runId", "20260131T120000Z-zzzzzz"),
    "another run.json": lambda s: _described(s, "run")["digest"].update(sha256="00" * 32),
    "no run": lambda s: s["predicate"]["configuration"].pop(0) and None,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_N4_a_trusted_key_makes_no_wrong_statement_right(folder: Path, key: Key, wrong: str) -> None:
    statement = json.loads(parse_envelope((folder / ATTESTATION).read_bytes()).payload)
    write(folder / ATTESTATION, key.signer.envelope(canonical(statement)))
    assert verify(folder, [key.trusted])["result"] == "ok"
    WRONG[wrong](statement)
    write(folder / ATTESTATION, key.signer.envelope(canonical(statement)))
    result = verify(folder, [key.trusted])
    assert (result["result"], said(result)) == ("tampered", [("invalid", ATTESTATION)]), result["findings"]


def test_N4_a_statement_is_about_one_image_and_its_platform_at_most(folder: Path) -> None:
    payload = parse_envelope((folder / ATTESTATION).read_bytes()).payload
    assert len(parse_statement(payload).images) == 2
    statement = json.loads(payload)
    statement["subject"].append({"name": "third", "digest": {"sha256": "00" * 32}})
    with pytest.raises(ValueError, match="at most an image and its platform"):
        parse_statement(canonical(statement))


def test_N4_a_bundle_that_was_sealed_without_its_verdict_is_named(folder: Path, key: Key) -> None:
    *lines, last = (folder / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    path = json.loads(last)["path"]
    (folder / path).unlink()
    write(folder / "manifest.jsonl", b"".join(lines))
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    sums = [line for line in sums if line[66:-1] not in (path, "manifest.jsonl")]
    sums.append(f"{_sha256(folder / 'manifest.jsonl')}  manifest.jsonl\n")
    write(folder / "SHA256SUMS", "".join(sorted(sums, key=lambda line: line[66:])).encode())
    statement = json.loads(parse_envelope((folder / ATTESTATION).read_bytes()).payload)
    for subject in statement["subject"][-2:]:
        subject["digest"]["sha256"] = _sha256(folder / subject["name"])
    write(folder / ATTESTATION, key.signer.envelope(canonical(statement)))
    assert said(verify(folder, [key.trusted])) == [("missing", "verdict.json")]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_N4_a_statement_with_more_in_its_predicate_is_let_pass(folder: Path, key: Key) -> None:
    statement = json.loads(parse_envelope((folder / ATTESTATION).read_bytes()).payload)
    statement["predicate"]["url"] = "https://example.com/run"
    statement["predicate"]["configuration"].append({"name": "another"})
    write(folder / ATTESTATION, key.signer.envelope(canonical(statement)))
    assert verify(folder, [key.trusted])["result"] == "ok"


def test_N4_the_attestation_of_another_run_is_named(tmp_path: Path, folder: Path, key: Key) -> None:
    other = sealed_bundle(tmp_path / "other", random.Random(8), key)
    write(folder / ATTESTATION, (other / ATTESTATION).read_bytes())
    result = verify(folder, [key.trusted])
    assert (result["result"], said(result)) == ("tampered", [("invalid", ATTESTATION)])
    assert other.name in result["findings"][0]["reason"]
    assert (result["sealed"], result["image"], result["signature"]["class"]) == ({}, "", "invalid")
