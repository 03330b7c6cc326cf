# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signing key of the tests, a bundle to be sealed with it, sealers that are killed, and a check of the seal that
shares no code with it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _locks
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._seal import AlreadySealed, seal
from ansible_collections.papyrus.ops.plugins.module_utils._signers import open_signer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

RUN = "20260131T120000Z-abc234"
DIGEST = "sha256:" + "ab" * 32
REPOSITORY = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus"
REVISION = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7"


def signing_key(folder: Path) -> dict[str, str]:
    """A new Ed25519 key in `folder`, as options of a signer; its public key lies beside it (`key.pub.pem`)."""
    key = Ed25519PrivateKey.generate()
    path = folder / "key.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "key.pub.pem").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return {"type": "file", "private_key": str(path)}


def binding(status: str = "ok", digest: str = DIGEST, platform: str = "") -> bytes:
    """Content of a binding.json."""
    links = [{"link": "revision", "status": "ok", "expected": REVISION, "found": REVISION, "text": "runs"}]
    image = {"reference": f"{REPOSITORY}@{digest}", "pinned": digest, "digest": digest, "platform": platform or digest}
    return content_bytes({"status": status, "image": image, "chains": [{"task_arn": "arn:x", "links": links}]})


def run_bundle(folder: Path, **run: Any) -> Bundle:
    """A bundle with a few items and without a verdict."""
    facts = {"run_id": RUN, "service": "svc", "region": "us-west-2", "git": {"commit": "c0" * 20, "dirty": False}}
    bundle = Bundle.create(folder, facts | {"signer": {"type": "file"}} | run)
    lease = {"run_id": RUN, "expires_at": "2026-01-31T13:00:00Z"}
    bundle.append("lease.json", content_bytes(lease), status="info", step="N1")
    bundle.append("healthz.log", b"HTTP/1.1 200 OK\r\n\r\n{}", status="ok", step="D1")
    bundle.append("binding.json", binding(), status="ok", step="N2")
    return bundle


def with_verdict(bundle: Bundle, result: str = "PASSED", **more: Any) -> Bundle:
    """The same, with a verdict as its last item."""
    content = {"run_id": RUN, "result": result, "first_failure": None, "failures": [], "skips": [], **more}
    bundle.append("verdict.json", content_bytes(content), status="ok", step="all", meta={"result": result})
    return bundle


def seal_as_process(folder: str, signer: dict[str, str], start: Any = None, step: int = -1) -> None:
    """Target of a process that seals: exit code 0, or 3 when it was sealed before.

    Waits for the barrier `start`, and is killed before its flush or rename number `step`.
    """
    left = [step]
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def stop(*arguments: Any, real: Any = real, **options: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*arguments, **options)

        setattr(_locks.os, name, stop)
    opened = open_signer(signer)
    assert opened is not None
    if start is not None:
        start.wait()
    try:
        seal(Bundle(folder), opened, by="run")
    except AlreadySealed:
        sys.exit(3)


def check_seal(folder: Path, public_key: Path) -> dict[str, Any]:
    """The statement of a sealed bundle; AssertionError unless sums, signature and subjects hold, with sha256sum and
    cryptography alone."""
    found = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    envelope = json.loads((folder / "attestation.dsse.json").read_bytes())
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"], validate=True)
    [signature] = envelope["signatures"]
    key = serialization.load_pem_public_key(public_key.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    key.verify(base64.b64decode(signature["sig"], validate=True), signed)
    statement: dict[str, Any] = json.loads(payload)
    subjects = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    for name in ("manifest.jsonl", "SHA256SUMS"):
        assert subjects[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest(), name
    listed = {line[66:] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    present = {entry.name for entry in folder.iterdir()}
    assert present - listed == {"SHA256SUMS", "attestation.dsse.json"}, present ^ listed
    return statement


def seal_says(statement: dict[str, Any]) -> dict[str, Any]:
    """Who sealed how, as the statement says it."""
    [says] = [entry for entry in statement["predicate"]["configuration"] if entry["name"] == "seal"]
    annotations: dict[str, Any] = says["annotations"]
    return annotations
