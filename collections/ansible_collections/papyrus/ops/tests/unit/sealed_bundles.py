# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles of all kinds for the tests of verification, made by the code that makes real ones."""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._dsse import TrustedKey, public_key
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._names import new_run_id, rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._signers import OpenSigner, open_signer
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from ansible_collections.papyrus.ops.tests.unit.sealing import DIGEST, REPOSITORY, signing_key

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)
PLATFORM = "sha256:" + "cd" * 32

_NAMES = ("healthz.log", "dbcheck.log", "target_health.jsonl", "terraform_outputs.json", "routes.log", "ecs_task.json")


@dataclass(frozen=True)
class Key:
    """A key of a test: its file, its signer and what somebody who trusts it holds."""

    path: Path
    public: Path
    signer: OpenSigner
    trusted: TrustedKey


def make_key(folder: Path) -> Key:
    """A new one in `folder`."""
    folder.mkdir(exist_ok=True)
    options = signing_key(folder)
    path, public, signer = folder / "key.pem", folder / "key.pub.pem", open_signer(options)
    if signer is None:
        raise ValueError("no signer")
    return Key(path, public, signer, public_key(public.read_bytes(), str(public)))


def run_bundle(
    root: Path,
    rng: random.Random,
    *,
    items: int | None = None,
    clock: Callable[[], dt.datetime] | None = None,
    image: bool | None = None,
    crash: str | None = None,
    ended: bool = True,
    good: bool = False,
) -> Bundle:
    """A bundle as a run leaves it before its seal; what is not given is drawn.

    `crash`: `torn` (a line, taken over by the next writer), `stray` (an item without its line, and a file that is none,
    both found by who goes on), "" for none. `good`: its verdict is PASSED, else that is drawn too.
    """
    now = clock or _clock(rng)
    run_id = new_run_id(NOON, "".join(rng.choice("abcdefgh234567") for _position in range(6))).text
    run = {
        "run_id": run_id, "service": "svc", "account_id": "123456789012", "region": "us-west-2",
        "endpoint": None, "caller_arn": "arn:aws:iam::123456789012:user/x", "playbook": "alb_smoke",
        "started_at": rfc3339(NOON, microseconds=True), "git": {"commit": "c0ffee" + "0" * 34, "dirty": False},
    }  # fmt: skip
    bundle = Bundle.create(root / run_id, run, now=now)
    for _number in range(rng.randrange(3, 9) if items is None else items):
        _append(bundle, rng, good)
    if rng.random() < 0.5 if image is None else image:
        found = {"reference": f"{REPOSITORY}:{run_id}", "digest": DIGEST, "platform": PLATFORM}
        binding = {"image": found, "chains": []}
        bundle.append("binding.json", content_bytes(binding), status="ok", step="N2")
    crash = rng.choice(("", "", "torn", "stray")) if crash is None else crash
    if crash == "torn":
        with bundle.manifest.open("ab") as file:
            file.write(b'{"at":"2026-01-31T12:00:00.')
        _append(bundle, rng, good)
    if crash == "stray":
        for name in ("20260131T120000Z_unfinished.log", "notes.txt"):
            (bundle.folder / name).write_bytes(rng.randbytes(rng.randrange(1, 50)))
        bundle.recover()
    if ended:
        failure = {"step": "D1", "task": "Ask", "cause": "it answered 503"} if rng.random() < 0.3 and not good else None
        said = {"run_id": run_id, **verdict(bundle.lines(), failure)}
        status = "ng" if said["result"] == "FAILED" else "ok"
        bundle.append(
            "verdict.json",
            content_bytes(said),
            status=status,
            step="all",
            meta={"result": said["result"], "reason": ""},
        )
    return bundle


def sealed_bundle(root: Path, rng: random.Random, key: Key, **how: Any) -> Path:
    bundle = run_bundle(root, rng, **how)
    seal(bundle, key.signer, by="run", now=lambda: NOON)
    return bundle.folder


def copy_by_links(folder: Path, to: Path) -> Path:
    """A copy that is made fast. Whoever changes a file in it has to put a new one in its place (`write`)."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    for entry in os.scandir(folder):
        os.link(entry.path, to / entry.name)
    return to


def write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def manifest_lines(folder: Path) -> list[bytes]:
    """With their line ends."""
    return (folder / "manifest.jsonl").read_bytes().splitlines(keepends=True)


def listed_in(folder: Path) -> list[str]:
    """Every file that SHA256SUMS has."""
    return [line[66:] for line in (folder / "SHA256SUMS").read_text("ascii").splitlines()]


def _append(bundle: Bundle, rng: random.Random, good: bool) -> None:
    name = rng.choice(_NAMES)
    status = "ok" if good else rng.choice(("ok", "ok", "ok", "info", "ng"))
    meta: dict[str, Any] = {"request_ids": [f"{rng.getrandbits(64):016x}"]} if rng.random() < 0.4 else {}
    if rng.random() < 0.3:
        meta["rows"] = [{"id": "D1", "status": status, "reason": f"näher <b>{rng.random()}</b>"}]
    bundle.append(name, _content(name, rng), status=status, step=rng.choice(("B", "C5", "D1")), meta=meta)


def _content(name: str, rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        return b""
    if name.endswith(".json"):
        return content_bytes({"value": rng.random(), "text": "zurück\nund vor"})
    text = "".join(rng.choice("abc def\n{}\"'<>&ü") for _position in range(rng.randrange(1, 400)))
    return f"HTTP/1.1 200 OK\n{text}\n".encode()


def _clock(rng: random.Random) -> Callable[[], dt.datetime]:
    """Seconds go by, and now and then back."""
    moment = [NOON + dt.timedelta(seconds=rng.randrange(1000))]

    def now() -> dt.datetime:
        moment[0] += dt.timedelta(milliseconds=rng.choice((0, 3, 400, 2000, -90_000)))
        return moment[0]

    return now
