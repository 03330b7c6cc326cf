# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The answer of a verification for a person: the answer first, then what was found, then what was not asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._printable import printable
from ._rows import listing
from ._verify import worst
from ._verify_seal import TRUST

MAX_FINDINGS = 20

_WORDS = {
    "ok": "OK",
    "tampered": "TAMPERED",
    "incomplete": "INCOMPLETE",
    "mismatch": "MISMATCH",
    "unknown": "UNKNOWN",
}
_MEANING = {
    "ok": "is as it was sealed",
    "tampered": "is not what was sealed",
    "incomplete": "is not proved: something that would prove it is not there",
    "mismatch": "is as it was sealed, but not what was asked for",
}


def text(answer: Mapping[str, Any]) -> str:
    """Of `_verify_request.examine`; ends without a line end, and holds nothing that a terminal would obey."""
    bundles, errors = answer["bundles"], answer["errors"]
    lines: list[str] = []
    if len(bundles) != 1 or errors:
        counts = Counter(bundle["result"] for bundle in bundles)
        told = ", ".join(f"{counts[result]} {result}" for result in _MEANING if counts[result])
        failed = f"{len(errors)} could not be asked" if errors else ""
        lines.append(f"{_WORDS[answer['result']]}  {'; '.join(part for part in (told, failed) if part)}")
        lines += [f"  {error['reason']}" for error in errors]
    for bundle in bundles:
        lines += _bundle(bundle)
    if answer["ledger"] is not None:
        lines += _ledger(answer["ledger"], {bundle["run_id"] for bundle in bundles})
    lines += _not_checked(answer)
    return printable("\n".join(line.replace("\n", "\\n") for line in lines))


def summary(answer: Mapping[str, Any]) -> str:
    """One line: the result, and the first things that speak against it."""
    found = [f"{error['reason']}" for error in answer["errors"]]
    for bundle in answer["bundles"]:
        name = bundle["run_id"] or bundle["bundle"]
        found += [f"{name}: {f['class']} {_where(f['path'], f['seq'])} {f['reason']}" for f in bundle["findings"]]
        for part in ("addendum", "ledger", "online"):
            found += [f"{name}: {f['class']} {f['reason']}" for f in (bundle[part] or {"findings": []})["findings"]]
    shown = {bundle["run_id"] for bundle in answer["bundles"]}
    found += [f"{f['class']} {f['reason']}" for f in _of_others(answer["ledger"], shown)]
    return printable(f"{answer['result']}: {listing(found, 3) or 'nothing found'}".replace("\n", "\\n"))


def _bundle(bundle: Mapping[str, Any]) -> Iterator[str]:
    name = bundle["run_id"] or bundle["bundle"]
    yield f"{_WORDS[bundle['result']]}  {name} {_MEANING[bundle['result']]}. {_verdict(bundle)}"
    yield from _findings([(f["class"], _where(f["path"], f["seq"]), f["reason"]) for f in bundle["findings"]])
    for part, label in (("addendum", "addendum"), ("ledger", "ledger"), ("online", "AWS")):
        if bundle[part]:
            found = bundle[part]["findings"]
            yield from _findings([(f["class"], label, f["reason"]) for f in found])
    yield f"  bundle     {bundle['bundle']}"
    yield f"  items      {bundle['counts']['ok']} of {len(bundle['files'])} as they were written"
    if bundle["image"]:
        yield f"  image      {bundle['image']}"
    link = bundle["addendum"]
    if link and link["run_id"]:
        linked = ", the very bundle that is shown here" if link["shown"] and not link["findings"] else ""
        yield f"  addendum   to run {link['run_id']}{linked}"
    yield from _seal(bundle)
    for stamp in bundle["timestamps"]:
        when = f"existed at {stamp['time']}" if stamp["checked"] else "not checked"
        yield f"  time stamp of its {stamp['of']}: {when}{'; ' + stamp['note'] if stamp['note'] else ''}"
    online = bundle["online"]
    if online:
        ids = online["request_ids"]
        yield f"  AWS        {ids['found']} of {ids['asked']} requests found in CloudTrail of {online['endpoint']}"


def _verdict(bundle: Mapping[str, Any]) -> str:
    verdict = bundle["verdict"]
    if not verdict:
        return "Its verdict is not known."
    if bundle["result"] in ("ok", "mismatch"):
        return f"The run {verdict}."
    return f"Its verdict says {verdict}" + ("." if bundle["sealed"] else ", and nobody signed that.")


def _seal(bundle: Mapping[str, Any]) -> Iterator[str]:
    signature, sealed = bundle["signature"], bundle["sealed"]
    if not sealed:
        return
    who = signature["identity"] or f"key {signature['keyid']}"
    yield f"  signed     {signature['trust']}, {who}"
    yield f"             {TRUST[signature['trust']]}"
    crash = ", after a crash" if sealed.get("afterCrash") is True else ""
    note = f"; {sealed['note']}" if sealed.get("note") else ""
    yield f"  sealed     {sealed.get('sealedAt')} by {sealed.get('by')}{crash}{note}"


def _ledger(held: Mapping[str, Any], shown: set[str]) -> Iterator[str]:
    """What concerns none of the bundles: those have said their own."""
    others = _of_others(held, shown)
    word = _WORDS[worst([finding["result"] for finding in others])]
    counted = f"runs asked for {held['opened']}, not shown {len(held['never_shown'])}"
    yield f"{word}  ledger {held['where']}: {counted}"
    yield from _findings([(f["class"], "", f["reason"]) for f in others])


def _of_others(held: Mapping[str, Any] | None, shown: set[str]) -> list[Mapping[str, Any]]:
    return [finding for finding in held["findings"] if finding["run_id"] not in shown] if held else []


def _where(path: str, seq: int | None) -> str:
    return path if seq is None else f"{path} (item {seq})"


def _findings(found: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for kind, where, reason in found[:MAX_FINDINGS]:
        yield f"  {kind:<13}  {where + ': ' if where else ''}{reason}"
    if len(found) > MAX_FINDINGS:
        yield f"  … and {len(found) - MAX_FINDINGS} more (--json has all of them)"


def _not_checked(answer: Mapping[str, Any]) -> Iterator[str]:
    left = []
    if answer["ledger"] is None:
        left.append("whether other runs were left out (--ledger)")
    if any(bundle["online"] is None and bundle["result"] != "tampered" for bundle in answer["bundles"]):
        left.append("whether AWS saw this run (--online)")
    links = [bundle["addendum"] for bundle in answer["bundles"] if bundle["addendum"]]
    if any(not link["shown"] and not link["findings"] for link in links):
        left.append("the bundle to which an addendum was added (give both)")
    if any(stamp["checked"] is False for bundle in answer["bundles"] for stamp in bundle["timestamps"]):
        left.append("the time stamps (--timestamp-roots)")
    if left:
        yield f"Not checked: {'; '.join(left)}."
