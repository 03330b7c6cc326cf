"""The figures of kill storms as Markdown, for docs/kills.md; only what the results say."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

Entries = list[dict[str, Any]]

KINDS = (
    ("load balancer", "load balancers"),
    ("listener", "listeners"),
    ("target group", "target groups"),
    ("security group", "security groups"),
    ("rule of a group", "rules"),
    ("interface", "interfaces"),
    ("task", "tasks"),
)


def table(entries: Entries, fault: Any) -> str:
    """All tables, one after the other."""
    everything = [e for e in entries if e["kind"] == "everything"]
    guard = [e for e in entries if e["kind"] == "guard"]
    control = [e for e in entries if e["kind"] == "control"]
    parts = [
        summary(everything, guard, control, [e for e in entries if fault({**e, "changed": []})]),
        phases(everything, guard),
        spread(everything + guard),
        processes(everything, guard),
        sweeps(everything),
        guards(guard),
    ]
    return "\n\n".join(part for part in parts if part)


def rows(head: Iterable[str], body: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(everything: Entries, guard: Entries, control: Entries, faults: Entries) -> str:
    killed = everything + guard
    swept = [e for e in everything if e.get("swept_by") in ("playbook", "module")]
    body = [
        ("runs killed: everything of them, guard and Terraform too; state deleted; swept", _ways(everything)),
        ("runs killed: controller and workers; the guard lives and does it alone", _ways(guard)),
        ("runs that nobody killed, or that ended before their kill came", _ways(control)),
        ("… of these with exit code 0 and a verdict that is not FAILED", sum(e.get("exit_code") == 0 for e in control)),
        ("resources that were there at the kills", sum(sum(e.get("there", {}).values()) for e in killed)),
        ("… of runs that were killed while they had any", sum(bool(e.get("there")) for e in killed)),
        ("resources of killed runs left after sweep or guard", sum(len(e.get("left", [])) for e in killed)),
        ("differences of everything else to the listing before, after each sweep", _differences(everything)),
        ("calls of sweeps that changed something which is not of the runs named", _foreign(everything)),
        ("runs swept by `sweep.yml`, by the module", f"{_by(swept, 'playbook')}, {_by(swept, 'module')}"),
        ("runs with something that is not as it should be, those that nobody killed included", len(faults)),
    ]
    return rows(("what", "figure"), body)


def _ways(entries: Entries) -> str:
    whole = sum(e.get("way", "alb_smoke") == "alb_smoke" for e in entries)
    return f"{len(entries)} ({whole} of `alb_smoke`, {len(entries) - whole} of `kill_driver`)"


def _by(swept: Entries, by: str) -> int:
    return sum(e["swept_by"] == by for e in swept)


def _differences(entries: Entries) -> int:
    return len({line for e in entries for line in e.get("changed", [])})


def _foreign(entries: Entries) -> int:
    return len({line for e in entries for line in e.get("foreign_calls", [])})


def phases(everything: Entries, guard: Entries) -> str:
    """Kill points by phase, and what was there then: mean number of resources of each kind."""
    body: list[list[Any]] = []
    whole = [e for e in everything if e.get("way", "alb_smoke") == "alb_smoke"]
    for name in titles(everything + guard):
        there = of_phase(everything + guard, name)
        counts: Counter[str] = Counter()
        for e in there:
            counts.update(e.get("there", {}))
        body.append(
            [
                name.partition(" ")[2],
                len(of_phase(whole, name)),
                len(of_phase(everything, name)) - len(of_phase(whole, name)),
                len(of_phase(guard, name)),
                *(f"{counts[kind] / len(there):.1f}" if counts[kind] else "" for kind, _title in KINDS),
            ]
        )
    return rows(
        (
            "killed during",
            "everything of alb_smoke",
            "everything of kill_driver",
            "guard alive",
            *(f"{title} (mean)" for _kind, title in KINDS),
        ),
        body,
    )


def titles(entries: Entries) -> list[str]:
    """Phases that there are, each by its number once."""
    return sorted(
        {
            e["phase"][0]: e["phase"] for e in sorted(entries, key=lambda e: e.get("phase", "")) if e.get("phase")
        }.values()
    )


def of_phase(entries: Entries, name: str) -> Entries:
    return [e for e in entries if e.get("phase", " ")[0] == name[0]]


def spread(killed: Entries) -> str:
    """How evenly the kills fell: tenths of the expected life."""
    counts = Counter(min(9, int(e["part"] * 10)) for e in killed if "part" in e)
    head = ["tenth of the expected life", *(f"{n + 1}." for n in range(10))]
    return rows(head, [["kills", *(counts[n] for n in range(10))]])


def processes(everything: Entries, guard: Entries) -> str:
    """What was killed, and how fast."""
    body = []
    for title, entries in (("everything", everything), ("guard alive", guard)):
        killed: Counter[str] = Counter()
        for e in entries:
            killed.update(e.get("killed", {}))
        if entries:
            said = ", ".join(f"{count} {role}" for role, count in killed.most_common())
            body.append([title, said, _of(entries, "signals_ms", 2), _of(entries, "dead_ms", 0)])
    return rows(
        ("kills", "processes", "ms from first to last signal: median, most", "ms until all are dead: median, most"),
        body,
    )


def _of(entries: Entries, key: str, digits: int) -> str:
    values = [e[key] for e in entries if key in e]
    return f"{statistics.median(values):.{digits}f}, {max(values):.{digits}f}" if values else ""


def sweeps(everything: Entries) -> str:
    """One row a way of sweeping: batches, runs a batch, seconds, calls."""
    body = []
    for by in ("playbook", "module"):
        batches = {e.get("swept_at", e["at"]): e for e in everything if e.get("swept_by") == by}.values()
        if not batches:
            continue
        calls: Counter[str] = Counter()
        for e in batches:
            calls.update(e.get("sweep_calls", {}))
        said = ", ".join(f"{name} {count}" for name, count in calls.most_common())
        runs = sum(e["sweep_of"] for e in batches)
        seconds = [e["sweep_seconds"] for e in batches]
        body.append(
            [by, len(batches), runs, f"{statistics.median(seconds):.1f}, {max(seconds):.1f}", said],
        )
    return rows(("swept by", "sweeps", "runs", "seconds, Ansible's start included: median, most", "calls"), body)


def guards(guard: Entries) -> str:
    """How long a guard took from the kill of its controller to its own end."""
    body = []
    for name in titles(guard):
        seconds = [e["sweep_seconds"] for e in of_phase(guard, name) if e.get("swept_by") == "guard"]
        if seconds:
            body.append(
                [name.partition(" ")[2], len(seconds), f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}"]
            )
    return rows(("killed during", "guards", "seconds to their end: median", "most"), body) if body else ""
