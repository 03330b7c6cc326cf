"""What the last step of a workflow calls, however the steps before it ended: waits for the guard, says the verdict.

usage: .venv/bin/python scripts/workflow_end.py --folder FOLDER [--wait SECONDS]
FOLDER is what workflow_play.py was given. A run that was cancelled or killed is taken down by its guard, which needs
the credentials: they are removed when it has ended. Writes the verdicts as Markdown where GitHub asks for a summary,
and `run-ids` and `result` where it asks for outputs. Ends with 0: the step that played says whether the job failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from workflow_play import IDS, RUN_ID, private_folder

SHOWN = 50
"""Rows of a bundle that the summary shows; GitHub takes 1 MiB a step."""
WORST = ("FAILED", "none", "WARNED", "PASSED")


def plain(text: object, hidden: tuple[str, ...] = ()) -> str:
    """Text of others for Markdown: everything that could be markup, a link or a line end becomes an entity.

    What is hidden stays so: GitHub masks secrets in its log, not in a summary.
    """
    words = " ".join(str(text).split())
    for each in hidden:
        words = words.replace(each, "***")
    shown = words[:500]
    return "".join(each if each.isascii() and (each.isalnum() or each in " -") else f"&#{ord(each)};" for each in shown)


def verdict_of(bundle: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Lines of the manifest and the verdict. OSError, ValueError or LookupError: there is none."""
    lines = [json.loads(line) for line in (bundle / "manifest.jsonl").read_bytes().splitlines()]
    last = [line for line in lines if line["name"] == "verdict.json"][-1]
    return lines, json.loads((bundle / Path(last["path"]).name).read_bytes())


def summary(bundle: Path, hidden: tuple[str, ...] = ()) -> tuple[str, str]:
    """Result of a bundle (`none` without a verdict), and it with its rows in Markdown."""
    try:
        lines, verdict = verdict_of(bundle)
        result = str(verdict["result"])
    except (OSError, ValueError, LookupError) as exc:
        return "none", f"### {plain(bundle.name)}: no verdict\n\n{plain(f'{type(exc).__name__}: {exc}', hidden)}\n"
    text = [f"### {plain(bundle.name)}: {plain(result)}", ""]
    if first := verdict.get("first_failure"):
        text += [f"First failure, {plain(first.get('step') or '')}: {plain(first.get('cause') or '', hidden)}", ""]
    rows = [line for line in lines if line.get("status") in ("ok", "ng", "skip") and line["name"] != "verdict.json"]
    rows.sort(key=lambda line: line["status"] != "ng")
    text += ["| step | evidence | result | reason |", "|---|---|---|---|"]
    for line in rows[:SHOWN]:
        cells = (line.get("step"), line["name"], line["status"].upper(), (line.get("meta") or {}).get("reason", ""))
        text.append("| " + " | ".join(plain(cell or "", hidden) for cell in cells) + " |")
    if len(rows) > SHOWN:
        text += ["", f"and {len(rows) - SHOWN} rows more in the bundle"]
    return result, "\n".join(text) + "\n"


def bundles(folder: Path) -> list[Path]:
    root = folder / "evidence"
    return sorted(path for path in root.iterdir() if RUN_ID.fullmatch(path.name)) if root.is_dir() else []


def guarded(run_id: str) -> bool:
    """Whether a run has its private folder still, which is the last thing that its guard removes."""
    roots = {tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", "")} - {""}
    return any(True for root in roots for _found in Path(root).glob(f"papyrus-{run_id.rsplit('-', 1)[1]}-*"))


def wait_for_guards(found: list[Path], seconds: float) -> list[str]:
    """Waits for the guards of the runs; returns the ids of those that are not done."""
    deadline, said = time.monotonic() + seconds, False
    while left := [bundle.name for bundle in found if guarded(bundle.name)]:
        if time.monotonic() >= deadline:
            return left
        if not said:
            print(f"Waiting for the guard of {', '.join(left)}, which takes the run down", flush=True)
            said = True
        time.sleep(0.5)
    return []


def hidden_values(folder: Path) -> tuple[str, ...]:
    """The ids that came as secrets; longest first, as one may begin like another."""
    try:
        told = json.loads((private_folder(folder) / "env" / "extravars").read_bytes())
    except (OSError, ValueError):
        return ()
    found: list[str] = []
    for variable, _shape in IDS.values():
        value = told.get(variable, [])
        found += [value] if isinstance(value, str) else value
    return tuple(sorted(found, key=len, reverse=True))


def append(variable: str, text: str) -> None:
    if target := os.environ.get(variable):
        with open(target, "a", encoding="utf-8") as file:
            file.write(text)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Say how the runs of a workflow ended.")
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--wait", type=float, default=240, help="seconds that a guard may still take")
    asked = parser.parse_args(argv)
    folder = asked.folder.absolute()
    found = bundles(folder)
    left = wait_for_guards(found, asked.wait)
    hidden = hidden_values(folder)
    told = [summary(bundle, hidden) for bundle in found]
    results = [result for result, _text in told] or ["none"]
    append("GITHUB_STEP_SUMMARY", "\n".join(text for _result, text in told) or "### No evidence: nothing was opened\n")
    if left:
        append("GITHUB_STEP_SUMMARY", f"\nNot taken down in time, the sweep has to: {plain(' '.join(left))}\n")
    result = min(results, key=lambda each: WORST.index(each) if each in WORST else 0)
    append("GITHUB_OUTPUT", f"run-ids={' '.join(bundle.name for bundle in found)}\nresult={result}\n")
    if not left:
        shutil.rmtree(private_folder(folder), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
