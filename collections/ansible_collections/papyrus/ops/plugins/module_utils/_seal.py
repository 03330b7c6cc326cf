# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seals a bundle: junit.xml, report.html, SHA256SUMS, then the signed statement over them (EVIDENCE.md, Seal).

All of it under the manifest's lock, everything made before the first file is written, the attestation last. So of two
sealers one wins, and a sealer that is killed leaves a bundle that the next one seals.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ._bundle_view import BundleView
from ._dsse import DsseError, parse_envelope
from ._evidence import (
    ATTESTATION,
    CONTINUED,
    FIRST_PREV,
    JUNIT,
    MANIFEST,
    REPORT,
    RUN_FILE,
    SEALED_FILES,
    STATUSES,
    SUMS,
    VERDICT,
    Bundle,
    BundleError,
    canonical,
)
from ._junit import junit_xml
from ._locks import TEMPORARY_PREFIX, LockTimeout, locked_file, remove_stale, sync_folder, write_durable
from ._names import rfc3339, utc_now
from ._report import report_html
from ._signers import OpenSigner
from ._statement import image_of, statement
from ._timestamps import TimestampError, request_timestamp
from ._verdict import RESULTS, check_rows

TIMESTAMP_SECONDS = 10.0
"""For the time stamp at sealing, which is also done in a teardown and may be left out."""

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SealError(Exception):
    """The bundle cannot be sealed; the message says why. Nothing of it was changed, unless a disk is full."""


class AlreadySealed(SealError):
    """There is an attestation. It is never replaced."""


@dataclass(frozen=True)
class Sealed:
    """`image` is `sha256:…` or "", `files` what was written, the attestation last."""

    attestation_sha256: str
    keyid: str
    trust: str
    image: str
    result: str
    files: tuple[str, ...]
    identity: str = ""


@dataclass(frozen=True)
class _Checked:
    """A bundle whose every listed byte was just found to be what its manifest says. `sums` by path."""

    view: BundleView
    manifest: bytes
    sums: dict[str, str]
    left_over: bool


def seal(
    bundle: Bundle,
    signer: OpenSigner,
    *,
    by: str,
    timestamp_url: str = "",
    note: str = "",
    after_crash: bool = False,
    now: Callable[[], Any] = utc_now,
    lock_timeout: float = 60.0,
) -> Sealed:
    """Seals a bundle that has its verdict. `by` says who does it: run, guard or evidence_seal.

    Raises AlreadySealed, SealError (an item that is missing or differs from its line, a chain that does not hold, no
    verdict, a file that no line lists, a disk that is full), SignerError. A time stamp that cannot be had is said in
    the note. Memory does not grow with the size of an item.
    """
    with _locked(bundle, lock_timeout) as fd:
        _require_unsealed(bundle.folder)
        remove_stale(bundle.folder)
        checked = _check(bundle.folder, fd)
        token, problem = _timestamp(timestamp_url, checked.manifest)
        says = {
            "trust": signer.trust,
            "keyid": signer.keyid,
            "identity": signer.identity,
            "signer": signer.kind,
            "by": by,
            "afterCrash": after_crash or (checked.left_over and checked.view.run.get("signer", True) is not None),
            "sealedAt": rfc3339(now(), microseconds=True),
            "note": "; ".join(part for part in (note, problem) if part),
        }
        files = _summaries(checked, says)
        try:
            manifest_sha256 = checked.sums[MANIFEST]
            payload = canonical(statement(checked.view, files[SUMS], manifest_sha256, says, token))
            envelope = signer.envelope(payload)
            keyid = parse_envelope(envelope).keyid
        except (BundleError, ValueError, DsseError) as exc:
            raise SealError(f"the statement over {bundle.folder} cannot be made: {exc}") from exc
        files[ATTESTATION] = envelope
        _write(bundle.folder, files)
    image = image_of(checked.view)
    return Sealed(
        attestation_sha256=hashlib.sha256(envelope).hexdigest(),
        keyid=keyid,
        trust=signer.trust,
        image=image.digest if image else "",
        result=str(checked.view.verdict.get("result") or ""),
        files=tuple(files),
        identity=signer.identity,
    )


def summarise(bundle: Bundle, *, lock_timeout: float = 60.0) -> tuple[str, ...]:
    """junit.xml, report.html and SHA256SUMS of a run without signer. They say that nothing is signed; SealError."""
    with _locked(bundle, lock_timeout) as fd:
        _require_unsealed(bundle.folder)
        remove_stale(bundle.folder)
        files = _summaries(_check(bundle.folder, fd), {})
        _write(bundle.folder, files)
    return tuple(files)


def check(bundle: Bundle, *, ended: bool, lock_timeout: float = 60.0) -> None:
    """Whether the bundle could be sealed; SealError says why not. Changes nothing.

    Of one that has not `ended` (no verdict, perhaps a torn last line) it is only whether it can be completed.
    """
    with _locked(bundle, lock_timeout) as fd:
        _require_unsealed(bundle.folder)
        if ended:
            _check(bundle.folder, fd)
        else:
            _lines(_contents(fd).rpartition(b"\n")[0] + b"\n", bundle.folder, ended=False)


def sealed_before(folder: Path) -> Sealed | None:
    """What the attestation in `folder` says of itself, unverified; None without one. SealError when it is none."""
    try:
        data = (folder / ATTESTATION).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise SealError(f"the attestation of {folder} cannot be read: {exc}") from exc
    try:
        envelope = parse_envelope(data)
        says = json.loads(envelope.payload)
        seals = [entry for entry in says["predicate"]["configuration"] if entry["name"] == "seal"]
        kept = seals[0]["annotations"]
        images = [entry for entry in says["subject"] if entry["name"] not in (MANIFEST, SUMS)]
        return Sealed(
            attestation_sha256=hashlib.sha256(data).hexdigest(),
            keyid=envelope.keyid,
            trust=str(kept["trust"]),
            image=f"sha256:{images[0]['digest']['sha256']}" if images else "",
            result=str(says["predicate"]["result"]),
            files=(ATTESTATION,),
            identity=str(kept["identity"]),
        )
    except (DsseError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise SealError(f"{folder / ATTESTATION} is no attestation of a run: {exc}") from exc


@contextlib.contextmanager
def _locked(bundle: Bundle, timeout: float) -> Iterator[int]:
    """The manifest, locked against writers and against other sealers. LockTimeout, SealError.

    The writers' lock goes away when anything in this process reads the manifest (fcntl(2)), as a maker of a report may;
    by then the verdict keeps writers out. That of flock(2), which belongs to this one opening, keeps sealers apart.
    """
    if not bundle.manifest.is_file():
        raise SealError(f"{bundle.folder} is no bundle: it has no {MANIFEST}")
    deadline = time.monotonic() + timeout
    with locked_file(bundle.manifest, timeout=timeout) as fd:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockTimeout(
                        f"{bundle.folder} is being sealed by another process since {timeout:g} s"
                    ) from None
                time.sleep(0.02)
            except OSError:
                break  # a file system without such locks
        yield fd


def _require_unsealed(folder: Path) -> None:
    if os.path.lexists(folder / ATTESTATION):
        raise AlreadySealed(f"{folder} is sealed already: its {ATTESTATION} is never replaced")


# What is about to be signed is true


def _check(folder: Path, fd: int) -> _Checked:
    manifest = _contents(fd)
    lines = _lines(manifest, folder)
    sums = {MANIFEST: hashlib.sha256(manifest).hexdigest()}
    for line in lines:
        path = line["path"]
        if not _PATH.fullmatch(path) or path in SEALED_FILES:
            raise SealError(f"line {line['seq']} of the manifest names {path!r}, which no item can have")
        if path in sums:
            raise SealError(f"line {line['seq']} of the manifest names {path}, as another line does")
        found = _hash(folder, path)
        if found != (line["sha256"], line["bytes"]):
            what = "is not there as a plain file" if found is None else "is not what its line in the manifest says"
            raise SealError(f"{path} {what}: whoever seals this would sign something false")
        sums[path] = line["sha256"]
    view = BundleView.over(folder, lines)
    if view.verdict.get("result") not in RESULTS:
        raise SealError(f"{lines[-1]['path']} gives no result, one of {', '.join(RESULTS)}")
    sums |= _strays(folder, view, set(sums))
    return _Checked(view, manifest, sums, any(os.path.lexists(folder / name) for name in SEALED_FILES))


def _contents(fd: int) -> bytes:
    """All of a locked file; opened and closed once more, it would lose its lock."""
    parts, offset = [], 0
    while part := os.pread(fd, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _lines(manifest: bytes, folder: Path, *, ended: bool = True) -> list[dict[str, Any]]:
    """The lines of a manifest that begins with run.json, is chained without holes and ends with the verdict."""
    if not manifest.endswith(b"\n"):
        raise SealError(f"the manifest of {folder} is empty or its last line is torn: a writer was killed")
    lines: list[dict[str, Any]] = []
    previous = FIRST_PREV
    for number, raw in enumerate(manifest[:-1].split(b"\n")):
        line = _line(raw, number)
        if line["prev"] != previous:
            raise SealError(f"line {number} of the manifest does not follow the one before it")
        previous = hashlib.sha256(raw).hexdigest()
        lines.append(line)
    if lines[0]["path"] != RUN_FILE:
        raise SealError(f"the manifest of {folder} does not begin with {RUN_FILE}")
    if any(line["name"] == VERDICT for line in lines[:-1]):
        raise SealError(f"the manifest of {folder} goes on behind the verdict")
    if ended and lines[-1]["name"] != VERDICT:
        raise SealError(f"{folder} has no verdict yet: its last item is {lines[-1]['name']}")
    return lines


def _line(raw: bytes, number: int) -> dict[str, Any]:
    try:
        line = json.loads(raw)
        texts = all(isinstance(line[key], str) for key in ("prev", "at", "name", "path", "sha256", "status", "step"))
        whole = (
            texts
            and line["seq"] == number
            and isinstance(line["bytes"], int)
            and not isinstance(line["bytes"], bool)
            and isinstance(line["meta"], dict)
        )
        good = whole and _SHA256.fullmatch(line["sha256"]) is not None and canonical(line) == raw
        good = good and all(row["status"] in STATUSES for row in check_rows(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BundleError):
        good = False
    if not good:
        raise SealError(f"line {number} of the manifest is none that a run has written")
    return dict(line)


def _hash(folder: Path, name: str) -> tuple[str, int] | None:
    """SHA-256 and size of a plain file in the bundle; None when there is none of this name."""
    try:
        fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def _strays(folder: Path, view: BundleView, listed: set[str]) -> dict[str, str]:
    """Hashes of the files that a crash left without a line, as `continued.json` names them.

    SealError for any other file: it would be sealed into a bundle of which it is no part.
    """
    named: dict[str, str] = {}
    for line in view.named(CONTINUED):
        content = view.json_of(line) or {}
        entries = content.get("unlisted")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, Mapping):
                named[str(entry.get("path"))] = str(entry.get("sha256"))
    found: dict[str, str] = {}
    known = listed | SEALED_FILES
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        staged = entry.name.startswith(TEMPORARY_PREFIX)  # of a living writer, which is refused and drops it
        if not staged and entry.name not in known:
            sha256 = named.get(entry.name, "")
            if not _PATH.fullmatch(entry.name) or not sha256 or (_hash(folder, entry.name) or ("", 0))[0] != sha256:
                raise SealError(f"{entry.name!r} in {folder} is no item of the bundle: take it out of the folder")
            found[entry.name] = sha256
    return found


# What is written


def _timestamp(url: str, manifest: bytes) -> tuple[bytes, str]:
    """The token over the manifest, or why there is none."""
    if not url:
        return b"", ""
    try:
        return request_timestamp(url, manifest, timeout=TIMESTAMP_SECONDS), ""
    except TimestampError as exc:
        parts = urlsplit(url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # without what may be secret
        return b"", f"no time stamp at sealing: {str(exc).replace(url, where)}"


def _summaries(checked: _Checked, says: Mapping[str, Any]) -> dict[str, bytes]:
    """junit.xml, report.html and SHA256SUMS, in the order in which they are written."""
    try:
        made = {JUNIT: junit_xml(checked.view), REPORT: report_html(checked.view, says)}
    except Exception as exc:  # whatever a bundle holds, it is no reason to lose the cause of a failed run
        raise SealError(f"report.html and junit.xml cannot be made: {type(exc).__name__}: {exc}") from exc
    sums = checked.sums | {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    return made | {SUMS: sums_file(sums)}


def sums_file(sums: Mapping[str, str]) -> bytes:
    """As `sha256sum` writes it, sorted by path."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """First of all an earlier SHA256SUMS goes: killed in here, it would speak of other files than are there."""
    try:
        if (folder / SUMS).exists():
            (folder / SUMS).unlink()
            sync_folder(folder)
        for name, data in files.items():
            write_durable(folder / name, data, replace=True)
    except OSError as exc:
        raise SealError(f"{folder} cannot be sealed: {exc}") from exc
