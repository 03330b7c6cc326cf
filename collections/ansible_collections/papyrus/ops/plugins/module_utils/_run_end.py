# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a run: its verdict, its seal, its ledger entry, and the private folder gone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ._evidence import ATTESTATION, RUN_FILE, VERDICT, Bundle, BundleError, content_bytes
from ._guard_processes import Process
from ._ledger import Ledger, LedgerError
from ._locks import LockTimeout
from ._names import parse_rfc3339
from ._printable import extra_variable
from ._redaction import Redactor
from ._run_settings import ChildFile, Settings, Signing, guard_process
from ._seal import AlreadySealed, Sealed, SealError, seal, sealed_before, summarise
from ._signers import SignerError, open_signer
from ._verdict import verdict, verdict_text


def finish(
    bundle: Bundle,
    ledger: Ledger | None,
    run_id: str,
    failure: Mapping[str, Any] | None = None,
    allowed_skips: Iterable[str] = (),
    *,
    signing: Signing,
    by: str = "run",
    note: str = "",
    after_crash: bool = False,
    short_values: int = 0,
) -> dict[str, Any]:
    """Writes the verdict as the last item, seals, closes the ledger. What is there already stays: each is done once.

    Returns `verdict`, `text` (for a terminal), `changed`, `sealed` (`attestation`, `sha256`, `keyid`, `trust`,
    `identity`; {} when nothing is signed) and `problem`: that and why the bundle is not sealed, or the ledger not
    closed, and the command for later; "" when all is well. Raises only when the verdict cannot be written (BundleError,
    OSError, LockTimeout), or when something else lies where the attestation belongs (SealError).
    """
    before = sealed_before(bundle.folder)
    bundle.recover()  # does nothing behind a verdict
    lines = bundle.lines()
    changed = False
    if any(line["name"] == VERDICT for line in lines[:-1]):
        raise BundleError(f"{bundle.manifest} goes on behind the verdict: it was changed by something else")
    if lines and lines[-1]["name"] == VERDICT:
        result = json.loads(bundle.data(lines[-1]))
        lines = lines[:-1]
    else:
        result = {
            "run_id": run_id,
            **verdict(
                lines,
                failure,
                allowed_skips,
                tree_dirty(bundle.folder),
                short_values=short_values,
                signed=bool(signing.signer),
            ),
        }
        first = result["first_failure"]
        status = "ng" if result["result"] == "FAILED" else "ok"
        reason = f"{first['step']} {first['cause']}".strip() if first else ""
        bundle.append(
            VERDICT,
            content_bytes(result),
            status=status,
            step="all",
            meta={"result": result["result"], "reason": reason},
        )
        changed = True
    sealed, why, problem = before, "", ""
    if before is None:
        sealed, why = _seal_now(bundle, signing, by, note, after_crash)
        changed = changed or sealed is not None
    if why:
        problem = f"NOT SEALED: {why}"
    elif ledger is not None:
        try:
            changed = close_in(ledger, run_id, result["result"], bundle, sealed) or changed
        except (LedgerError, OSError) as exc:
            problem = f"NOT CLOSED in the ledger {ledger.where}: {exc}"
    if problem:
        command = seal_command(bundle.folder, ledger.where if ledger else "", signing)
        problem = f"{problem.rstrip('.')}. When that is mended: {command}"
    said = [_seal_line(sealed, bundle.folder)] if sealed else []
    said += [problem] if problem else []
    return {
        "verdict": result,
        "text": verdict_text(result, lines, str(bundle.folder), said),
        "changed": changed,
        "sealed": shown(sealed, bundle.folder) if sealed else {},
        "problem": problem,
    }


def _seal_now(bundle: Bundle, signing: Signing, by: str, note: str, after_crash: bool) -> tuple[Sealed | None, str]:
    """Seals, or without a signer only sums up; what was sealed, and why not. Nothing of it raises: the verdict is
    there, and a fault in here may not hide it, or leave the private folder behind."""
    try:
        signer = open_signer(signing.signer, region=signing.region)
        if signer is None:
            summarise(bundle)
            return None, ""
        return seal(bundle, signer, by=by, timestamp_url=signing.timestamp_url, note=note, after_crash=after_crash), ""
    except AlreadySealed:  # by somebody else, just now
        try:
            return sealed_before(bundle.folder), ""
        except SealError as exc:
            return None, str(exc)
    except Exception as exc:
        known = isinstance(exc, (SealError, SignerError, LockTimeout, OSError))
        return None, str(exc) if known else f"{type(exc).__name__}: {exc}"


def close_in(ledger: Ledger, run_id: str, result: str, bundle: Bundle, sealed: Sealed | None) -> bool:
    """Closes the run in the ledger, if it is open there; says whether it was."""
    if ledger.opened(run_id) is None or ledger.closed(run_id) is not None:
        return False
    with contextlib.suppress(FileExistsError):  # by somebody else, just now
        ledger.close(run_id, result, bundle.head(), sealed.attestation_sha256 if sealed else None)
    return True


def seal_command(folder: Path, ledger: str, signing: Signing) -> str:
    """The one command that seals later, with the environment of the run."""
    given: dict[str, Any] = {"bundle": str(folder), "ledger": ledger, "signer": dict(signing.signer)}
    given |= {
        key: value for key, value in (("timestamp_url", signing.timestamp_url), ("region", signing.region)) if value
    }
    return f"ansible localhost -m papyrus.ops.evidence_seal -a {shlex.quote(json.dumps(given))}"


def shown(sealed: Sealed, folder: Path) -> dict[str, str]:
    """A seal as the modules return it."""
    return {
        "attestation": str(folder / ATTESTATION),
        "sha256": sealed.attestation_sha256,
        "keyid": sealed.keyid,
        "trust": sealed.trust,
        "identity": sealed.identity,
    }


def _seal_line(sealed: Sealed, folder: Path) -> str:
    """How it was sealed and how to verify that, for a terminal. The key has to come from elsewhere than the bundle."""
    who = {
        "self-asserted": f"with the runner's own key file, key {sealed.keyid[:16]}",
        "kms": f"by {sealed.identity}, key {sealed.keyid[:16]}",
        "keyless": f"keyless, by {sealed.identity}",
    }.get(sealed.trust, f"{sealed.trust} {sealed.keyid[:16]}")
    key = (
        "papyrus_verify_identity=… -e papyrus_verify_issuer=…" if sealed.trust == "keyless" else "papyrus_verify_key=…"
    )
    bundle = extra_variable("papyrus_verify_bundle", str(folder))
    return f"Sealed {who}. Verify: ansible-playbook papyrus.ops.verify_evidence {bundle} -e {key}"


def tree_dirty(folder: Path) -> bool | None:
    """Whether the working tree differed from its commit when the run was opened; None when nobody knows."""
    try:
        dirty = json.loads((folder / RUN_FILE).read_bytes())["git"]["dirty"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dirty if isinstance(dirty, bool) else None


def short_values(private: str) -> int:
    """How many secrets of the run were too short to be searched for."""
    if not private or not Path(private).is_dir():
        return 0
    redactor = Redactor(private)
    redactor.redact(b"")
    return redactor.short_values


def remove_private(private: str | Path) -> None:
    """Removes the run-private folder with key, known values and variables; nothing else is ever removed by it."""
    folder = Path(private)
    if folder.name.startswith(PRIVATE_PREFIX) and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


PRIVATE_PREFIX = "papyrus-"


def private_folders(root: str | Path) -> Iterator[Settings]:
    """Settings of the runs of this user that have a private folder in `root`."""
    for folder in Path(root).glob(f"{PRIVATE_PREFIX}*-*"):
        try:
            settings = Settings.load(folder)
            ours = folder.stat().st_uid == os.getuid() and settings.private == str(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of ours, or still being made
        if ours:
            yield settings


def alive(settings: Settings) -> list[Process]:
    """Guard, controller and Terraform of a run, as far as they live: one of them may still create something."""
    child = ChildFile(settings.private).read()
    members = (guard_process(settings.private), settings.controller, child[0] if child else None)
    return [member for member in members if member is not None and member.alive()]


def alive_runs(environ: Mapping[str, str]) -> dict[str, str]:
    """Runs of this user that live on this machine: what of each lives, by its id. Nobody may sweep them."""
    roots = {tempfile.gettempdir(), environ.get("XDG_RUNTIME_DIR", "")} - {""}
    found = {settings.run_id: alive(settings) for root in sorted(roots) for settings in private_folders(root)}
    return {run_id: ", ".join(f"process {each.pid}" for each in living) for run_id, living in found.items() if living}


def purge_stale(root: str | Path, now: dt.datetime) -> list[str]:
    """Removes private folders which a run left when everything of it was killed at once: they hold secrets.

    Only those of this user, whose lease has expired, and whose guard and controller are dead. Returns their names.
    """
    removed = []
    for settings in private_folders(root):
        if parse_rfc3339(settings.expires_at) < now and not alive(settings):
            remove_private(settings.private)
            removed.append(Path(settings.private).name)
    return removed


def last_phase(lines: Iterable[Mapping[str, Any]]) -> str:
    """The phases under way at the end of `lines`, or the last that ended, for the cause of a verdict."""
    under_way: list[str] = []
    last = ""
    for line in lines:
        meta = line.get("meta") or {}
        name = str(meta.get("phase") or "")
        if line["name"] != "phase.json" or not name:
            continue
        if meta.get("event") == "start":
            under_way.append(name)
        else:
            under_way = [other for other in under_way if other != name]
            last = name
    return ", ".join(under_way) if under_way else f"after {last}" if last else "before its first phase"
