# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One request to verify: bundles, keys, ledger, CloudTrail. Shared by the command line and the module."""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._aws import AwsFailure, Clients, client_factory
from ._bundle_view import BundleView
from ._dsse import BadKeyFile, DsseError, TrustedKey, load_public_keys
from ._evidence import ATTESTATION, MANIFEST
from ._ledger import Ledger, LedgerError, open_ledger
from ._names import parse_rfc3339, parse_run_id, utc_now
from ._verify import COULD_NOT, EXIT_CODES, check_question, verify, worst
from ._verify_addendum import check_links
from ._verify_chain import read_chain
from ._verify_files import Folder, VerifyError
from ._verify_ledger import against_ledger
from ._verify_online import online

MAX_ROOTS_FILE = 1024 * 1024

ClientsOf = Callable[[str], Clients]
"""Region → the auditor's clients."""


class RequestError(ValueError):
    """The question is wrong: nothing was looked at. The message says what to give instead."""


@dataclass(frozen=True)
class Request:
    """What is asked. `root` stands for all bundles in a folder; `service`, `since`, `until` and `only_shown` limit for
    which runs of the ledger a bundle has to be there; `timestamp_roots` is a file of PEM certificates."""

    bundles: Sequence[str] = ()
    root: str = ""
    keys: Sequence[str] = ()
    identity: str = ""
    issuer: str = ""
    image: str = ""
    results: Sequence[str] = ()
    timestamp_roots: str = ""
    ledger: str = ""
    service: str = ""
    since: str = ""
    until: str = ""
    only_shown: bool = False
    online: bool = False
    region: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Request:
        """From options of a module or command line; what is None there is as if not given."""
        return cls(**{name: value for name, value in options.items() if value is not None})


def examine(
    request: Request, *, clients: ClientsOf | None = None, now: Callable[[], dt.datetime] = utc_now
) -> dict[str, Any]:
    """`result` (ok, mismatch, incomplete, tampered; unknown when something could not be asked and nothing is tampered),
    `exit_code`, `bundles` (see _verify.verify; with `ledger` and `online` where asked), `ledger` (see against_ledger,
    or None), `errors` (`bundle`, `reason`: what could not be looked at). RequestError for a wrong question.
    """
    image = request.image.rpartition("@")[2]
    try:
        check_question(image, request.results)
    except ValueError as exc:
        raise RequestError(str(exc)) from exc
    folders = _folders(request)
    keys = _keys(request, folders)
    roots = _roots_pem(request.timestamp_roots, folders)
    ledger, since, until = _ledger(request)
    bundles: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for folder in folders:
        try:
            result = verify(
                folder,
                keys,
                image=image,
                timestamp_roots=roots,
                identity=request.identity,
                issuer=request.issuer,
                results=request.results,
            )
            bundles.append(result)
            if request.online and result["result"] != "tampered":
                result["online"] = _online(folder, request.region, clients or _own_clients, now())
        except (VerifyError, AwsFailure) as exc:
            errors.append({"bundle": folder, "reason": str(exc)})
    check_links(bundles)
    held = None
    if ledger is not None:
        try:
            held = _held(ledger, bundles, request, since, until)
        except (LedgerError, AwsFailure, OSError) as exc:
            errors.append({"bundle": "", "reason": f"the ledger {request.ledger} cannot be read: {exc}"})
    return _overall(bundles, held, errors)


def _overall(
    bundles: list[dict[str, Any]], held: dict[str, Any] | None, errors: list[dict[str, str]]
) -> dict[str, Any]:
    for bundle in bundles:
        asked = (bundle["addendum"], bundle["ledger"], bundle["online"])
        parts = [bundle["result"], *(part["result"] for part in asked if part)]
        bundle["result"] = worst(parts)
        bundle["exit_code"] = EXIT_CODES[bundle["result"]]
    result = worst([*(bundle["result"] for bundle in bundles), held["result"] if held else "ok"])
    if errors and result != "tampered":
        result = "unknown"
    code = EXIT_CODES.get(result, COULD_NOT)
    return {"result": result, "exit_code": code, "bundles": bundles, "ledger": held, "errors": errors}


# What is asked


def _folders(request: Request) -> list[str]:
    folders = [os.fspath(bundle) for bundle in request.bundles]
    if request.root:
        try:
            folders += sorted(entry.path for entry in os.scandir(request.root) if _is_bundle(entry))
        except OSError as exc:
            raise RequestError(f"{request.root} has no bundles that can be read: {exc.strerror or exc}") from exc
    if not folders:
        raise RequestError(f"there is no bundle in {request.root}" if request.root else "no bundle is given")
    return list(dict.fromkeys(folders))


def _is_bundle(entry: os.DirEntry[str]) -> bool:
    """A folder with the name of a run, or with what only bundles have in them."""
    if not entry.is_dir(follow_symlinks=False):
        return False
    try:
        parse_run_id(entry.name)
    except ValueError:
        return any(os.path.lexists(os.path.join(entry.path, name)) for name in (MANIFEST, ATTESTATION))
    return True


def _keys(request: Request, folders: Sequence[str]) -> list[TrustedKey]:
    if bool(request.identity) != bool(request.issuer):
        raise RequestError("a keyless signature needs both the identity and its issuer")
    if not request.keys and not request.identity:
        raise RequestError(
            "no public key is given: take it from whoever runs the releases, never from the bundle "
            "(or give identity and issuer of a keyless signature)"
        )
    for path in request.keys:
        from_elsewhere(path, folders, "public key")
    try:
        return load_public_keys(request.keys)
    except (BadKeyFile, DsseError) as exc:
        raise RequestError(str(exc)) from exc


def from_elsewhere(path: str, folders: Sequence[str], what: str) -> None:
    """RequestError for a file that lies in one of the bundles."""
    own = os.path.realpath(path)
    for folder in folders:
        if own.startswith(os.path.realpath(folder) + os.sep):
            raise RequestError(f"the {what} {path} lies in the bundle itself, and proves nothing about it")


def _roots_pem(path: str, folders: Sequence[str]) -> bytes:
    if not path:
        return b""
    from_elsewhere(path, folders, "file of root certificates")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            data = file.read(MAX_ROOTS_FILE + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError as exc:
        raise RequestError(f"the root certificates {path} cannot be read: {exc.strerror or exc}") from exc
    if b"-----BEGIN CERTIFICATE-----" not in data or len(data) > MAX_ROOTS_FILE:
        raise RequestError(f"{path} is no file of PEM certificates")
    return data


def _ledger(request: Request) -> tuple[Ledger | None, dt.datetime | None, dt.datetime | None]:
    limits = (request.service, request.since, request.until, request.only_shown)
    if not request.ledger:
        if any(limits):
            raise RequestError("service, since, until and only_shown limit what is asked of a ledger; none is given")
        return None, None, None
    try:
        since, until = (parse_rfc3339(text) if text else None for text in (request.since, request.until))
        ledger = open_ledger(request.ledger, region=request.region)
    except ValueError as exc:
        raise RequestError(str(exc)) from exc
    if request.only_shown:
        if since or until:
            raise RequestError("only_shown asks for no other run, whenever it was: since and until do not go with it")
        return ledger, dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC)
    return ledger, since, until


# The ledger


def _held(
    ledger: Ledger,
    bundles: Sequence[dict[str, Any]],
    request: Request,
    since: dt.datetime | None,
    until: dt.datetime | None,
) -> dict[str, Any]:
    """Every bundle gets what concerns it; what is returned is about all of them and the runs that are not shown."""
    shown = [
        {
            "run_id": bundle["run_id"],
            "run_sha256": bundle["sha256"]["run"],
            "attestation_sha256": bundle["sha256"]["attestation"],
            "manifest_head": bundle["sha256"]["head"],
            "result": bundle["verdict"],
            "folder": bundle["bundle"],
        }
        for bundle in bundles
    ]
    held = against_ledger(ledger, shown, service=request.service, since=since, until=until)
    for bundle in bundles:
        own = [
            finding
            for finding in held["findings"]
            if finding["path"] == bundle["bundle"] or (bundle["run_id"] and finding["run_id"] == bundle["run_id"])
        ]
        bundle["ledger"] = {"result": worst([finding["result"] for finding in own]), "findings": own}
    return held


# CloudTrail


def _own_clients(region: str) -> Clients:
    return client_factory({"region_name": region} if region else None)


def _online(folder: str, region: str, clients: ClientsOf, now: dt.datetime) -> dict[str, Any]:
    """Not for a bundle that was tampered with: what that says of its requests is nobody's word."""
    view = view_of(folder)
    return online(view, clients(region or str(view.run.get("region") or "")), now=now)


def view_of(folder: str) -> BundleView:
    """Of the lines in good form; the files behind them have been compared already."""
    lines: list[Mapping[str, Any]] = []
    with Folder(folder) as place:
        read_chain(place, lambda line, value: lines.append(value))
    return BundleView.over(Path(folder), lines)
