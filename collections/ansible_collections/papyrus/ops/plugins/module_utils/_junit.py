# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""junit.xml of a bundle: every check as a test case, as Jenkins, GitLab and GitHub's reporters show it.

There is no standard. What is written is what Jenkins' junit-10.xsd and Ant's schema have in common, plus `skipped` on
the root. Names hold neither run id nor time, so that a check has a history from run to run.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from ._bundle_view import BundleView
from ._evidence import CONTINUED, STATUSES, VERDICT
from ._names import parse_rfc3339
from ._printable import printable
from ._statement import image_of
from ._verdict import GONE_ITEM, check_rows

GROUPS = {
    "A": "app",
    "B": "preflight",
    "C": "temporary_alb",
    "D": "probes",
    "E": "database_proof",
    "F": "release",
    "G": "schema",
    "H": "infrastructure",
    "I": "monitoring",
    "J": "evidence",
    "K": "audit_export",
    "N": "identity_and_sweep",
}
RUN_SUITE = "run"
RUN_CASE = "the run itself"

_MAX_MESSAGE = 500
_MAX_TEXT = 4000
_MAX_SECONDS = 10_000_000
_STEP = re.compile(r"([A-Z])\d*")


@dataclass
class Case:
    """One test case. `outcome`: ok, failure, error or skipped; all but ok have a message."""

    suite: str
    name: str
    outcome: str = "ok"
    kind: str = ""
    message: str = ""
    text: str = ""
    seconds: float = 0.0
    at: dt.datetime | None = None


@dataclass
class _Accusations:
    """The verdict's failures that no case has shown yet, in the verdict's order."""

    by_row: dict[tuple[str, str], deque[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(deque))

    @classmethod
    def of(cls, verdict: Mapping[str, Any]) -> _Accusations:
        found = cls()
        for failure in _objects(verdict.get("failures")):
            found.by_row[_text(failure.get("step")), _text(failure.get("name"))].append(failure)
        return found

    def take(self, step: str, name: str, ending: str = "") -> Mapping[str, Any]:
        """The first one of this step and item whose cause ends so; {} when there is none."""
        waiting = self.by_row.get((step, name), deque())
        for failure in waiting:
            if _text(failure.get("cause")).endswith(ending):
                waiting.remove(failure)
                return failure
        return {}

    def rest(self) -> Iterator[Mapping[str, Any]]:
        for waiting in self.by_row.values():
            yield from waiting


def junit_xml(view: BundleView) -> bytes:
    """UTF-8, XML 1.0, ended by one line end. Also for a bundle without run.json or verdict, which it then says.

    A FAILED verdict has at least one failure, a PASSED or WARNED one none. What a check cannot be blamed for (no
    verdict, run.json that cannot be read, a line that is no check) is an error of the case `the run itself`.
    """
    cases = _cases(view)
    run = view.run
    root = ElementTree.Element("testsuites", {"name": _line(f"{_service(run)} {_text(run.get('run_id'))}".strip())})
    _count(root, cases, _wall_seconds(view))
    prefix = f"{_safe(run.get('playbook'))}.{_safe(run.get('service'))}"
    properties = _properties(view)
    suites: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        suites[case.suite].append(case)
    for name in sorted(suites, key=lambda suite: (suite != RUN_SUITE, suite)):
        _suite(root, name, f"{prefix}.{name}", suites[name], run, properties)
    _add_output(root[0], view)
    ElementTree.indent(root)
    body: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _cases(view: BundleView) -> list[Case]:
    """The run itself first, then every check in the order of the manifest."""
    accusations = _Accusations.of(view.verdict)
    forbidden = {
        (_text(skip.get("id")), _text(skip.get("reason")))
        for skip in _objects(view.verdict.get("skips"))
        if skip.get("allowed") is False
    }
    phases = _phases(view.lines)
    problems: list[str] = []
    checks: list[Case] = []
    for number, line in enumerate(view.lines):
        if line.get("name") == VERDICT:
            continue
        try:
            rows = check_rows(line)
        except (KeyError, TypeError, AttributeError):
            problems.append(f"line {number + 1} of the manifest is no check that can be read")
            continue
        seconds = _seconds(line, phases)
        for row in rows:
            if row["status"] == "info":
                continue
            if row["status"] not in STATUSES:
                problems.append(f"{row['id']} {row['name']} has the unknown status {row['status']}")
                continue
            checks.append(_case(row, line, accusations, forbidden, seconds))
            seconds = 0.0  # an item's time is counted once
    result = _text(view.verdict.get("result"))
    failed = sum(1 for case in checks if case.outcome == "failure")
    others = [_case_of_failure(failure) for failure in accusations.rest()]
    if not view.run:
        problems.insert(0, "run.json is missing or is no JSON object")
    if result not in ("PASSED", "WARNED", "FAILED"):
        problems.insert(0, "the bundle has no verdict: the run is under way, or all that could write one was killed")
    elif result != "FAILED" and (failed or others):
        problems.append(f"the verdict says {result}, though {failed + len(others)} checks failed")
    itself = [case for case in others if case.name == RUN_CASE] or [Case(RUN_SUITE, RUN_CASE)]
    if problems:
        itself[0] = Case(RUN_SUITE, RUN_CASE, "error", "bundle", problems[0], "\n".join([*problems, itself[0].text]))
    elif result == "FAILED" and not failed and not others:
        message = "the verdict is FAILED and names no failure"
        itself[0] = Case(RUN_SUITE, RUN_CASE, "failure", "verdict", message, message)
    cases = [*itself, *checks, *(case for case in others if case.name != RUN_CASE)]
    _make_unique(cases)
    return cases


def _case(
    row: Mapping[str, str],
    line: Mapping[str, Any],
    accusations: _Accusations,
    forbidden: set[tuple[str, str]],
    seconds: float,
) -> Case:
    case = Case(_group(row["id"]), f"{row['id']} {row['name']}", seconds=seconds, at=_moment(line.get("at")))
    where = f"step {row['id']}, item {_text(line.get('path'))}, seq {row['seq']} of the manifest"
    if row["status"] == "ng":
        said = accusations.take(row["id"], row["name"])
        case.outcome, case.kind = "failure", "ng"
        case.message = _text(said.get("cause")) or row["reason"] or f"{row['name']} is ng"
        case.text = _explained(case.message, where, said)
    elif row["status"] == "skip" and (row["id"], row["reason"]) in forbidden:
        said = accusations.take(row["id"], "", row["reason"])
        case.outcome, case.kind = "failure", "skip not allowed"
        case.message = _text(said.get("cause")) or f"skipped, which is not allowed: {row['reason']}"
        case.text = _explained(case.message, where, said)
    elif row["status"] == "skip":
        case.outcome, case.message = "skipped", row["reason"] or "skipped without a reason"
    return case


def _case_of_failure(failure: Mapping[str, Any]) -> Case:
    """A failure that no item shows: the gone-check that never came, or what ended the run."""
    step, name, cause = (_text(failure.get(key)) for key in ("step", "name", "cause"))
    missing = name == GONE_ITEM
    case = Case(_group(step), f"{step} {name}") if missing else Case(RUN_SUITE, RUN_CASE)
    case.outcome, case.kind = "failure", "missing" if missing else "run"
    case.message = cause or "the run ended without a cause"
    case.text = _explained(case.message, f"step {step}, no item" if step else "no item", failure)
    return case


def _explained(cause: str, where: str, failure: Mapping[str, Any]) -> str:
    task = _text(failure.get("task"))
    return "\n".join([cause, where, *([f"task: {task}"] if task else [])])


def _make_unique(cases: Sequence[Case]) -> None:
    """`name (2)` for the second of its name in a suite: CI systems merge what has one name."""
    taken: set[tuple[str, str]] = set()
    count: dict[tuple[str, str], int] = defaultdict(int)
    for case in cases:
        case.name = name = _line(case.name)
        while (case.suite, case.name) in taken:
            count[case.suite, name] += 1
            case.name = f"{name} ({count[case.suite, name] + 1})"
        taken.add((case.suite, case.name))


# What XML is made of


def _suite(
    root: ElementTree.Element,
    name: str,
    classname: str,
    cases: Sequence[Case],
    run: Mapping[str, Any],
    properties: Mapping[str, str],
) -> None:
    suite = ElementTree.SubElement(root, "testsuite", {"name": name})
    _count(suite, cases, sum(case.seconds for case in cases))
    moments = [case.at for case in cases if case.at is not None]
    began = min(moments) if moments else _moment(run.get("started_at"))
    if began is not None:  # UTC; Ant's schema has no room for a zone
        suite.set("timestamp", began.replace(tzinfo=None).isoformat(timespec="seconds"))
    suite.set("hostname", _line(_text(run.get("inventory_host")) or "localhost"))
    kept = ElementTree.SubElement(suite, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(kept, "property", {"name": key, "value": _line(value)})
    for case in cases:
        element = ElementTree.SubElement(
            suite, "testcase", {"name": case.name, "classname": classname, "time": f"{case.seconds:.3f}"}
        )
        if case.outcome == "skipped":
            ElementTree.SubElement(element, "skipped", {"message": _line(case.message)})
        elif case.outcome != "ok":
            said = ElementTree.SubElement(element, case.outcome, {"message": _line(case.message), "type": case.kind})
            said.text = _cut(printable(case.text.strip()), _MAX_TEXT)


def _count(element: ElementTree.Element, cases: Sequence[Case], seconds: float) -> None:
    element.set("tests", str(len(cases)))
    for attribute, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(1 for case in cases if case.outcome == outcome)))
    element.set("time", f"{seconds:.3f}")


def _add_output(suite: ElementTree.Element, view: BundleView) -> None:
    """The verdict, its warnings and what crashes left, as the output of the first suite: none of these is a test."""
    warnings = view.verdict.get("warnings")
    said = [_text(view.verdict.get("result")) or "no verdict"]
    said += [f"warning: {_line(_text(warning))}" for warning in (warnings if isinstance(warnings, list) else [])]
    for line in view.named(CONTINUED):
        meta = line.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        torn = "a line was torn, " if meta.get("torn_sha256") else ""
        adopted, unlisted = (int(_number(meta.get(key))) for key in ("adopted", "unlisted"))
        said.append(
            f"continued after a writer had been killed: {torn}{adopted} files without a line were listed, "
            f"{unlisted} files are none of the run's ({_text(line.get('path'))})"
        )
    ElementTree.SubElement(suite, "system-out").text = _cut(printable("\n".join(said)), _MAX_TEXT)


def _properties(view: BundleView) -> dict[str, str]:
    run, image = view.run, image_of(view)
    found = {
        "run_id": _text(run.get("run_id")),
        "verdict": _text(view.verdict.get("result")) or "none",
        "image": image.digest if image else "",
        "service": _text(run.get("service")),
        "account_id": _text(run.get("account_id")),
        "region": _text(run.get("region")),
        "endpoint": _text(run.get("endpoint")),
    }
    return {key: value for key, value in found.items() if value}


# What the manifest says about time


def _phases(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each phase that began and ended, by its name."""
    began: dict[str, dt.datetime] = {}
    took: dict[str, float] = {}
    for line in lines:
        meta, at = line.get("meta"), _moment(line.get("at"))
        if not isinstance(meta, Mapping) or at is None:
            continue
        name = _text(meta.get("phase"))
        if meta.get("event") == "start":
            began[name] = at
        elif meta.get("event") == "end" and name in began:
            took[name] = max(0.0, (at - began.pop(name)).total_seconds())
    return took


def _seconds(line: Mapping[str, Any], phases: Mapping[str, float]) -> float:
    """How long the check took, where its item says it (probes, attempts) or a phase has its name; else 0."""
    meta = line.get("meta") or {}
    measured = [_number(timing.get("total")) for timing in _objects(meta.get("timings"))]
    measured += [_number(attempt.get("seconds")) for attempt in _objects(meta.get("attempts"))]
    if measured:
        return sum(measured)
    return phases.get(_text(line.get("name")).partition(".")[0].replace("_", " "), 0.0)


def _wall_seconds(view: BundleView) -> float:
    start = _moment(view.run.get("started_at"))
    end = _moment(view.lines[-1].get("at")) if view.lines else None
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0


def _moment(value: Any) -> dt.datetime | None:
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


# Values of others


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_SECONDS
    return float(value) if good else 0.0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _line(text: str) -> str:
    """One line of characters that XML 1.0 can carry, which are all that `printable` leaves."""
    return _cut(printable(" ".join(text.split())), _MAX_MESSAGE)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _safe(value: Any) -> str:
    """A part of a class name: dots part packages."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", _text(value))[:100] or "unknown"


def _service(run: Mapping[str, Any]) -> str:
    return _text(run.get("service")) or "unknown service"


def _group(step: str) -> str:
    match = _STEP.fullmatch(step)
    if match is None:
        return "other"
    letter = match.group(1)
    return f"{letter}_{GROUPS[letter]}" if letter in GROUPS else letter
