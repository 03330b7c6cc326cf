"""docs/doctor.md: the rights that it names are those that doctor uses, its prices those that the program has (N6)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils import _db_login, _doctor, _doctor_plan, _doctor_settings
from ansible_collections.papyrus.ops.tests.unit import doctor_stand as stand

PAGE = CHECKOUT / "docs" / "doctor.md"
ARN = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/0123456789abcdef"


def actions_of_a_run() -> set[str]:
    """IAM actions of all calls, of an account in which something of an earlier run is left and the caller is a role."""
    who = {"Account": "123456789012", "Arn": "arn:aws:sts::123456789012:assumed-role/r/s", "UserId": "AROA:s"}
    marks = {
        "run-id": "20260131T120000Z-abc234",
        "expires-at": "2026-01-31T13:00:00Z",
        "service": "papyrus-task-service",
    }
    tags = [{"Key": f"papyrus:{name}", "Value": value} for name, value in marks.items()]
    balancer = {"LoadBalancerArn": ARN, "LoadBalancerName": "papyrus-smoke-abc234", "Type": "application"}
    fake = stand.aws(
        sts__get_caller_identity=who,
        iam__get_role={"Role": {"Arn": "arn:aws:iam::123456789012:role/r"}},
        elbv2__describe_load_balancers={"LoadBalancers": [balancer]},
        elbv2__describe_tags={"TagDescriptions": [{"ResourceArn": ARN, "Tags": tags}]},
    )
    of_tasks = fake.answers["ec2.describe_network_interfaces"]
    assert callable(of_tasks)
    fake.answers["ec2.describe_network_interfaces"] = lambda sent: (
        of_tasks(sent) if sent["Filters"][0]["Name"] == "network-interface-id" else {"NetworkInterfaces": []}
    )
    rows = stand.evaluate(fake)
    assert (rows["B9"].status, "expired" in rows["B9"].reason) == ("warn", True), rows["B9"]
    found = set()
    for name in fake.names:
        service, dummy, operation = name.partition(".")
        api = fake(service).meta.method_to_api_mapping[operation]
        found.add(_doctor_settings.iam_action(f"{service}:{api}"))
    return found - {"sts:GetCallerIdentity"}  # everybody may


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_db_login, "login", lambda who, transport: _db_login.LoginResult(True, "in", {}))


def policy() -> dict[str, Any]:
    (text,) = re.findall(r"```json\n(.+?)```", PAGE.read_text("utf-8"), re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def test_N6_the_rights_on_the_page_are_those_of_the_calls() -> None:
    allowed = {action for statement in policy()["Statement"] for action in statement["Action"]}
    assert allowed == actions_of_a_run()
    for action in allowed:
        assert action.partition(":")[2].startswith(("Describe", "Get", "List", "Simulate")), action


def test_N6_the_prices_on_the_page_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (\S+) \| [^|]+ \| `(\w+)` \| ([\d.]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told: dict[str, dict[str, float]] = {}
    for region, name, price in rows:
        told.setdefault(region, {})[name] = float(price)
    assert told == _doctor_plan.PRICES


def test_N6_every_row_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    asked = [check.id for section in _doctor.SECTIONS for check in section.checks]
    assert [row for row in asked if not re.search(rf"\b{row}\b", text)] == []
