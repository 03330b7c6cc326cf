"""What a schedule calls: the playbook papyrus.ops.sweep once, and its verdict as Markdown where GitHub asks for it.

usage: .venv/bin/python scripts/scheduled_sweep.py --inventory FOLDER [--evidence FOLDER] [--run-ids IDS] [--check true]
Ends with the playbook's own exit code. Every argument may be hostile: none reaches a shell or a template.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[a-z2-7]{6}")
SHOWN = 50
"""Rows of a bundle that the summary shows; GitHub takes 1 MiB a step."""


def run_ids(text: str) -> list[str]:
    """The ids in a text with blanks or commas between them."""
    ids = re.split(r"[\s,]+", text.strip()) if text.strip() else []
    for each in ids:
        if not RUN_ID.fullmatch(each):
            raise argparse.ArgumentTypeError(f"{each!r} is no run id such as 20261124T120000Z-abc234")
    return ids


def boolean(text: str) -> bool:
    if text not in ("true", "false", ""):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sweep what expired runs have left.")
    parser.add_argument("--inventory", required=True, help="folder or file of the inventory")
    parser.add_argument("--evidence", type=Path, help="where the run keeps its bundle; the inventory's when left out")
    parser.add_argument("--run-ids", type=run_ids, default=[], help="runs to sweep before their lease is over")
    parser.add_argument("--check", type=boolean, default=False, help="true: only say what would be deleted")
    return parser.parse_args(argv)


def variables(asked: argparse.Namespace) -> dict[str, Any]:
    """What the playbook is told beyond its inventory."""
    told: dict[str, Any] = {}
    if asked.evidence:
        told["papyrus_evidence_root"] = str(asked.evidence.absolute())
    if asked.run_ids:
        told["papyrus_sweep_run_ids"] = asked.run_ids
    return told


def play(asked: argparse.Namespace) -> int:
    """Runs the playbook and returns its exit code. Variables go by a private file: a command line is for everybody."""
    with tempfile.TemporaryDirectory(prefix="scheduled-sweep-") as folder:
        extra = Path(folder, "variables.json")
        extra.write_text(json.dumps(variables(asked)), "utf-8")
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/sweep.yml"]
        command += ["--inventory", asked.inventory, "--extra-vars", f"@{extra}", *(["--check"] if asked.check else [])]
        return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


def plain(text: object) -> str:
    """Text of others for Markdown: everything that could be markup, a link or a line end becomes an entity."""
    words = " ".join(str(text).split())[:500]
    return "".join(each if each.isascii() and (each.isalnum() or each in " -") else f"&#{ord(each)};" for each in words)


def summary(bundle: Path) -> str:
    """Result of a bundle and its rows, in Markdown. A bundle without verdict says so."""
    try:
        lines = [json.loads(line) for line in (bundle / "manifest.jsonl").read_bytes().splitlines()]
        last = [line for line in lines if line["name"] == "verdict.json"][-1]
        verdict = json.loads((bundle / Path(last["path"]).name).read_bytes())
    except (OSError, ValueError, LookupError) as exc:
        return f"### Sweep {plain(bundle.name)}: no verdict\n\n{plain(f'{type(exc).__name__}: {exc}')}\n"
    text = [f"### Sweep {plain(bundle.name)}: {plain(verdict['result'])}", ""]
    if first := verdict.get("first_failure"):
        text += [f"First failure, {plain(first.get('step') or '')}: {plain(first.get('cause') or '')}", ""]
    rows = [line for line in lines if line.get("status") in ("ok", "ng", "skip") and line["name"] != "verdict.json"]
    rows.sort(key=lambda line: line["status"] != "ng")
    text += ["| step | evidence | result | reason |", "|---|---|---|---|"]
    for line in rows[:SHOWN]:
        cells = (line.get("step"), line["name"], line["status"].upper(), (line.get("meta") or {}).get("reason", ""))
        text.append("| " + " | ".join(plain(cell or "") for cell in cells) + " |")
    if len(rows) > SHOWN:
        text += ["", f"and {len(rows) - SHOWN} rows more in the bundle"]
    return "\n".join(text) + "\n"


def bundles(root: Path) -> set[Path]:
    return {path for path in root.iterdir() if path.is_dir()} if root.is_dir() else set()


def main(argv: list[str]) -> int:
    asked = arguments(argv)
    before = bundles(asked.evidence) if asked.evidence else set()
    # On GitHub a line of output can be a command to the runner; what the playbook prints has names and tags of others.
    silence = f"sweep-{secrets.token_hex(16)}" if os.environ.get("GITHUB_ACTIONS") == "true" else ""
    if silence:
        print(f"::stop-commands::{silence}", flush=True)
    try:
        code = play(asked)
    finally:
        if silence:
            print(f"\n::{silence}::", flush=True)
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if target:
        made = sorted(bundles(asked.evidence) - before) if asked.evidence else []
        text = "\n".join(map(summary, made))
        if not text:
            text = f"### Sweep: {'checked only' if asked.check else 'no bundle'}, exit code {code}\n"
        with open(target, "a", encoding="utf-8") as file:
            file.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
