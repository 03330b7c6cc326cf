# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""doctor: every question asked and none twice, nothing written, each row with its OK and its NG (N6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _db_login,
    _doctor,
    _doctor_network,
    _doctor_quotas,
    _doctor_service,
    _rows,
)
from ansible_collections.papyrus.ops.plugins.module_utils._preflight_report import IDS
from ansible_collections.papyrus.ops.tests.unit import doctor_stand as stand
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.preflight_stand import PASSWORD, ROUTE_TABLE, SUBNETS

READS = ("describe_", "get_", "list_", "simulate_")


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = {"user": "papyrus_app", "database": "papyrus", "ssl": True}
    result = _db_login.LoginResult(True, "papyrus_app in papyrus over TLSv1.3", facts)
    monkeypatch.setattr(_db_login, "login", lambda who, transport: result)
    binary = tmp_path / "terraform"
    binary.write_text('#!/bin/sh\necho \'{"terraform_version": "1.15.5"}\'\n', "utf-8")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def not_ok(rows: dict[str, _rows.Row]) -> dict[str, str]:
    return {row.id: row.reason for row in rows.values() if row.status not in ("ok", "skip")}


def one(row_id: str, fake: FakeAws, **changes: Any) -> _rows.Row:
    return stand.evaluate(fake, [row_id], **changes)[row_id]


def refuse(code: str) -> Any:
    def answer(sent: Any) -> Any:
        raise Refusal(code)

    return answer


# The whole of it


def test_N6_every_row_is_ok_and_nothing_is_written() -> None:
    fake = stand.aws()
    rows = stand.evaluate(fake)
    assert not_ok(rows) == {}
    assert [row.id for row in rows.values() if row.status == "skip"] == ["B1"]
    assert [name for name in fake.names if not name.partition(".")[2].startswith(READS)] == []
    assert fake.names[0] == "sts.get_caller_identity"
    for name in (
        "ecs.describe_services",
        "ecs.list_tasks",
        "rds.describe_db_instances",
        "elbv2.describe_account_limits",
    ):
        assert fake.names.count(name) == 1, name


def test_N6_every_row_of_the_preflight_is_asked_and_each_row_has_a_place() -> None:
    asked = [check.id for section in _doctor.SECTIONS for check in section.checks]
    assert len(asked) == len(set(asked))
    assert set(IDS) <= set(asked)
    rows = stand.evaluate(stand.aws())
    assert list(rows) == asked
    assert [row["id"] for row in _doctor.as_dicts(list(rows.values()))] == asked


@pytest.mark.parametrize("changes", [{"account_id": "999999999999"}, {"region": "eu-west-1"}])
def test_B10_a_wrong_account_or_region_ends_it_before_any_other_call(changes: dict[str, str]) -> None:
    fake = stand.aws()
    rows = stand.evaluate(fake, **changes)
    assert list(rows) == ["B10"]
    assert set(fake.names) <= {"sts.get_caller_identity"}
    assert _doctor.last_line(list(rows.values())).startswith("not this account")


def test_N6_an_account_that_refuses_everything_has_all_rows_and_no_crash() -> None:
    fake = stand.aws()
    for name in fake.answers:
        if name != "sts.get_caller_identity":
            fake.answers[name] = refuse("AccessDeniedException")
    rows = stand.evaluate(fake)
    assert list(rows) == [check.id for section in _doctor.SECTIONS for check in section.checks]
    ok = {row.id for row in rows.values() if row.status == "ok"}
    assert ok == {"B10", "B14", "clock", "B11", "https", "C1", "marks", "plan", "cost"}
    # What doctor alone asks is a WARN; what a run asks as well would refuse the run.
    warned = {row.id for row in rows.values() if row.status == "warn"}
    assert {"alb_smoke", "sweep", "balancers", "groups", "dns"} <= warned
    assert {"B7", "B12", "B8"} <= {row.id for row in rows.values() if row.status == "ng"}


def test_N6_the_password_is_in_no_row() -> None:
    rows = list(stand.evaluate(stand.aws()).values())
    shown = str(_doctor.as_dicts(rows)) + _doctor.text(rows) + _doctor.markdown(rows)
    assert "papyrus_app in papyrus" in shown
    assert PASSWORD not in shown


def test_N6_no_exec_session_is_opened_for_the_login() -> None:
    fake = stand.aws()
    rows = stand.evaluate(fake, db_login="exec")
    assert (rows["B2"].status, "ecs.execute_command" in fake.names) == ("skip", False)


# What is shown


def row(row_id: str, status: _rows.Status, reason: str = "because", **data: Any) -> _rows.Row:
    return _rows.Row(row_id, "Title", status, reason, data)


def test_N6_the_last_line_says_what_comes_next() -> None:
    fine, doubt, bad = row("B7", "ok"), row("clock", "warn", do="x"), row("B8", "ng")
    assert _doctor.last_line([fine]) == "ready: ansible-playbook playbooks/alb_smoke.yml --check"
    assert _doctor.last_line([fine, doubt], "next").startswith("ready, 1 to look at (clock): next")
    assert _doctor.last_line([fine, doubt, bad]) == "1 thing to mend first: B8"
    assert _doctor.last_line([bad, row("B3", "ng")]) == "2 things to mend first: B8, B3"
    assert _doctor.counts([fine, doubt, bad]) == {"ok": 1, "warn": 1, "ng": 1, "skip": 0}


def test_N6_the_table_has_sections_is_no_wider_than_it_says_and_leaves_commands_whole() -> None:
    command = "aws " + "x" * 150
    shown = _doctor.text([row("B7", "ok", "word " * 60), row("groups", "warn", "full", do=f"run {command}")])
    lines = shown.splitlines()
    assert lines[0] == "3. The service"
    assert [line for line in lines if len(line) > _doctor.WIDTH and command[4:] not in line] == []
    assert command[4:] in shown and "-> run" in shown
    assert "7. Quotas" in lines


def test_N6_what_aws_says_cannot_paint_the_terminal_or_end_a_cell() -> None:
    rows = [row("B7", "ng", "red \x1b[31m| <b>x</b> `y`", do="a | b")]
    assert "\x1b" not in _doctor.text(rows) + _doctor.markdown(rows)
    cells = [line for line in _doctor.markdown(rows).splitlines() if line.startswith("| NG")]
    assert len(cells) == 1 and "<b>" not in cells[0]
    assert cells[0].replace("\\|", "").count("|") == 6


# Row by row


@pytest.mark.parametrize(
    ("changes", "must", "status", "words"),
    [
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, "alb_smoke", "warn", "CodeDeploy rolls it out"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "release", "ng", "controller EXTERNAL"),
        ({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, "release", "ng", "strategy BLUE_GREEN"),
        ({"deploymentConfiguration": {}}, "release", "ng", "without circuit breaker"),
        ({"deploymentConfiguration": {}}, "alb_smoke", "warn", "without circuit breaker"),
        ({}, "release", "ok", "circuit breaker with rollback"),
    ],
)
def test_N6_deployment(changes: dict[str, Any], must: str, status: str, words: str) -> None:
    found = _doctor_service.judge_deployment(stand.service(**changes), stand.settings(must=(must,)))
    assert found.status == status
    assert words in found.reason


def test_N6_a_time_limit_stands_in_for_the_circuit_breaker() -> None:
    settings = stand.settings(must=("release",), rollout_timeout=300.0)
    assert _doctor_service.judge_deployment(stand.service(deploymentConfiguration={}), settings).status == "ok"


@pytest.mark.parametrize(
    ("task", "revision", "changes", "status", "words"),
    [
        ({"platformVersion": "1.4.0"}, {}, {}, "ok", "LINUX X86_64"),
        ({"platformVersion": "1.3.0"}, {}, {}, "ng", "needs platform version 1.4.0"),
        ({}, {"networkMode": "bridge"}, {}, "ng", "network bridge"),
        ({}, {"runtimePlatform": {"cpuArchitecture": "ARM64"}}, {}, "warn", "papyrus_image_platform"),
        ({}, {"runtimePlatform": {"cpuArchitecture": "ARM64"}}, {"must": ("release",)}, "ng", "papyrus_image_platform"),
        ({}, {"runtimePlatform": {"cpuArchitecture": "ARM64"}}, {"image_platform": "linux/arm64"}, "ok", "ARM64"),
    ],
)
def test_N6_platform(
    task: dict[str, Any], revision: dict[str, Any], changes: dict[str, Any], status: str, words: str
) -> None:
    found = _doctor_service.judge_platform(task, {**stand.definition(), **revision}, stand.settings(**changes))
    assert found.status == status
    assert words in found.reason


@pytest.mark.parametrize(
    ("logs", "changes", "status", "words"),
    [
        ({"logDriver": "awsfirelens"}, {}, "warn", "log driver awsfirelens"),
        ({"logDriver": "awsfirelens"}, {"log_group": "/ecs/papyrus-task"}, "ok", "/ecs/papyrus-task"),
        (
            {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/papyrus-task", "awslogs-region": "eu-west-1"}},
            {}, "ng", "in eu-west-1",
        ),
        ({"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/papyrus"}}, {}, "ng", "no log group /ecs/papyrus"),
    ],
)  # fmt: skip
def test_N6_logs(logs: dict[str, Any], changes: dict[str, Any], status: str, words: str) -> None:
    fake = stand.aws(ecs__describe_task_definition={"taskDefinition": stand.definition(logConfiguration=logs)})
    found = one("logs", fake, **changes)
    assert found.status == status
    assert words in found.reason


def test_N6_exec_without_init_or_log_is_a_warning_and_off_is_ng() -> None:
    silent = {"configuration": {"executeCommandConfiguration": {"logging": "NONE"}}}
    cluster = {"clusterName": "c", "status": "ACTIVE", **silent}
    definition = {"taskDefinition": stand.definition(linuxParameters={})}
    fake = stand.aws(ecs__describe_clusters={"clusters": [cluster]}, ecs__describe_task_definition=definition)
    found = one("exec", fake)
    assert found.status == "warn"
    assert "no init process" in found.reason and "logs no Exec session" in found.reason
    off = stand.aws(ecs__describe_services={"services": [stand.service(enableExecuteCommand=False)]})
    rows = stand.evaluate(off)
    assert rows["B3"].status == "ng"
    assert _doctor.last_line(list(rows.values())) == "1 thing to mend first: B3"


@pytest.mark.parametrize(
    ("clusters", "words"), [([], "there is no cluster"), ([{"status": "INACTIVE"}], "is INACTIVE")]
)
def test_N6_cluster(clusters: list[dict[str, Any]], words: str) -> None:
    found = one("cluster", stand.aws(ecs__describe_clusters={"clusters": clusters}))
    assert found.status == "ng"
    assert words in found.reason


# The way out


def judged(routes: list[dict[str, Any]], *endpoints: str, public: bool = False, nat: str = "available") -> Any:
    table = {**ROUTE_TABLE, "RouteTableId": "rtb-1", "Routes": routes}
    made = [
        {
            "ServiceName": f"com.amazonaws.us-west-2.{name}",
            "State": "available",
            "VpcEndpointType": "Gateway" if name == "s3" else "Interface",
            "RouteTableIds": ["rtb-1"],
            "PrivateDnsEnabled": True,
        }
        for name in endpoints
    ]
    needed = _doctor_network.needed_endpoints(stand.definition()["containerDefinitions"][0], True)
    return _doctor_network.judge_egress(SUBNETS[:1], [table], {"nat-1": nat}, made, public, needed, "us-west-2")


def default(**target: str) -> list[dict[str, Any]]:
    return [{"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **target}]


ALL = ("ecr.api", "ecr.dkr", "s3", "logs", "ssmmessages", "secretsmanager")


def test_N6_tasks_get_out_by_a_nat_gateway_a_public_address_or_endpoints() -> None:
    assert judged(default(NatGatewayId="nat-1")).status == "ok"
    assert judged(default(GatewayId="igw-1"), public=True).status == "ok"
    assert judged([], *ALL).status == "ok"


@pytest.mark.parametrize("missing", ALL)
def test_N6_each_endpoint_is_missed_by_name(missing: str) -> None:
    found = judged([], *(name for name in ALL if name != missing))
    assert found.status == "ng"
    assert f"com.amazonaws.us-west-2.{missing}" in found.reason
    assert found.data["lacking"] == [missing]


@pytest.mark.parametrize(
    ("routes", "nat", "status", "words"),
    [
        (default(GatewayId="igw-1"), "available", "ng", "get no public address"),
        (default(NatGatewayId="nat-1"), "failed", "ng", "nat-1 (failed)"),
        ([{**default(NatGatewayId="nat-1")[0], "State": "blackhole"}], "available", "ng", "is a blackhole"),
        (default(TransitGatewayId="tgw-1"), "available", "warn", "tgw-1"),
        ([], "available", "ng", "no default route"),
    ],
)
def test_N6_a_way_that_is_closed_or_cannot_be_seen(
    routes: list[dict[str, Any]], nat: str, status: str, words: str
) -> None:
    found = judged(routes, nat=nat)
    assert found.status == status
    assert words in found.reason


def test_N6_an_endpoint_that_is_not_usable_does_not_count() -> None:
    good = {"ServiceName": "com.amazonaws.us-west-2.logs", "State": "available", "VpcEndpointType": "Interface"}
    for bad in ({"PrivateDnsEnabled": False}, {"PrivateDnsEnabled": True, "State": "pending"}):
        assert not _doctor_network.has_endpoint("logs", [{**good, **bad}], "rtb-1", "us-west-2")
    assert _doctor_network.has_endpoint("logs", [{**good, "PrivateDnsEnabled": True}], "rtb-1", "us-west-2")
    gateway = {**good, "ServiceName": "com.amazonaws.us-west-2.s3", "VpcEndpointType": "Gateway"}
    assert not _doctor_network.has_endpoint("s3", [{**gateway, "RouteTableIds": ["rtb-2"]}], "rtb-1", "us-west-2")


def test_N6_the_way_out_is_that_of_the_services_own_subnets() -> None:
    network = {"awsvpcConfiguration": {"subnets": ["subnet-a"], "assignPublicIp": "DISABLED"}}
    fake = stand.aws(ecs__describe_services={"services": [stand.service(networkConfiguration=network)]})
    found = one("egress", fake)
    assert found.status == "ng"
    assert "igw-1, but its tasks get no public address" in found.reason


# Network, names


def test_N6_a_tasks_group_without_a_way_out_is_ng() -> None:
    assert _doctor_network.judge_rules([], ["sg-1"]).status == "ng"
    assert _doctor_network.judge_rules([{"IsEgress": True}], ["sg-1"]).status == "ok"


@pytest.mark.parametrize(
    ("support", "hosts", "endpoints", "status"),
    [(False, True, [], "ng"), (True, False, [], "ok"), (True, False, [{"VpcEndpointId": "vpce-1"}], "warn")],
)
def test_N6_dns(support: bool, hosts: bool, endpoints: list[dict[str, str]], status: str) -> None:
    def attribute(sent: Any) -> dict[str, Any]:
        value = support if sent["Attribute"] == "enableDnsSupport" else hosts
        return {sent["Attribute"][0].upper() + sent["Attribute"][1:]: {"Value": value}}

    fake = stand.aws(ec2__describe_vpc_attribute=attribute, ec2__describe_vpc_endpoints={"VpcEndpoints": endpoints})
    assert one("dns", fake).status == status


def test_N6_a_certificate_of_another_region_is_ng() -> None:
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/x"
    assert one("https", stand.aws(), certificate_arn=arn).status == "ng"
    assert one("https", stand.aws(), certificate_arn=arn.replace("east-1", "west-2")).status == "ok"


def test_N6_names_that_do_not_fit_are_ng() -> None:
    rows = stand.evaluate(stand.aws(), tag_prefix="p" * 30, service="s" * 255)
    assert (rows["C1"].status, rows["marks"].status) == ("ng", "ng")
    assert "AWS allows 32" in rows["C1"].reason
    assert "EC2 allows 255" in rows["marks"].reason


def test_N6_leftovers_and_things_of_like_names_are_told_of() -> None:
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/0123456789abcdef"
    balancer = {"LoadBalancerArn": arn, "LoadBalancerName": "papyrus-smoke-abc234", "Type": "application"}
    fake = stand.aws(
        elbv2__describe_load_balancers={"LoadBalancers": [balancer]},
        elbv2__describe_tags={"TagDescriptions": [{"ResourceArn": arn, "Tags": []}]},
        elbv2__describe_load_balancer_attributes={"Attributes": []},
        elbv2__describe_listeners={"Listeners": []},
        elbv2__describe_rules={"Rules": []},
    )
    found = one("B9", fake)
    assert found.status == "warn"
    assert "papyrus-smoke-abc234" in found.reason


# Quotas


@pytest.mark.parametrize(
    ("used", "status", "words"),
    [(0, "ok", "room for 10"), (40, "ok", "room for 10"), (41, "warn", "room for 9 runs"), (50, "ng", "no room")],
)
def test_N6_one_run_fits_and_ten_at_once(used: int, status: str, words: str) -> None:
    found = _doctor_quotas.judge("things", used, 50.0, 1, "ask")
    assert found.status == status
    assert words in found.reason
    assert _doctor_quotas.judge("things", used, None, 1, "ask").status == "warn"


def test_N6_a_quota_that_is_nearly_used_up_is_told_of_with_the_command() -> None:
    balancers = [
        {"LoadBalancerArn": f"arn:aws:elasticloadbalancing:us-west-2:1:loadbalancer/app/x{n}/1", "Type": kind,
         "LoadBalancerName": f"x{n}"}
        for n, kind in enumerate(["application"] * 45 + ["network"] * 9)
    ]  # fmt: skip
    found = stand.evaluate(stand.aws(elbv2__describe_load_balancers={"LoadBalancers": balancers}), ["balancers"])[
        "balancers"
    ]
    assert found.status == "warn"
    assert found.reason.startswith("45 of 50 application load balancers: room for 5 runs at once")
    assert "--quota-code L-53DA6B97" in found.data["do"]


def test_N6_rules_of_the_tasks_group_count_inwards_only() -> None:
    rules = [{"SecurityGroupRuleId": f"sgr-{n}", "GroupId": "sg-task", "IsEgress": n < 20} for n in range(80)]
    fake = stand.aws()
    others = fake.answers["ec2.describe_security_group_rules"]
    assert callable(others)
    fake.answers["ec2.describe_security_group_rules"] = lambda sent: (
        {"SecurityGroupRules": rules} if sent["Filters"][0]["Values"] == ["sg-task"] else others(sent)
    )
    found = one("group_rules", fake)
    assert found.status == "ng"
    assert found.reason == "60 of 60 rules inwards of sg-task: no room for one more"


def test_N6_more_targets_than_one_load_balancer_takes() -> None:
    limits = {"Limits": [{"Name": "targets-per-application-load-balancer", "Max": "0"}]}
    assert one("listeners", stand.aws(elbv2__describe_account_limits=limits)).status == "ng"


@pytest.mark.parametrize(
    ("name", "row_ids", "action"),
    [
        ("elbv2__describe_account_limits", ["balancers", "targets", "listeners"],
         "elasticloadbalancing:DescribeAccountLimits"),
        ("service_quotas__list_service_quotas", ["groups", "group_rules"], "servicequotas:ListServiceQuotas"),
        ("ec2__describe_vpc_endpoints", ["egress"], "ec2:DescribeVpcEndpoints"),
    ],
)  # fmt: skip
def test_N6_what_doctor_may_not_ask_is_a_warning_with_the_statement(name: str, row_ids: list[str], action: str) -> None:
    rows = stand.evaluate(stand.aws(**{name: refuse("AccessDenied")}))
    assert list(not_ok(rows)) == row_ids
    for row_id in row_ids:
        assert rows[row_id].status == "warn"
        assert f'"Action":["{action}"]' in rows[row_id].data["do"]


def test_N6_a_failure_that_is_no_refusal_is_ng() -> None:
    rows = stand.evaluate(stand.aws(elbv2__describe_account_limits=refuse("Throttling")))
    assert rows["balancers"].status == "ng"


def test_N6_a_service_that_runs_no_task_still_has_all_rows() -> None:
    fake = stand.aws(
        ecs__describe_services={"services": [stand.service(runningCount=0)]},
        **{name.replace(".", "__"): answer for name, answer in shapes.answers([]).items() if name.startswith("ecs.")},
    )
    rows = stand.evaluate(fake)
    assert {"B7", "C4"} <= not_ok(rows).keys()
    assert len(rows) == sum(len(section.checks) for section in _doctor.SECTIONS)
