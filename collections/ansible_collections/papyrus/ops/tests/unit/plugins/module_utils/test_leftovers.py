# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leftovers are found by tags and descriptions alone, and only Describe answers prove absence (C7, C8, N1)."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _leftovers, _leftovers_drill
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope, ask_by_id, by_hand, find, wait_gone
from aws_fake import FakeAws, Refusal

RUN, OTHER = "20260131T120000Z-abc234", "20260131T110000Z-zzz777"
NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
NAME = "papyrus-smoke-abc234"
SCOPE = Scope(tag_prefix="papyrus", service="svc", run_id=RUN)


def rule_text(run_id: str = RUN, expires: str = "2026-01-31T13:00:00Z", service: str = "svc") -> str:
    return f"papyrus run {run_id} until {expires} of {service}"


def arn(kind: str, name: str) -> str:
    return f"arn:aws:elasticloadbalancing:us-west-2:123456789012:{kind}/{name}/50dc6c495c0c9188"


def tags(
    run_id: str = RUN, expires: str = "2026-01-31T13:00:00Z", service: str = "svc", prefix: str = "papyrus"
) -> list[Any]:
    pairs = {f"{prefix}:run-id": run_id, f"{prefix}:expires-at": expires, f"{prefix}:service": service}
    return [{"Key": key, "Value": value} for key, value in pairs.items() if value]


class World:
    """Load balancers, target groups, security groups and interfaces of an account, as AWS would show them."""

    def __init__(self) -> None:
        self.balancers: dict[str, list[Any]] = {}
        self.target_groups: dict[str, list[Any]] = {}
        self.just_deleted: set[str] = set()  # names that are still listed
        self.groups: list[dict[str, Any]] = [{"GroupId": "sg-tasks", "GroupName": "tasks", "VpcId": "vpc-1"}]
        self.interfaces: list[dict[str, Any]] = []
        self.aws = FakeAws(
            {
                "elbv2.describe_load_balancers": self._balancers,
                "elbv2.describe_target_groups": lambda _p: {
                    "TargetGroups": [
                        {"TargetGroupArn": arn("targetgroup", n), "TargetGroupName": n} for n in self.target_groups
                    ]
                },
                "elbv2.describe_tags": self._tags,
                "elbv2.describe_listeners": lambda p: {
                    "Listeners": [
                        {"ListenerArn": p["LoadBalancerArn"].replace("loadbalancer", "listener") + "/1", "Port": 80}
                    ]
                },
                "ec2.describe_security_groups": self._groups,
                "ec2.describe_network_interfaces": self._interfaces,
            }
        )

    def _balancers(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        names = sorted(self.balancers)
        if params.get("LoadBalancerArns"):
            names = [name for name in names if arn("loadbalancer/app", name) in params["LoadBalancerArns"]]
            if not names:
                raise Refusal("LoadBalancerNotFound")
        start = int(params.get("Marker", 0))
        page = [
            {
                "LoadBalancerArn": arn("loadbalancer/app", n),
                "LoadBalancerName": n,
                "State": {"Code": "active"},
                "VpcId": "vpc-1",
            }
            for n in names[start : start + 30]
        ]
        return {"LoadBalancers": page, **({"NextMarker": str(start + 30)} if start + 30 < len(names) else {})}

    def _tags(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        known = {arn("loadbalancer/app", n): t for n, t in self.balancers.items()}
        known |= {arn("targetgroup", n): t for n, t in self.target_groups.items()}
        if any(a.split("/")[-2] in self.just_deleted for a in params["ResourceArns"]):
            raise Refusal("LoadBalancerNotFound")
        return {"TagDescriptions": [{"ResourceArn": a, "Tags": known[a]} for a in params["ResourceArns"]]}

    def _groups(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self.groups
        if "GroupIds" in params:
            found = [g for g in found if g["GroupId"] in params["GroupIds"]]
            if not found:
                raise Refusal("InvalidGroup.NotFound")
        for condition in params.get("Filters", []):
            name, values = condition["Name"], condition["Values"]
            if name.startswith("tag:"):
                found = [
                    g
                    for g in found
                    if any(t["Key"] == name[4:] and values in (["*"], [t["Value"]]) for t in g.get("Tags", []))
                ]
            elif name == "group-name":
                found = [g for g in found if any(g["GroupName"].startswith(v.rstrip("*")) for v in values)]
            elif name == "vpc-id":
                found = [g for g in found if g["VpcId"] in values]
        return {"SecurityGroups": found}

    def _interfaces(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        (condition,) = params["Filters"]
        values = [value.rstrip("*") for value in condition["Values"]]
        if condition["Name"] == "description":
            found = [i for i in self.interfaces if any(i["Description"].startswith(value) for value in values)]
        else:
            found = [i for i in self.interfaces if any(g["GroupId"] in values for g in i.get("Groups", []))]
        return {"NetworkInterfaces": found}

    def group(self, ident: str, name: str, tag_list: list[Any]) -> None:
        self.groups.append({"GroupId": ident, "GroupName": name, "VpcId": "vpc-1", "Tags": tag_list})

    def rule(self, description: str, peer: str = "sg-alb") -> None:
        permission = {
            "IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000,
            "UserIdGroupPairs": [{"GroupId": peer, "Description": description}],
        }  # fmt: skip
        self.groups[0].setdefault("IpPermissions", []).append(permission)


@pytest.fixture
def world() -> World:
    return World()


def whole_run(world: World) -> None:
    world.balancers[NAME] = tags()
    world.target_groups[NAME] = tags()
    world.group("sg-alb", NAME, tags())
    world.rule(rule_text())
    world.interfaces.append({"NetworkInterfaceId": "eni-1", "Description": f"ELB app/{NAME}/50dc", "Groups": []})


def kinds(found: _leftovers.Found) -> list[str]:
    return [resource["kind"] for resource in found.resources]


def test_N1_everything_of_a_run_is_found_without_its_state(world: World) -> None:
    whole_run(world)
    found = find(world.aws, SCOPE, now=NOW)
    assert kinds(found) == [kind for kind in _leftovers.KINDS if kind not in _leftovers_drill.KINDS]
    assert not found.gone and all(resource["run_id"] == RUN for resource in found.resources)
    assert {resource["expired"] for resource in found.resources} == {True}
    assert find(world.aws, SCOPE, now=NOW - dt.timedelta(hours=1)).resources[0]["expired"] is False


@pytest.mark.parametrize(
    "other",
    [
        tags(run_id=OTHER),
        tags(run_id=""),
        tags(prefix="other"),
        [],
    ],
)
def test_N1_what_does_not_bear_the_run_is_not_of_it(world: World, other: list[Any]) -> None:
    world.balancers[NAME] = other
    world.target_groups[NAME] = other
    world.group("sg-alb", NAME, other)
    world.rule(rule_text(OTHER))
    world.rule(f"somebody {RUN}")
    found = find(world.aws, SCOPE, now=NOW)
    assert found.resources == [] and found.gone


def test_N1_all_runs_of_a_service_and_no_other(world: World) -> None:
    whole_run(world)
    world.balancers["papyrus-smoke-zzz777"] = tags(run_id=OTHER, expires="2026-02-01T00:00:00Z")
    world.balancers["papyrus-smoke-yyy222"] = tags(service="other-service")
    world.rule(rule_text("20260131T123000Z-yyy222", service="other-service"), "sg-other")
    scope = Scope(tag_prefix="papyrus", service="svc")
    found = find(world.aws, scope, now=NOW)
    assert {resource["run_id"] for resource in found.resources} == {RUN, OTHER}
    assert {r["expired"] for r in found.resources if r["run_id"] == OTHER} == {False}


def test_N1_an_expiry_that_nobody_can_read_is_not_expired(world: World) -> None:
    world.target_groups[NAME] = tags(expires="soon")
    assert find(world.aws, SCOPE, now=NOW).resources[0]["expired"] is None


def test_C8_names_of_ours_without_our_tags_are_foreign(world: World) -> None:
    world.group("sg-foreign", NAME, [])
    world.balancers["papyrus-smoke-qqqqqq"] = []
    world.balancers["papyrus-smoke-production"] = []
    scope = Scope(tag_prefix="papyrus", service="svc", names=(NAME,), name_prefix="papyrus-smoke")
    found = find(world.aws, scope, now=NOW)
    assert found.resources == []
    assert [(entry["id"].rpartition("/")[0][-20:] or entry["id"], entry["collides"]) for entry in found.foreign] == [
        ("papyrus-smoke-qqqqqq", False), ("sg-foreign", True),
    ]  # fmt: skip


def test_N1_calls_grow_by_pages_and_batches(world: World) -> None:
    for number in range(100):
        world.balancers[f"lb-{number:03}"] = []
    world.balancers["zz-last"] = tags()
    found = find(world.aws, SCOPE, now=NOW)
    assert kinds(found) == ["listener", "load_balancer"]
    assert len(world.aws.sent("elbv2.describe_load_balancers")) == 4
    batches = [len(params["ResourceArns"]) for params in world.aws.sent("elbv2.describe_tags")]
    assert batches == [20, 20, 20, 20, 20, 1]


@pytest.mark.parametrize("position", [0, 9, 19, 24])
def test_N1_what_others_delete_while_it_is_listed_is_no_failure(world: World, position: int) -> None:
    """Found by the storm: DescribeTags refuses all of its load balancers when one of them has just gone."""
    for number in range(25):
        world.balancers[f"lb-{number:03}"] = []
    world.balancers["zz-last"] = tags()
    world.just_deleted = {f"lb-{position:03}"}
    found = find(world.aws, SCOPE, now=NOW)
    assert found.failures == [] and kinds(found) == ["listener", "load_balancer"]
    assert len(world.aws.sent("elbv2.describe_tags")) <= 2 + 2 * 5


def test_N1_what_of_ours_is_deleted_while_it_is_listed_is_gone_and_not_foreign(world: World) -> None:
    world.balancers[NAME] = tags()
    world.just_deleted = {NAME}
    found = find(world.aws, Scope(tag_prefix="papyrus", service="svc", name_prefix="papyrus-smoke"), now=NOW)
    assert found.gone and found.foreign == []


@pytest.mark.parametrize(
    "operation",
    ["elbv2.describe_load_balancers", "elbv2.describe_target_groups", "ec2.describe_security_groups"],
)
def test_C7_a_describe_that_fails_is_never_gone(world: World, operation: str) -> None:
    def throttled(_params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refusal("Throttling", "Rate exceeded")

    world.aws.answers[operation] = throttled
    found = find(world.aws, SCOPE, now=NOW)
    assert found.resources == [] and not found.gone
    assert "Throttling" in _leftovers.describe(found)


def test_C7_absence_is_said_by_aws_for_every_id(world: World) -> None:
    known = {"alb_arn": arn("loadbalancer/app", NAME), "alb_sg_id": "sg-alb", "url": "http://x"}
    found = find(world.aws, SCOPE, now=NOW)
    ask_by_id(world.aws, known, found)
    answers = {entry["answer"] for entry in found.described if "answer" in entry}
    assert found.gone and answers == {"LoadBalancerNotFound", "InvalidGroup.NotFound"}
    assert all(entry["request_ids"] and all(entry["request_ids"]) for entry in found.described)


@pytest.mark.parametrize("code", ["Throttling", "ExpiredToken", "AccessDenied", "InternalFailure"])
def test_C7_an_id_that_aws_does_not_answer_for_is_never_gone(world: World, code: str) -> None:
    def refused(_params: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refusal(code, "no")

    found = find(world.aws, SCOPE, now=NOW)
    world.aws.answers["elbv2.describe_load_balancers"] = refused
    ask_by_id(world.aws, {"alb_arn": arn("loadbalancer/app", NAME), "alb_sg_id": "sg-alb"}, found)
    assert not found.gone and [failure["code"] for failure in found.failures] == [code]
    assert {entry["answer"] for entry in found.described if "answer" in entry} == {"InvalidGroup.NotFound"}


def test_C7_what_lost_its_tags_is_still_found_by_its_id(world: World) -> None:
    world.group("sg-alb", NAME, [])
    found = find(world.aws, SCOPE, now=NOW)
    assert found.gone
    ask_by_id(world.aws, {"alb_sg_id": "sg-alb"}, found)
    assert not found.gone and kinds(found) == ["security_group"]


def test_C7_waits_for_interfaces_that_outlive_their_load_balancer(world: World) -> None:
    scope = Scope(tag_prefix="papyrus", service="svc", run_id=RUN, names=(NAME,))
    world.interfaces.append({"NetworkInterfaceId": "eni-1", "Description": f"ELB app/{NAME}/50dc", "Groups": []})
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] >= 12:
            world.interfaces.clear()

    found = wait_gone(world.aws, scope, {}, timeout=60, interval=5, clock=lambda: now[0], sleep=sleep)
    assert found.gone and now[0] == 15
    world.interfaces.append({"NetworkInterfaceId": "eni-1", "Description": f"ELB app/{NAME}/50dc", "Groups": []})
    late = wait_gone(world.aws, scope, {}, timeout=0, clock=lambda: now[0], sleep=sleep)
    assert "network interface eni-1" in _leftovers.describe(late)


def test_N1_a_rule_left_alone_is_found_and_can_be_revoked_by_hand(world: World) -> None:
    world.rule(rule_text())
    found = find(world.aws, SCOPE, now=NOW)
    assert kinds(found) == ["security_group_rule"] and found.resources[0]["expires_at"] == "2026-01-31T13:00:00Z"
    (command,) = by_hand(found.resources, "us-west-2")
    words = shlex.split(command)
    assert words[:4] == ["aws", "ec2", "revoke-security-group-ingress", "--region"] and "sg-tasks" in words
    assert '"GroupId": "sg-alb"' in words[-1]


def test_C6_commands_by_hand_are_in_the_order_in_which_aws_lets_go(world: World) -> None:
    whole_run(world)
    commands = by_hand(find(world.aws, SCOPE, now=NOW).resources)
    assert [command.split()[2] for command in commands] == [
        "delete-listener", "delete-load-balancer", "wait", "delete-target-group", "revoke-security-group-ingress",
        "describe-network-interfaces", "delete-security-group",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", _leftovers.KINDS)
def test_H2_whatever_aws_calls_it_is_one_word_of_a_command_by_hand(kind: str) -> None:
    def words(text: str) -> list[list[str]]:
        permission = {"Description": text}
        detail = {"cluster": text, "group_id": text, "direction": "ingress", "permission": permission}
        commands = by_hand([{"kind": kind, "id": text, "detail": detail}], text)
        return [shlex.split(command, comments=True) for command in commands]

    for evil in ("x; rm -rf /", "$(id)`id`", 'a\' "b" & c', "-x\n--y #"):
        plain, told = words("x"), words(evil)
        assert [len(command) for command in told] == [len(command) for command in plain] != []
        for before, after in zip(plain, told, strict=True):
            assert all(one == two or evil in two or json.loads(two) for one, two in zip(before, after, strict=True))
            assert evil in after
