"""Writes the tables of docs/faults.md from results: python -m tests.e2e.fault_table RESULTS docs/faults.md"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .fault_cells import FAULTS, Outcome
from .fault_runs import PLAYBOOKS

BEGIN, END = "<!-- from here: tests/e2e/fault_table.py -->", "<!-- to here -->"
OF_RUNS = (
    "One line is one run with the fault once in the way of each call. *left*: what an independent listing found of it; "
    "*carried out more often*: calls that change something, and that AWS carried out more often than in a run without."
)
OF_CALLS = (
    "What became of each call: again, it was asked again; waited, the answer came late; not again, it was not asked "
    "again in this run; **failed**, the run failed by it; · it was not hit, as it was not asked."
)
OF_CLIENTS = "How often it was asked, 2 being once more, and the error that it ended with, none if it was answered:"
OF_PREFLIGHT = "Rows that then are not OK, though they are without the fault:"
OF_SWEEPS = "What the sweep said, and how much of the nine things was there afterwards, by an independent listing:"
OF_APPLIES = (
    "One line is one apply and destroy. *asked*: how often the call was; *said, and left*: what the gone-check said, "
    "and how much was there by an independent listing; *more than once*: what AWS carried out more often."
)


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """Cells of a part, of all files of it; of those that were asked again the newest count."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob(f"{name}*.json"), key=lambda path: path.stat().st_mtime):
        for cell in json.loads(path.read_text("utf-8")):
            found[cell["api"], cell["fault"], cell.get("times", "")] = cell
    return list(found.values())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def outcomes(folder: Path, playbook: str) -> list[Outcome]:
    """The runs of a playbook, in the order of the faults."""
    found = [Outcome.from_dict(json.loads(path.read_text("utf-8"))) for path in folder.glob(f"{playbook}.once.*.json")]
    return sorted(found, key=lambda each: list(FAULTS).index(each.fault))


def runs(folder: Path, playbook: str) -> str:
    """One line for each run, then what became of each call in it."""
    ended = outcomes(folder, playbook)
    if not ended:
        return ""
    known = json.loads((folder / f"{playbook}.baseline.json").read_text("utf-8"))
    lines = [_run(each, known["done"]) for each in ended]
    text = table(["fault", "verdict", "exit", "calls hit", "left", "carried out more often", "first failure"], lines)
    names = sorted({name for each in ended for name in each.cells})
    body = [[name, *(_cell(each, name) for each in ended)] for name in names]
    bad = [f"{each.fault}: {each.wrong}" for each in ended if each.wrong]
    count = f"{len(known['apis'])} calls, {len(ended)} runs, {len(bad)} with a wrong word."
    calls = table(["call", *(each.fault for each in ended)], body)
    listed = "".join(f"\n- {each}" for each in bad)
    return (
        f"## A run with each call hit once: {playbook}\n\n{count}{listed}\n\n{OF_RUNS}\n\n{text}\n{OF_CALLS}\n\n{calls}"
    )


def _run(each: Outcome, known: Mapping[str, int]) -> list[str]:
    more = [
        f"{name} {count} for {known.get(name, 0)}" for name, count in each.done.items() if count > known.get(name, 0)
    ]
    hit = sum(1 for cell in each.cells.values() if cell.hit)
    said = "" if each.passed else " ".join(each.cause.split())[:220]
    return [each.fault, each.result, str(each.exit_code), str(hit), str(len(each.left)), ", ".join(more), said]


def _cell(outcome: Outcome, name: str) -> str:
    cell = outcome.cells.get(name)
    if cell is None or not cell.hit:
        return "·"
    if FAULTS[outcome.fault].keys() <= {"late_seconds", "body_seconds"}:
        return "waited"
    if cell.again:
        return "again"
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
    return " ".join(sorted(row for row, status in cell["rows"].items() if status != "ok")) or "none"


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
    head = ["call of Terraform", "fault", "how often", "asked", "apply", "destroy", "said, and left"]
    body = table([*head, "more than once", "first error"], rows)
    return f"## Terraform: apply and destroy with one call hit\n\n{wrong(cells)}\n{OF_APPLIES}\n\n{body}"


def generated(folder: Path) -> str:
    """All tables."""
    direct, sweeps = read(folder, "direct"), read(folder, "sweeps")
    once = [cell for cell in direct if cell["times"] == "once"]
    ever = [cell for cell in direct if cell["times"] == "always"]
    whole = [cell for cell in sweeps if cell["api"] == "each"]
    single = [cell for cell in sweeps if cell["api"] != "each"]
    parts = [
        *(runs(folder, playbook) for playbook in PLAYBOOKS),
        section("The clients: each read call hit once", once, OF_CLIENTS, _asked),
        section("The clients: each read call failing for ever", ever, OF_CLIENTS, _asked),
        section("The preflight: each call failing for ever", read(folder, "preflight"), OF_PREFLIGHT, _needing),
        section("A sweep: each call hit once", whole, OF_SWEEPS, _swept),
        section("A sweep: one call failing for ever", single, OF_SWEEPS, _swept),
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
