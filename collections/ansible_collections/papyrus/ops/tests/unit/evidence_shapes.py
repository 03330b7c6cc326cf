# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values and items of bundles that tests make: one run of one service, in AWS' own shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _cast

ACCOUNT, REGION = "123456789012", "us-west-2"
ECS, ELB = f"arn:aws:ecs:{REGION}:{ACCOUNT}", f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}"
TASK = f"{ECS}:task/papyrus-ecs-prd/04e51da07417cfc976502a8a3d97913a"
STRANGER = f"{ECS}:task/papyrus-ecs-prd/c9c7a469c436116e5e56bdb1ca765fe5"
NEW, OLD = f"{ECS}:task-definition/papyrus-task:5", f"{ECS}:task-definition/papyrus-task:4"
DIGEST = "sha256:b7a581c664f46e7e2d920caf9548b8f86b45501a3e47dd328150b51e38e3a564"
OTHER = "sha256:72713a3fbec4148f29f7bf91b5f0ca45f4551fba63ec0b98dc4fc1cb4525641a"
REPOSITORY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/papyrus"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/papyrus-runner/release"
SUFFIX = "abc234"
NAME = f"papyrus-smoke-{SUFFIX}"
RUN_ID = f"20260131T120000Z-{SUFFIX}"
ALB = f"{ELB}:loadbalancer/app/{NAME}/0e17d2cb647eb155"
GROUP = f"{ELB}:targetgroup/{NAME}/b92te4gtmrunl3ox"
LISTENER = f"{ELB}:listener/app/{NAME}/0e17d2cb647eb155/aq20ny02me9zvxzo"
ALB_SG, TASKS_SG = "sg-76eebc0065fa54a45", "sg-298fdb25e2b27947a"
URL = f"http://{NAME}-236442315.{REGION}.elb.amazonaws.com"
ENI, IP = "eni-5c43aefb29e8d1091", "10.78.1.86"

PREFLIGHT = {
    "B10": ("Account and region are the expected ones", f"{CALLER} in {REGION}"),
    "B1": ("Routes of the application are registered", 'ROUTES: ["/", "/dbcheck", "/healthz"]'),
    "B2": ("Secret fits the database, login proved", "papyrus_app in papyrus over TLSv1.3"),
    "B3": ("ECS Exec is usable", "agent of 04e51da07417cfc976502a8a3d97913a RUNNING"),
    "B4": ("rds.force_ssl is in effect", "rds.force_ssl=1 in effect, last restart 2026-01-02T03:04:05Z"),
    "B5": ("Database is open to the tasks alone", f"port 5432 only from {TASKS_SG}"),
    "B7": ("Service is steady", "1 of 1 tasks run, no rollout in flight"),
    "B8": ("Subnets suit the ALB", "internet-facing in us-west-2a, us-west-2b of vpc-3946c468831a7cfcf"),
    "B9": ("No leftover is in the way", "none"),
    "B13": ("PGSSLMODE refuses plaintext", "papyrus-task:4: verify-full"),
}


def ids(count: int) -> list[str]:
    return [f"5d5aa6fc-b2be-4834-99e5-{number:012d}" for number in range(count)]


def state() -> dict[str, Any]:
    def resource(kind: str, name: str, **attributes: str) -> dict[str, Any]:
        return {"mode": "managed", "type": kind, "name": name, "instances": [{"attributes": attributes}]}

    return {
        "version": 4,
        "resources": [
            {"mode": "data", "type": "aws_vpc", "name": "this", "instances": [{"attributes": {"id": "vpc-1"}}]},
            resource("aws_lb", "this", id=ALB),
            resource("aws_lb_listener", "this", id=LISTENER, load_balancer_arn=ALB),
            resource("aws_lb_target_group", "app", id=GROUP),
            resource("aws_security_group", "alb", id=ALB_SG),
            resource("aws_security_group_rule", "tasks_from_alb", id="sgrule-690133372", security_group_id=TASKS_SG),
        ],
    }


def gone(left: bool) -> dict[str, Any]:
    """The gone-check's answers; `left` says that the load balancer and its group are still there."""

    def asked(operation: str, parameters: Mapping[str, Any], count: int, answer: str = "") -> dict[str, Any]:
        extra = {"answer": answer} if answer else {}
        return {"operation": operation, "parameters": parameters, "count": count, "request_ids": ids(1), **extra}

    there = int(left)

    def missing(code: str) -> str:
        return "" if left else code

    resources = [
        {"kind": "load_balancer", "id": ALB, "name": NAME},
        {"kind": "security_group", "id": ALB_SG, "name": NAME},
    ]
    return {
        "at": "2026-01-31T12:01:20.000000Z",
        "described": [
            asked("DescribeSecurityGroups", {"Filters": [{"Name": "tag:papyrus:run-id", "Values": [RUN_ID]}]}, there),
            asked("DescribeSecurityGroups", {"GroupIds": [TASKS_SG]}, 1),
            asked("DescribeLoadBalancers", {"LoadBalancerArns": [ALB]}, there, missing("LoadBalancerNotFound")),
            asked("DescribeListeners", {"ListenerArns": [LISTENER]}, 0, "ListenerNotFound"),
            asked("DescribeTargetGroups", {"TargetGroupArns": [GROUP]}, 0, "TargetGroupNotFound"),
            asked("DescribeSecurityGroups", {"GroupIds": [ALB_SG]}, there, missing("InvalidGroup.NotFound")),
        ],
        "failures": [],
        "foreign": [],
        "gone": not left,
        "resources": resources if left else [],
        "reason": f"left: load balancer {ALB}, security group {ALB_SG}"
        if left
        else "6 Describe calls answered, nothing of the run is there",
        **(
            {
                "delete_by_hand": [
                    f"aws elbv2 delete-load-balancer --load-balancer-arn {ALB}",
                    f"aws ec2 delete-security-group --group-id {ALB_SG}",
                ]
            }
            if left
            else {}
        ),
    }


def binding(serving: str, broken: str = "") -> dict[str, Any]:
    """A chain that is whole, or broken at the link of that name."""
    values = {
        "registry": (DIGEST, DIGEST),
        "revision": (serving, serving),
        "container": (DIGEST, OTHER if broken == "container" else DIGEST),
        "interface": (f"{ENI} {IP}", f"{ENI} {IP} in-use"),
        "target": (f"{IP}:5000", f"{IP}:5000 healthy"),
        "answer": (TASK, "") if broken == "answer" else (DIGEST, DIGEST),
    }
    links = [
        {
            "link": name,
            "status": "ng" if name == broken else "ok",
            "expected": expected,
            "found": found,
            "text": f"{name} is {'not ' if name == broken else ''}as expected",
        }
        for name, (expected, found) in values.items()
    ]
    answers = [
        {
            "count": 4,
            "status": 200,
            "error": "",
            "url": f"{URL}/healthz",
            "remote": "203.0.113.7:80",
            "task": STRANGER if broken == "answer" else TASK,
            "image": DIGEST,
        }
    ]
    status = "ng" if broken else "ok"
    reason = f"{broken}: {broken} is not as expected" if broken else f"1 of 1 running tasks tied to {DIGEST[:19]}"
    return {
        "answers": answers,
        "chains": [{"task_arn": TASK, "status": status, "links": links}],
        "image": {
            "reference": f"{REPOSITORY}@{DIGEST}",
            "digest": DIGEST,
            "pinned": DIGEST,
            "platform": DIGEST,
            "index": "",
        },
        "run": [],
        "status": status,
        "reason": reason,
        "task_definition": serving,
    }


def exec_log(command: str, output: str, started: str, ended: str) -> str:
    head = {
        "command": command,
        "task": TASK,
        "container": "app",
        "started": started,
        "ended": ended,
        "outcome": "exited: exit code 0",
        "exit code": "0",
    }
    return "".join(f"{key + ':':<12}{value}\n" for key, value in head.items()) + f"\n{output}"


def cast(timestamp: int) -> str:
    """A recording of three pieces, the first one in colour."""
    pieces = [
        (0.21, b"\x1b[32mINSERT 0 1\x1b[0m\n"),
        (0.9, f"MARK: {RUN_ID} cli committed\n".encode()),
        (1.1, b"TLS: TLSv1.3\n"),
    ]
    command, title = f"python -m papyrus.mark_cli --run {RUN_ID}", f"app of {TASK}: exit code 0"
    return "".join(_cast.lines(pieces, columns=120, rows=40, timestamp=timestamp, command=command, title=title))


def poll(number: int, at: str, state: str, reason: str) -> dict[str, Any]:
    """One look at the health of one target."""
    return {
        "poll": number,
        "at": at,
        "elapsed": number * 2.0,
        "targets": [{"id": IP, "port": 5000, "state": state, "reason": reason, "description": ""}],
        "judgement": "done" if state == "healthy" else "go on",
        "reason": reason or "1 of 1 targets are healthy",
        "request_ids": ids(1),
        "tasks_gone": [],
    }
