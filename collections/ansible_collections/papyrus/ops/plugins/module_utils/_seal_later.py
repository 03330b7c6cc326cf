# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What evidence_seal does: seals what a run's end left unsealed, completes what a crash left without a verdict."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._bundle_view import BundleView
from ._evidence import RUN_FILE, VERDICT, Bundle
from ._lease import LEASE_ITEM
from ._ledger import LedgerError, open_ledger
from ._names import parse_rfc3339, parse_run_id, rfc3339, utc_now
from ._redaction import Redactor
from ._run_end import alive, close_in, finish, last_phase, private_folders, remove_private, shown
from ._run_settings import Settings, Signing, private_root
from ._seal import SealError, check, sealed_before
from ._signers import open_signer


@dataclass(frozen=True)
class Wanted:
    """What is to be sealed and how. `ledger` "" leaves the ledger alone; `abandoned`: nobody is at work on it."""

    folder: str
    signing: Signing
    ledger: str = ""
    abandoned: bool = False


def seal_later(
    wanted: Wanted, *, dry: bool = False, now: Callable[[], dt.datetime] = utc_now, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Returns `changed`, `already_sealed`, `completed` (the verdict had to be written), `sealed`, `verdict`, `text`.

    With `dry` everything is asked and nothing written. SealError, SignerError, LedgerError; ValueError for the signer.
    A second seal is never made: what there is comes back, and the ledger is closed with it when it was not yet.
    """
    folder = Path(wanted.folder)
    bundle = Bundle(folder)
    if not bundle.manifest.is_file():
        raise SealError(f"{folder} is no evidence bundle: it has no {bundle.manifest.name}")
    ledger = open_ledger(wanted.ledger, region=wanted.signing.region) if wanted.ledger else None
    if ledger is not None:
        ledger.check()
    view = BundleView.of(bundle)
    run_id = _run_id(view)
    before = sealed_before(folder)
    if before is not None:
        unclosed = ledger is not None and ledger.opened(run_id) is not None and ledger.closed(run_id) is None
        if ledger is not None and unclosed and not dry:
            close_in(ledger, run_id, before.result, bundle, before)
        return {
            "changed": unclosed,
            "already_sealed": True,
            "completed": False,
            "sealed": shown(before, folder),
            "verdict": view.verdict,
            "text": f"{folder} is sealed already; it is not sealed again",
        }
    if open_signer(wanted.signing.signer, region=wanted.signing.region) is None:
        raise SealError("a seal needs a signer")
    completed = view.lines[-1]["name"] != VERDICT
    root = private_root(environ) or tempfile.gettempdir()
    private = next((each for each in private_folders(root) if each.run_id == run_id), None)
    if completed:
        _require_dead(view, private, wanted.abandoned, now())
    check(bundle, ended=not completed)
    if dry:
        return {
            "changed": True,
            "already_sealed": False,
            "completed": completed,
            "sealed": {},
            "verdict": view.verdict or {"result": "FAILED"},
            "text": f"{folder} would be sealed" + (" as FAILED: it has no verdict" if completed else ""),
        }
    redactor = Redactor(private.private) if private else Redactor()
    return _finish(Bundle(folder, redactor), view, run_id, wanted, completed, private)


def _finish(
    bundle: Bundle, view: BundleView, run_id: str, wanted: Wanted, completed: bool, private: Settings | None
) -> dict[str, Any]:
    during, last = last_phase(view.lines), view.lines[-1]
    cause = f"run and guard ended without a verdict, during: {during}; last item before: {last['name']}"
    failure = {"step": "C6", "task": "", "cause": cause, "after_seq": last["seq"]} if completed else None
    why = "run and guard ended without a verdict" if completed else "the run had its verdict and no seal"
    end = finish(
        bundle,
        open_ledger(wanted.ledger, region=wanted.signing.region) if wanted.ledger else None,
        run_id,
        failure,
        signing=wanted.signing,
        by="evidence_seal",
        note=f"sealed afterwards by evidence_seal: {why}",
        after_crash=completed,
    )
    if not end["sealed"]:
        raise SealError(end["problem"])
    if private is not None:
        remove_private(private.private)
    if end["problem"]:
        raise LedgerError(end["problem"])
    keys = ("changed", "sealed", "verdict", "text")
    return {**{key: end[key] for key in keys}, "already_sealed": False, "completed": completed}


def _run_id(view: BundleView) -> str:
    try:
        if not view.lines or view.lines[0]["name"] != RUN_FILE:
            raise ValueError(f"its manifest does not begin with {RUN_FILE}")
        return parse_run_id(str(view.run.get("run_id"))).text
    except ValueError as exc:
        raise SealError(f"{view.folder} is no bundle of a run: {exc}") from exc


def _require_dead(view: BundleView, private: Settings | None, abandoned: bool, now: dt.datetime) -> None:
    """SealError while somebody may still be at work: a bundle with its verdict takes no further item."""
    if private is not None and (at_work := alive(private)):
        pids = ", ".join(str(each.pid) for each in at_work)
        raise SealError(f"run {private.run_id} is under way (process {pids}): it ends and is sealed by itself")
    if abandoned:
        return
    lease = view.json(LEASE_ITEM) or {}
    try:
        expires = parse_rfc3339(str(lease["expires_at"]))
    except (KeyError, ValueError):
        raise SealError(
            f"{view.folder} has no verdict and no lease: with abandoned=true it is completed as FAILED, when nobody is "
            "at work on it any more"
        ) from None
    if now <= expires:
        raise SealError(
            f"{view.folder} has no verdict, and its lease lasts until {rfc3339(expires)}: the run may be under way. "
            "Wait for that, or give abandoned=true when nobody is at work on it any more"
        )
