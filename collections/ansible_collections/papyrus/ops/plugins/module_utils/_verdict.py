# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict over a run: a pure function of its manifest lines, and the block of text that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._printable import printable

GONE_ITEM = "alb_sg_verify_gone.json"
DESTROY_ITEM = "terraform_destroy.log"
APPLY_ITEM = "terraform_apply.log"
APPLY_PHASE = "terraform apply"
RESULTS = ("PASSED", "WARNED", "FAILED")

_WORDS = {"ok": "OK", "ng": "NG", "skip": "SKIP", "info": "INFO"}


def verdict(
    lines: Sequence[Mapping[str, Any]],
    failure: Mapping[str, Any] | None = None,
    allowed_skips: Iterable[str] = (),
    dirty: bool | None = False,
    *,
    short_values: int = 0,
    signed: bool = True,
) -> dict[str, Any]:
    """PASSED, WARNED or FAILED, with the first failure first (EVIDENCE.md, Verdict).

    `lines` are manifest lines; the check rows inside an item are its `meta.rows` (`id`, `status`, `reason`). `failure`
    is what ended the run: `step`, `task`, `cause`; it is the first failure unless an item was `ng` before. Items after
    its `after_seq`, where it has one, and those of the teardown are consequences of it, never the first. `dirty` None
    means that the state of the tree is not known, which is not "clean". A run that applied needs an `ok` gone-check.
    `signed` is whether a signer will seal the bundle.
    """
    rows = [row for line in lines for row in check_rows(line)]
    counts = {status: sum(1 for row in rows if row["status"] == status) for status in ("ok", "ng", "skip", "info")}
    allowed = set(allowed_skips)
    skips: list[dict[str, Any]] = [
        {"id": row["id"], "reason": row["reason"], "allowed": row["id"] in allowed or row["step"] in allowed}
        for row in rows
        if row["status"] == "skip"
    ]
    broken = [row for row in rows if row["status"] == "ng"]
    failures: list[dict[str, str]] = [_failure_of_row(row) for row in broken]
    if failure and any(failure.get(key) for key in ("step", "task", "cause")):
        last = failure.get("after_seq")
        before = sum(1 for row in broken if not _consequence(row, last))
        broken.sort(key=lambda row: _consequence(row, last))
        failures = _with_failure([_failure_of_row(row) for row in broken], before, failure)
    failed_destroy = next((f for f in failures if f["name"] in (DESTROY_ITEM, GONE_ITEM)), None)
    gone = _gone(lines)
    if gone == "missing":
        failures.append(
            {
                "step": "C7",
                "name": GONE_ITEM,
                "task": "",
                "cause": "nothing shows that the temporary resources are gone",
            }
        )
    failures += [
        {
            "step": skip["id"],
            "name": "",
            "task": "",
            "cause": f"skipped, which the inventory does not allow: {skip['reason']}",
        }
        for skip in skips
        if not skip["allowed"]
    ]
    warnings = [f"{skip['id']} skipped: {skip['reason']}" for skip in skips if skip["allowed"]]
    if dirty is None:
        warnings.append("whether the working tree is clean is not known (no git checkout)")
    elif dirty:
        warnings.append("the working tree has changes that no commit holds")
    if not signed:
        warnings.append("no signer is configured: the bundle is not signed, anybody could have made it")
    if not counts["ok"] and not failures:
        failures.append({"step": "all", "name": "", "task": "", "cause": "the run holds no check"})
    result = "FAILED" if failures else "WARNED" if warnings else "PASSED"
    return {
        "result": result,
        "first_failure": failures[0] if failures else None,
        "failures": failures,
        "failed_destroy": failed_destroy,
        "release": _release(lines, result),
        "gone": gone,
        "counts": counts,
        "skips": skips,
        "warnings": warnings,
        "dirty": dirty,
        "values_too_short_to_redact": short_values,
    }


def check_rows(line: Mapping[str, Any]) -> list[dict[str, str]]:
    """The check rows of an item: those in its meta, else the item as one row."""
    meta = line.get("meta") or {}
    base = {"step": str(line["step"]), "name": str(line["name"]), "seq": str(line.get("seq", 0))}
    rows = meta.get("rows")
    if isinstance(rows, list) and rows:
        found = [
            {**base, "id": str(row["id"]), "status": str(row["status"]), "reason": str(row.get("reason") or "")}
            for row in rows
        ]
        if line["status"] == "ng" and all(row["status"] != "ng" for row in found):
            found.append({**base, "id": base["step"], "status": "ng", "reason": str(meta.get("reason") or "")})
        return found
    return [{**base, "id": base["step"], "status": str(line["status"]), "reason": str(meta.get("reason") or "")}]


def _failure_of_row(row: Mapping[str, str]) -> dict[str, str]:
    cause = row["reason"] or f"{row['name']} is ng"
    return {"step": row["id"], "name": row["name"], "task": "", "cause": cause}


def _consequence(row: Mapping[str, str], after_seq: Any) -> bool:
    return row["name"] in (DESTROY_ITEM, GONE_ITEM) or (isinstance(after_seq, int) and int(row["seq"]) > after_seq)


def _with_failure(failures: list[dict[str, str]], before: int, failure: Mapping[str, Any]) -> list[dict[str, str]]:
    """The failure which ended the run, put behind the first `before` failures.

    An item of the same step says the same thing, as does one before a failure of no step; an ng item of another step is
    what the run failed by.
    """
    ended = {"name": "", **{key: _text(failure.get(key)) for key in ("step", "task", "cause")}}
    if not before:
        return [ended, *failures]
    first = failures[0]
    first["task"] = ended["task"]
    if ended["step"] in ("", first["step"]) or not ended["cause"]:
        if ended["cause"] and first["cause"].endswith(" is ng"):
            first["cause"] = ended["cause"]
        return failures
    return [*failures[:before], ended, *failures[before:]]


def _text(value: Any) -> str:
    """A message of Ansible is a string or a list of lines."""
    return "; ".join(str(line) for line in value) if isinstance(value, list | tuple) else str(value or "")


def _gone(lines: Sequence[Mapping[str, Any]]) -> str:
    """`ok`, `ng`, `missing`, or `not needed` for a run in which no apply began: its phase is there before it does."""
    # `info`: a file whose writer was killed before it said what it shows (Bundle.recover)
    checks = [line["status"] for line in lines if line["name"] == GONE_ITEM and line["status"] != "info"]
    if checks:
        return str(checks[-1])
    applied = any(line["name"] == APPLY_ITEM or (line.get("meta") or {}).get("phase") == APPLY_PHASE for line in lines)
    return "missing" if applied else "not needed"


def _release(lines: Sequence[Mapping[str, Any]], result: str) -> dict[str, Any] | None:
    """What became of the rollout, as the last item that speaks of it says; None for a run that released nothing.

    `result` (deployed, rolled_back, stopped, superseded, failed, not_started), `by`, `task_definition`, `serving`,
    `previous`, `cause`; `proven` is true only when a deployed revision has passed everything else as well.
    """
    said = [meta["release"] for line in lines if isinstance((meta := line.get("meta") or {}).get("release"), Mapping)]
    if not said:
        return None
    return {**said[-1], "proven": result != "FAILED" and said[-1].get("result") == "deployed"}


def release_line(release: Mapping[str, Any]) -> str:
    """One sentence: what the release did, who went back, what serves now."""
    new, serving, previous = (
        str(release.get(key) or "").rsplit("/", 1)[-1] for key in ("task_definition", "serving", "previous")
    )
    what = str(release.get("result") or "unknown").replace("_", " ")
    if what == "deployed" and not release.get("proven"):
        text = f"{new} was deployed but is not proven; {previous or 'nothing'} served before"
    elif what == "deployed":
        text = f"{new} deployed and proven"
    else:
        by = f" by {release['by']}" if release.get("by") else ""
        text = f"{new}: {what}{by}; {serving or 'no revision'} serves"
    cause = " ".join(str(release.get("cause") or "").split())
    return f"Release: {text}" + (f" ({cause})" if cause else "")


def verdict_text(
    result: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], folder: str, sealed: Sequence[str] = ()
) -> str:
    """The block for a terminal: one row per check (step, status, reason), the result, and where the evidence lies.

    `sealed` are the lines that say how the bundle was sealed, or why not.
    """
    rows = [row for line in lines for row in check_rows(line) if row["status"] != "info"]
    cells = [(row["id"], _WORDS[row["status"]], row["name"], row["reason"]) for row in rows]
    widths = [max((len(cell[i]) for cell in cells), default=0) for i in range(3)]
    text = []
    for step, status, name, reason in cells:
        reason = " ".join(reason.split())
        row = f"{step:<{widths[0]}}  {status:<4}  {name:<{widths[2]}}  {reason}"
        text.append(row.rstrip() if len(row) <= 200 else row[:199] + "…")
    first = result.get("first_failure")
    if isinstance(first, Mapping):
        task = f" (task: {first['task']})" if first.get("task") else ""
        text.append(f"First failure: {first.get('step')} {first.get('cause')}{task}".replace("  ", " "))
    failed_destroy = result.get("failed_destroy")
    if isinstance(failed_destroy, Mapping) and failed_destroy != first:
        text.append(f"Failed destroy: {failed_destroy.get('cause')}")
    if isinstance(result.get("release"), Mapping):
        text.append(release_line(result["release"]))
    text += [f"Warning: {warning}" for warning in result.get("warnings") or []]
    text += sealed
    text.append(f"{result['result']}  evidence: {folder}")
    return printable("\n".join(text))
