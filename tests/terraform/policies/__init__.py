"""The policy documents of the stacks as Terraform writes them, without any AWS, and what they are compared with."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.terraform import stacks
from tests.terraform.stacks import terraform

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "recorded.json"
# The two roles of 15-ecs have a document each, of their own name.
TASKS = ("execution", "task")


@dataclass(frozen=True)
class Grant:
    """One action that one statement of a policy allows."""

    policy: str
    sid: str
    action: str
    resources: tuple[str, ...]
    # (operator, key, values)
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]


@functools.cache
def planned(stack: str) -> tuple[dict[str, Any], ...]:
    """The resources of a plan that nobody applies: the run `everything` of the tests of a stack, here or above."""
    name = f"{stack}.tftest.hcl"
    tests = HERE / name if (HERE / name).is_file() else HERE.parent / name
    with tempfile.TemporaryDirectory(prefix="papyrus-policies-") as folder:
        work = Path(folder)
        stacks.copy(stack, work)
        shutil.copy(tests, work)
        started = terraform(work, "init", "-no-color", "-input=false")
        assert started.returncode == 0, started.stderr
        tested = terraform(work, "test", "-json", "-verbose")
    lines = [json.loads(line) for line in tested.stdout.splitlines()]
    shown = [line for line in lines if line["type"] == "test_plan" and line["@testrun"] == "everything"]
    plans = [line["test_plan"]["resource_changes"] for line in shown]
    assert tested.returncode == 0 and len(plans) == 1, tested.stdout[-3000:]
    return tuple({**change, "after": change["change"]["after"]} for change in plans[0])


@functools.cache
def documents() -> dict[str, Any]:
    """Policy → its document. Those of the two roles of 15-ecs are called `execution` and `task`."""
    found = {
        each["index"]: json.loads(each["after"]["policy"])
        for each in planned("iam")
        if each["type"] == "aws_iam_policy"
    }
    for each in planned("15-ecs"):
        if each["type"] == "aws_iam_policy_document" and each["name"] in TASKS:
            found[each["name"]] = {"Statement": [_statement(one) for one in each["after"]["statement"]]}
        elif each["type"] == "aws_iam_role_policy" and each["after"].get("policy"):
            found[each["name"]] = json.loads(each["after"]["policy"])
    assert found.keys() >= set(TASKS), found.keys()
    return found


def _statement(planned_statement: dict[str, Any]) -> dict[str, Any]:
    """A statement of a document that is read at the apply only, as it will be written."""
    assert not planned_statement["condition"], planned_statement
    return {
        "Sid": planned_statement["sid"],
        "Effect": planned_statement["effect"] or "Allow",
        "Action": planned_statement["actions"],
        "Resource": planned_statement["resources"],
    }


@functools.cache
def roles() -> dict[str, list[str]]:
    """Role → its policies."""
    found: dict[str, list[str]] = {name: [name] for name in TASKS}
    for each in planned("iam"):
        if each["type"] == "aws_iam_role_policy_attachment":
            role, policy = each["index"].split("-")
            found.setdefault(role, []).append(policy)
    return found


@functools.cache
def trusts() -> dict[str, Any]:
    """Role of infra/iam → its trust policy."""
    return {
        each["index"]: json.loads(each["after"]["assume_role_policy"])
        for each in planned("iam")
        if each["type"] == "aws_iam_role"
    }


def listed(value: Any) -> tuple[str, ...]:
    """What a policy writes as one text or as a list of them."""
    return tuple(value) if isinstance(value, list) else (str(value),)


def grants(policy: str) -> Iterator[Grant]:
    """Every action of every statement of a policy, statement by statement."""
    for statement in documents()[policy]["Statement"]:
        assert statement["Effect"] == "Allow", statement
        conditions = tuple(
            (operator, key, listed(values))
            for operator, keys in (statement.get("Condition") or {}).items()
            for key, values in keys.items()
        )
        for action in sorted(listed(statement["Action"])):
            yield Grant(policy, statement["Sid"], action, listed(statement["Resource"]), conditions)


def grants_of(role: str) -> list[Grant]:
    """Everything that a role may do."""
    return [grant for policy in roles()[role] for grant in grants(policy)]


def recorded() -> dict[str, Any]:
    """What the playbooks asked of policies when the soak run last looked."""
    found: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))
    return found
