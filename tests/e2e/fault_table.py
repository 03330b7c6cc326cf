"""Writes the tables of docs/faults.md from results: python -m tests.e2e.fault_table RESULTS docs/faults.md"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .fault_cells import FAULTS, Outcome

BEGIN, END = "<!-- from here: tests/e2e/fault_table.py -->", "<!-- to here -->"


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Cells of a part, of all files of it."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"{name}*.json")):
        found += json.loads(path.read_text("utf-8"))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def runs(folder: Path, playbook: str) -> str:
    """One line for each run, then what became of each call in it."""
    outcomes = [
        Outcome.from_dict(json.loads(path.read_text("utf-8")))
        for path in sorted(folder.glob(f"{playbook}.once.*.json"))
    ]
    outcomes.sort(key=lambda each: list(FAULTS).index(each.fault))
    if not outcomes:
        return ""
    known = json.loads((folder / f"{playbook}.baseline.json").read_text("utf-8"))["done"]
    names = sorted({name for each in outcomes for name in each.cells})
    lines = []
    for each in outcomes:
        hit = sum(1 for cell in each.cells.values() if cell.hit)
        more = [
            f"{name} {count} for {known.get(name, 0)}"
            for name, count in each.done.items()
            if count > known.get(name, 0)
        ]
        said = "" if each.passed else " ".join(each.cause.split())[:220]
        lines.append([each.fault, each.result, str(hit), str(len(each.left)), ", ".join(more), said])
    text = table(
        ["fault", "verdict", "calls hit", "left", "carried out more often than without", "first failure"], lines
    )
    head = ["call", *(each.fault for each in outcomes)]
    body = [[name, *(_cell(each, name) for each in outcomes)] for name in names]
    return f"{text}\n{table(head, body)}"


def _cell(outcome: Outcome, name: str) -> str:
    cell = outcome.cells.get(name)
    if cell is None or not cell.hit:
        return "·"
    if cell.again:
        return "again"
    if FAULTS[outcome.fault].keys() <= {"late_seconds", "body_seconds"}:
        return "waited"
    return "**failed**" if name.rpartition(":")[2] in outcome.cause else "not again"


def grid(cells: Iterable[Mapping[str, Any]], value: Any) -> str:
    """Call × fault."""
    by_key: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        by_key.setdefault((cell["api"], cell["fault"]), []).append(value(cell))
    faults = [fault for fault in FAULTS if any(key[1] == fault for key in by_key)]
    names = sorted({key[0] for key in by_key})
    rows = [[name, *(" / ".join(by_key.get((name, fault), ["·"])) for fault in faults)] for name in names]
    return table(["call", *faults], rows) if rows else ""


def wrong(cells: Iterable[Mapping[str, Any]]) -> str:
    """How many cells, and those that are not as they should be."""
    cells = list(cells)
    bad = [
        f"{cell['api']} {cell['fault']} {cell.get('times', 'always')}: {cell['wrong']}"
        for cell in cells
        if cell["wrong"]
    ]
    return f"{len(cells)} cells, {len(bad)} not as they should be." + "".join(f"\n- {each}" for each in bad) + "\n"


def section(title: str, cells: Sequence[Mapping[str, Any]], text: str, value: Any) -> str:
    """A heading, the count, and call × fault; "" without cells."""
    return f"## {title}\n\n{wrong(cells)}\n{text}\n\n{grid(cells, value)}" if cells else ""


def _asked(cell: Mapping[str, Any]) -> str:
    return f"{cell['tries']} {cell['code']}".rstrip()


def _swept(cell: Mapping[str, Any]) -> str:
    return f"{'gone' if cell['gone'] else 'not gone'}, {cell['left']}"


def _needing(cell: Mapping[str, Any]) -> str:
    return " ".join(sorted(cell["rows"])) or "none"


def applies_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Terraform's calls, a line each."""
    if not cells:
        return ""
    rows = []
    for cell in sorted(cells, key=lambda cell: (cell["times"] != "once", cell["api"], cell["fault"])):
        ends = ["ok" if cell[part] else "failed" for part in ("applied", "destroyed")]
        twice = ", ".join(f"{name} {count}" for name, count in cell["twice"].items())
        said = " ".join(cell["said"].split())[:140]
        left = f"{'gone' if cell['gone'] else 'not gone'}, {len(cell['left'])}"
        rows.append([cell["api"], cell["fault"], cell["times"], str(cell["tries"]), *ends, left, twice, said])
    head = [
        "call of Terraform",
        "fault",
        "how often",
        "asked",
        "apply",
        "destroy",
        "said, and left",
        "more than once",
        "",
    ]
    return f"## Terraform: apply and destroy with one call hit\n\n{wrong(cells)}\n{table(head, rows)}"


def generated(folder: Path) -> str:
    """All tables."""
    direct, sweeps = read(folder, "alb_smoke.direct"), read(folder, "sweeps")
    once = [cell for cell in direct if cell["times"] == "once"]
    ever = [cell for cell in direct if cell["times"] == "always"]
    whole = [cell for cell in sweeps if cell["api"] == "each"]
    single = [cell for cell in sweeps if cell["api"] != "each"]
    smoke = runs(folder, "alb_smoke")
    parts = [
        smoke and f"## A run with each call hit once: alb_smoke\n\n{smoke}",
        section("The clients: each read call hit once", once, "How often it was asked, and what was said:", _asked),
        section("The clients: each read call failing for ever", ever, "How often it was asked, what was said:", _asked),
        section("The preflight: each call failing for ever", read(folder, "preflight"), "Rows that are NG:", _needing),
        section("A sweep: each call hit once", whole, "What it said, and how much of nine was there:", _swept),
        section("A sweep: one call failing for ever", single, "What it said, and how much of nine was there:", _swept),
        applies_table(read(folder, "applies")),
    ]
    return "\n".join(part for part in parts if part)


def main(folder: Path, page: Path) -> None:
    """Puts the tables between the marks of the page."""
    text = page.read_text("utf-8")
    before, _begin, rest = text.partition(BEGIN)
    _old, _end, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{generated(folder)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
