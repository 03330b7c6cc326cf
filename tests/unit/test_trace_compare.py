"""Traces: the committed example is of the documented format, and a comparison tells each planted difference."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "scripts"))

import trace_compare

EXAMPLE = CHECKOUT / "tests" / "contract" / "traces" / "local-aws.jsonl"
SCHEMA = json.loads((CHECKOUT / "docs" / "trace.schema.json").read_text("utf-8"))
Lines = list[dict[str, Any]]


def lines_of(path: Path = EXAMPLE) -> Lines:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def shape_of(lines: Lines, operation: str, which: str = "response") -> Any:
    """The one shape that an operation's calls have: the very object in the lines."""
    numbers = [
        line[which] for line in lines if line["kind"] == "call" and line["operation"] == operation and line[which]
    ]
    assert len(set(numbers)) == 1, f"{operation} has several shapes: take another operation"
    [shape] = [line["shape"] for line in lines if line["kind"] == "shape" and line["n"] == numbers[0]]
    return shape


def call_of(lines: Lines, operation: str) -> dict[str, Any]:
    return next(line for line in lines if line["kind"] == "call" and line["operation"] == operation)


def without_a_member(lines: Lines) -> None:
    del shape_of(lines, "DescribeTaskDefinition")["taskDefinition"]["registeredAt"]


def with_a_member(lines: Lines) -> None:
    shape_of(lines, "GetCallerIdentity")["Partition"] = "string"


def with_another_type(lines: Lines) -> None:
    shape_of(lines, "GetCallerIdentity")["Account"] = "integer"


def with_another_code(lines: Lines) -> None:
    for line in lines:
        if line["kind"] == "call" and line["code"] == "LoadBalancerNotFound":
            line["code"] = NOT_FOUND


def with_a_state(lines: Lines) -> None:
    [target] = [line for line in lines if line["kind"] == "states" and line["of"] == "target"]
    unhealthy = {"TargetHealth.State": "unhealthy", "TargetHealth.Reason": "Target.FailedHealthChecks"}
    target["seen"].insert(1, {"state": unhealthy, "first": 1, "last": 1, "times": 1})


def without_an_operation(lines: Lines) -> None:
    lines[:] = [line for line in lines if line.get("operation") != "RegisterTargets"]


def asked_otherwise(lines: Lines) -> None:
    del shape_of(lines, "RunTask", "request")["startedBy"]


def asked_again(lines: Lines) -> None:
    call_of(lines, "ListTasks")["retried"] = ["ThrottlingException"]


def deleted_while_used(lines: Lines) -> None:
    call = call_of(lines, "DeleteSecurityGroup")
    lines.insert(lines.index(call), call | {"status": 400, "code": "DependencyViolation", "response": None})


def without_a_resource(lines: Lines) -> None:
    lines[:] = [line for line in lines if line.get("type") != "aws_lb_listener_rule"]


NOT_FOUND = "LoadBalancerNotFoundException"
PLANTED: dict[Callable[[Lines], None], str] = {
    without_a_member: "papyrus.ops ecs DescribeTaskDefinition: answers without taskDefinition.registeredAt (timestamp)",
    with_a_member: "papyrus.ops sts GetCallerIdentity: answers with Partition (string), which is not there",
    with_another_type: "papyrus.ops sts GetCallerIdentity: answers integer for Account, which is string there",
    with_another_code: f"papyrus.ops elbv2 DescribeLoadBalancers: ends with 400 {NOT_FOUND}, and never there",
    without_an_operation: "papyrus.ops elbv2 RegisterTargets: was never asked",
    asked_otherwise: "papyrus.ops ecs RunTask: was asked without startedBy (string)",
    without_a_resource: "terraform aws_lb_listener_rule: is never creation",
}


def written(lines: Lines, folder: Path) -> Path:
    path = folder / "here.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_L3_the_example_is_of_the_documented_format_and_no_trace_of_aws() -> None:
    validator = Draft202012Validator(SCHEMA)
    lines = lines_of()
    for line in lines:
        assert validator.is_valid(line), line
    assert lines[0]["where"] == "AWS_ENDPOINT_URL", "the local AWS, not AWS"
    assert lines[-1]["lost"] == 0 and lines[-1]["calls"] > 100
    assert not re.search(r"[0-9]{12}|arn:|127\.|us-west-2|redacted", EXAMPLE.read_text("utf-8"))


def test_L3_the_format_has_no_room_for_more() -> None:
    validator = Draft202012Validator(SCHEMA)
    call = call_of(lines_of(), "RunTask")
    assert validator.is_valid(call)
    arn = "arn:aws:ecs:us-west-2:123456789012:task/x/1"
    for wrong in (
        {"resource": arn},
        {"code": arn},
        {"operation": arn},
        {"who": "a b"},
        {"request": {"cluster": "blue"}},
    ):
        assert not validator.is_valid(call | wrong), wrong
    for shape in ({"cluster": "blue"}, {arn: "string"}, arn):
        assert not validator.is_valid({"kind": "shape", "n": 1, "shape": shape}), shape


def test_L3_a_trace_equals_itself() -> None:
    command = [sys.executable, "scripts/trace_compare.py", str(EXAMPLE), str(EXAMPLE)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("No difference.\n") and "another endpoint than AWS" in done.stdout


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_L3_a_planted_difference_is_told(
    plant: Callable[[Lines], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = copy.deepcopy(lines_of())
    plant(lines)
    here = written(lines, tmp_path)
    assert trace_compare.main([str(EXAMPLE), str(here)]) == 1
    said = capsys.readouterr().out
    of_the_product = plant in (without_an_operation, asked_otherwise)
    head = "The product asks otherwise" if of_the_product else "The local AWS differs here:"
    assert f"  {PLANTED[plant]}\n" in said.partition(head)[2].partition("\n\n")[0] + "\n"
    assert trace_compare.main([str(here), str(EXAMPLE)]) == 1, "and the other way round"


def test_L3_another_state_is_told_and_may_be_timing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = copy.deepcopy(lines_of())
    with_a_state(lines)
    assert trace_compare.main([str(EXAMPLE), str(written(lines, tmp_path))]) == 0
    said = capsys.readouterr().out
    state = "TargetHealth.Reason Target.FailedHealthChecks, TargetHealth.State unhealthy"
    assert f"  target: was seen as {state}, and never there\n" in said.partition("May be timing")[2]


def test_L3_what_was_asked_again_is_told_and_may_be_timing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = copy.deepcopy(lines_of())
    asked_again(lines)
    assert trace_compare.main([str(EXAMPLE), str(written(lines, tmp_path))]) == 0
    said = "  papyrus.ops ecs ListTasks: ends with ThrottlingException (and asked again), and never there\n"
    assert said in capsys.readouterr().out.partition("May be timing")[2]


def test_L3_what_was_refused_while_used_is_told_and_may_be_timing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = copy.deepcopy(lines_of())
    deleted_while_used(lines)
    assert trace_compare.main([str(EXAMPLE), str(written(lines, tmp_path))]) == 0
    said = "  terraform ec2 DeleteSecurityGroup: ends with 400 DependencyViolation, and never there\n"
    assert said in capsys.readouterr().out.partition("May be timing")[2]


def test_L3_another_order_of_states_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = copy.deepcopy(lines_of())
    [target] = [line for line in lines if line["kind"] == "states" and line["of"] == "target"]
    target["seen"].reverse()
    trace_compare.main([str(EXAMPLE), str(written(lines, tmp_path))])
    said = capsys.readouterr().out
    assert re.search(
        r"^  target: went from TargetHealth.State healthy to .*initial, and never there$", said, re.MULTILINE
    )


def test_L3_accepted_differences_are_left_out_until_they_are_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = copy.deepcopy(lines_of())
    with_another_code(lines)
    here, accepted = written(lines, tmp_path), tmp_path / "accepted"
    never = PLANTED[with_another_code].replace(
        f"ends with 400 {NOT_FOUND}, and never there", "never ends with 400 LoadBalancerNotFound"
    )
    accepted.write_text(f"{PLANTED[with_another_code]}  # known since today\n\n{never}\n", "utf-8")
    assert trace_compare.main([str(EXAMPLE), str(here), "--accepted", str(accepted)]) == 0
    assert trace_compare.main([str(EXAMPLE), str(EXAMPLE), "--accepted", str(accepted)]) == 1
    assert "is accepted, and not there any more" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{}\n", "no JSON\n", '{"kind":"trace","format":"papyrus.ops/trace/9"}\n'])
def test_L3_what_is_no_trace_is_said(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text(content, "utf-8")
    assert trace_compare.main([str(EXAMPLE), str(tmp_path / "x")]) == 2
    assert "no trace" in capsys.readouterr().err


def test_L3_a_trace_that_was_cut_off_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace_compare.main([str(EXAMPLE), str(written(lines_of()[:-1], tmp_path))]) == 2
    assert "cut off" in capsys.readouterr().err
