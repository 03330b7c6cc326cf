"""Holds the trace of a run against another one: what the second does otherwise, in a report; durations do not count.

    trace_compare.py REFERENCE HERE [--accepted FILE]

Exit code 0: the same, but for what may be timing; 1: differences; 2: a file that is no trace. docs/trace.md says more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils._trace_shapes import merged

FORMAT = "papyrus.ops/trace/1"
AGAIN = " (and asked again)"
WHILE_USED = ("DependencyViolation", "ResourceInUse", "ResourceInUseException")
"""Codes that AWS answers while something else uses the thing: an interface that outlives its load balancer."""
Operation = tuple[str, str, str]
State = tuple[tuple[str, str], ...]


class NoTrace(Exception):
    """The file is no trace of this format; the message says why."""


@dataclass(frozen=True, order=True)
class Finding:
    """One difference: what it is about, and what HERE does otherwise."""

    about: str
    what: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}"


@dataclass
class Asked:
    """All calls of one operation by one side of the product (Terraform, or modules and guard)."""

    requests: list[Any] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)

    @property
    def request(self) -> Any:
        return reduce(merged, self.requests) if self.requests else None

    @property
    def answer(self) -> Any:
        return reduce(merged, self.answers) if self.answers else None


@dataclass
class Trace:
    """A trace, by what can be compared."""

    header: dict[str, Any]
    calls: int = 0
    asked: dict[Operation, Asked] = field(default_factory=dict)
    states: dict[str, set[State]] = field(default_factory=dict)
    steps: dict[str, set[tuple[State, State]]] = field(default_factory=dict)
    resources: set[tuple[str, str]] = field(default_factory=set)

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {value}" for name, value in sorted(self.header["versions"].items()))
        where = "AWS itself" if self.header["where"] == "AWS" else "another endpoint than AWS"
        return f"{self.header['playbook']} at {where}, {self.header['recorded']}, {self.calls} calls ({versions})"


def load(path: Path) -> Trace:
    """The trace in a file. NoTrace, OSError."""
    shapes: dict[int, Any] = {}
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        if lines[0].get("format") != FORMAT:
            raise NoTrace(f"{path} is no trace of the format {FORMAT}")
        found = Trace(lines[0])
        for line in lines[1:]:
            if line["kind"] == "shape":
                shapes[line["n"]] = line["shape"]
            elif line["kind"] == "call":
                _add_call(found, line, shapes)
            elif line["kind"] == "states":
                _add_states(found, line)
            elif line["kind"] == "resource":
                found.resources.add((line["type"], line["what"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
        raise NoTrace(f"{path} is no trace: {type(exc).__name__}: {exc}") from exc
    if lines[-1]["kind"] != "end":
        raise NoTrace(f"{path} has no end: it was cut off")
    return found


def _add_call(trace: Trace, line: dict[str, Any], shapes: dict[int, Any]) -> None:
    side = "terraform" if line["who"] == "terraform" else "papyrus.ops"
    asked = trace.asked.setdefault((side, line["service"], line["operation"]), Asked())
    trace.calls += 1
    asked.ends.add(f"{line['status']} {line['code']}".strip())
    asked.ends |= {f"{code}{AGAIN}" for code in line["retried"]}
    if line["request"] is not None:
        asked.requests.append(shapes[line["request"]])
    if line["response"] is not None:
        asked.answers.append(shapes[line["response"]])


def _add_states(trace: Trace, line: dict[str, Any]) -> None:
    seen = [tuple(sorted(one["state"].items())) for one in line["seen"]]
    trace.states.setdefault(line["of"], set()).update(seen)
    trace.steps.setdefault(line["of"], set()).update(zip(seen, seen[1:], strict=False))


@dataclass
class Differences:
    """What HERE does otherwise: in its answers (`sure`), in what the product asks (`asked`), or perhaps only because it
    was looked at at another moment (`maybe`)."""

    sure: list[Finding] = field(default_factory=list)
    asked: list[Finding] = field(default_factory=list)
    maybe: list[Finding] = field(default_factory=list)


def differences(reference: Trace, here: Trace) -> Differences:
    """What HERE does otherwise than the reference."""
    found = Differences()
    for operation in sorted(reference.asked.keys() | here.asked.keys()):
        about = " ".join(operation)
        one, other = reference.asked.get(operation), here.asked.get(operation)
        if one is None or other is None:
            found.asked.append(Finding(about, "was never asked" if other is None else "was asked, and not there"))
            continue
        asked = shape_differences(one.request, other.request, "")
        found.asked += [Finding(about, f"was asked {text}") for text, timing in asked if not timing]
        ends = [(end, f"never ends with {end}") for end in sorted(one.ends - other.ends)]
        ends += [(end, f"ends with {end}, and never there") for end in sorted(other.ends - one.ends)]
        for end, text in ends:
            timing = end.endswith((AGAIN, *WHILE_USED)) or end.startswith("0 ")
            (found.maybe if timing else found.sure).append(Finding(about, text))
        for text, timing in shape_differences(one.answer, other.answer, ""):
            (found.maybe if timing else found.sure).append(Finding(about, f"answers {text}"))
    for kind, what in sorted(reference.resources - here.resources):
        found.sure.append(Finding(f"terraform {kind}", f"is never {what}"))
    for kind, what in sorted(here.resources - reference.resources):
        found.sure.append(Finding(f"terraform {kind}", f"is {what}, and not there"))
    found.maybe += _state_differences(reference, here)
    return found


def _state_differences(reference: Trace, here: Trace) -> Iterator[Finding]:
    for kind in sorted(reference.states.keys() | here.states.keys()):
        one, other = (trace.states.get(kind, set()) for trace in (reference, here))
        yield from (Finding(kind, f"was never seen as {_said(state)}") for state in sorted(one - other))
        yield from (Finding(kind, f"was seen as {_said(state)}, and never there") for state in sorted(other - one))
        steps, others = (trace.steps.get(kind, set()) for trace in (reference, here))
        known = one & other
        for before, after in sorted(others - steps):
            if before in known and after in known:
                yield Finding(kind, f"went from {_said(before)} to {_said(after)}, and never there")


def _said(state: State) -> str:
    return ", ".join(f"{name} {value}" for name, value in state)


def shape_differences(one: Any, other: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Differences of two shapes in words, and whether each may be timing (other words seen, lists that were empty)."""
    at = path or "as a whole"
    if one == other:
        return
    if one is None or other is None:
        yield f"{'with' if one is None else 'without'} a shape", True
    elif isinstance(one, dict) and isinstance(other, dict):
        left, right = ({name.rstrip("?"): name for name in each} for each in (one, other))
        for name in [*left, *(name for name in right if name not in left)]:
            inner = f"{path}.{name}".lstrip(".")
            if name not in right:
                yield f"without {inner} ({_kind(one[left[name]])})", left[name] != name
            elif name not in left:
                yield f"with {inner} ({_kind(other[right[name]])}), which is not there", right[name] != name
            else:
                yield from shape_differences(one[left[name]], other[right[name]], inner)
    elif isinstance(one, list) and isinstance(other, list):
        if one and other:
            yield from shape_differences(one[0], other[0], f"{path}[]")
        else:
            yield f"{'nothing' if one else 'something'} in {at}", True
    elif _kind(one) != _kind(other):
        yield f"{_kind(other)} for {at}, which is {_kind(one)} there", False
    else:
        left_words, right_words = (set(str(each).partition("=")[2].split("|")) for each in (one, other))
        said = [f"never {word}" for word in sorted(left_words - right_words)]
        said += [f"{word}, and never there" for word in sorted(right_words - left_words)]
        yield f"{at} with {'; '.join(said)}", True


def _kind(shape: Any) -> str:
    if isinstance(shape, str):
        return shape.partition("=")[0]
    return "list" if isinstance(shape, list) else "structure"


def report(reference: Trace, here: Trace, found: Differences) -> str:
    """The report, for a terminal."""
    lines = [f"REFERENCE  {reference}", f"HERE       {here}"]
    whose = "The local AWS differs here" if here.header["where"] != "AWS" else "HERE differs"
    for title, findings in (
        (whose, found.sure),
        ("The product asks otherwise (another version or inventory of it)", found.asked),
        ("May be timing: what was looked at at another moment, and is none when another run shows it", found.maybe),
    ):
        if findings:
            lines += ["", f"{title}:", *(f"  {finding}" for finding in findings)]
    return "\n".join(lines if found.sure or found.asked else [*lines, "", "No difference."])


def without_accepted(sure: list[Finding], accepted: Path | None) -> list[Finding]:
    """The findings that no line of the file accepts. A line that is about nothing any more is a finding."""
    if accepted is None:
        return sure
    lines = [line.partition("#")[0].strip() for line in accepted.read_text("utf-8").splitlines()]
    known = {line for line in lines if line}
    stale = known - {str(finding) for finding in sure}
    return [finding for finding in sure if str(finding) not in known] + [
        Finding(line, "is accepted, and not there any more") for line in sorted(stale)
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Holds the trace of a run against another one.")
    parser.add_argument("reference", type=Path, help="the trace to be held to, such as one of a run on AWS")
    parser.add_argument("here", type=Path, help="the trace that is looked at")
    parser.add_argument("--accepted", type=Path, help="differences that are known, a line each; # begins a remark")
    given = parser.parse_args(arguments)
    try:
        reference, here = load(given.reference), load(given.here)
        found = differences(reference, here)
        found.sure = without_accepted(found.sure, given.accepted)
    except (NoTrace, OSError) as exc:
        print(exc, file=sys.stderr)
        return 2
    print(report(reference, here, found))
    return 1 if found.sure or found.asked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
