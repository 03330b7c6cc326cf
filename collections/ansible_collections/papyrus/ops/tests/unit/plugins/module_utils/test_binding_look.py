# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the identity chain is made of: AWS' answers, ECR's manifests, requests until every target answered (N2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _binding_look
from ansible_collections.papyrus.ops.plugins.module_utils._binding import Image, Released, Tally, compare
from ansible_collections.papyrus.ops.plugins.module_utils._binding_look import Limits, Subject
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._ecs_tasks import TaskProblem
from ansible_collections.papyrus.ops.plugins.module_utils._probe_run import Probe
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

DIGEST = f"sha256:{'a' * 64}"
GROUP = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/smoke/0123456789abcdef"
HEADERS = ("X-Papyrus-Task", "X-Papyrus-Image")
SUBJECT = Subject(shapes.CLUSTER, shapes.SERVICE, "app", 5000, GROUP, HEADERS)
REGISTRY = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


def health(*targets: tuple[str, str]) -> dict[str, Any]:
    return {
        "TargetHealthDescriptions": [
            {"Target": {"Id": ip, "Port": 5000}, "TargetHealth": {"State": state}} for ip, state in targets
        ]
    }


def aws_of(tasks: list[dict[str, Any]], *targets: tuple[str, str], **service: Any) -> FakeAws:
    answers = shapes.answers(tasks)
    deployments = [{"id": "1", "status": "PRIMARY", "taskDefinition": shapes.DEFINITION}]
    answers["ecs.describe_services"] = {"services": [shapes.service(deployments=deployments, **service)]}
    answers["elbv2.describe_target_health"] = health(*targets)

    def interfaces(sent: Any) -> dict[str, Any]:
        numbers = [int(value.removeprefix("eni-")) for value in sent["Filters"][0]["Values"]]
        word = {"Status": "in-use", "Description": ""}
        return {
            "NetworkInterfaces": [
                {**shapes.interface(n), **word, "PrivateIpAddress": f"10.20.0.{n + 1}"} for n in numbers
            ]
        }

    answers["ec2.describe_network_interfaces"] = interfaces
    return FakeAws(answers)


def response(number: int, image: str = DIGEST, status: int = 200) -> dict[str, Any]:
    given = [{"name": "x-papyrus-task", "value": shapes.task_arn(number)}, {"name": "X-Papyrus-Image", "value": image}]
    return {"status": status, "remote": "203.0.113.1:80", "headers": given}


class Answers:
    """Stands for probes: gives one list of responses after the other, the last for ever."""

    def __init__(self, *rounds: list[dict[str, Any]]) -> None:
        self.rounds = list(rounds)
        self.asked = 0

    def __call__(self) -> Probe:
        self.asked += 1
        found = self.rounds[min(self.asked, len(self.rounds)) - 1]
        return Probe(bool(found), "connection refused", responses=found)


def gather(aws: FakeAws, probe: Answers, **changes: Any) -> Any:
    image = Image(f"{REGISTRY}/papyrus@{DIGEST}", DIGEST, DIGEST, "", DIGEST)
    given: dict[str, Any] = {
        "calls": Calls(aws),
        "subject": SUBJECT,
        "image_of": lambda name: image,
        "probe": probe,
        "url": "http://alb/healthz",
        "registered": [],
        "given": [],
        "released": Released(),
        "limits": Limits(interval=0.001, least=1, most=5),
    }
    return _binding_look.gather(**{**given, **changes})


def test_N2_a_service_in_order_holds_from_awss_answers_to_the_headers() -> None:
    aws = aws_of([shapes.task(1), shapes.task(2)], ("10.20.0.2", "healthy"), ("10.20.0.3", "healthy"))
    probe = Answers([response(1)], [response(1)], [response(2)])
    facts, ended = gather(aws, probe)
    made = compare(facts)
    assert made.status == "ok", made.reason
    assert ended == "every target has answered (3 answers)"
    assert probe.asked == 3
    assert aws.sent("elbv2.describe_target_health") == [{"TargetGroupArn": GROUP}] * 2


def test_N2_asking_stops_at_its_bound_when_a_target_stays_silent() -> None:
    aws = aws_of([shapes.task(1), shapes.task(2)], ("10.20.0.2", "healthy"), ("10.20.0.3", "healthy"))
    probe = Answers([response(1)])
    facts, ended = gather(aws, probe)
    assert probe.asked == 10
    assert ended == f"no answer of {2:032x} in 10 requests"
    assert "has not answered in 10 requests" in compare(facts).reason


def test_N2_asking_stops_when_the_time_is_up() -> None:
    moments: Iterator[float] = iter(range(100))
    seen = _binding_look.look(Calls(aws_of([shapes.task(1)], ("10.20.0.2", "healthy"))), SUBJECT)
    tally = Tally()
    ended = _binding_look.ask(
        Answers([]),
        HEADERS,
        "http://alb/healthz",
        seen,
        tally,
        5000,
        Limits(timeout=3, most=1000),
        clock=lambda: next(moments),
        sleep=lambda seconds: None,
    )
    assert ended == f"no answer yet of {1:032x} within 3 s"
    assert [(answer.status, answer.error) for answer in tally.counts] == [(0, "connection refused")]


def test_N2_answers_of_the_probes_before_count_and_must_fit() -> None:
    aws = aws_of([shapes.task(1)], ("10.20.0.2", "healthy"))
    before = {"request": {"url": "http://alb/dbcheck"}, "responses": [response(7)]}
    facts, dummy = gather(aws, Answers([response(1)]), given=[before])
    assert {answer.url for answer in facts.answers.counts} == {"http://alb/healthz", "http://alb/dbcheck"}
    made = compare(facts)
    assert made.status == "ng"
    assert f"{7:032x} answers, which ECS says MISSING" in made.reason


def test_N2_a_task_of_another_service_that_answers_is_named_with_its_service() -> None:
    aws = aws_of([shapes.task(1)], ("10.20.0.2", "healthy"))
    other = shapes.task(7, group="service:other")
    known: Any = aws.answers["ecs.describe_tasks"]

    def describe(sent: Any) -> Any:
        return {"tasks": [other]} if sent["tasks"] == [other["taskArn"]] else known(sent)

    aws.answers["ecs.describe_tasks"] = describe
    facts, dummy = gather(aws, Answers([response(1)], [response(7)]), limits=Limits(interval=0.001, least=2, most=5))
    assert f"{7:032x} answers, which is RUNNING in service:other" in compare(facts).reason


def test_N2_only_tasks_of_the_cluster_are_asked_for() -> None:
    aws = FakeAws({"ecs.describe_tasks": {"tasks": [], "failures": []}})
    elsewhere = shapes.task_arn(1).replace(shapes.CLUSTER, "elsewhere")
    names = ["x" * 500, "arn:aws:ecs:us-west-2:1:task/a", elsewhere, f"{shapes.task_arn(2)}, {shapes.task_arn(3)}"]
    assert _binding_look.strangers(Calls(aws), shapes.CLUSTER, names) == {}
    assert aws.requests == []


def test_N2_without_names_of_headers_nothing_is_asked() -> None:
    aws = aws_of([shapes.task(1)], ("10.20.0.2", "healthy"))
    probe = Answers([response(1)])
    facts, ended = gather(aws, probe, subject=Subject(shapes.CLUSTER, shapes.SERVICE, "app", 5000, GROUP, None))
    assert (probe.asked, ended) == (0, "not asked")
    assert compare(facts).status == "skip"


def test_N2_a_header_that_comes_twice_is_no_identity() -> None:
    twice = response(1)
    twice["headers"].append({"name": "X-PAPYRUS-IMAGE", "value": DIGEST})
    assert _binding_look.answer_of(twice, HEADERS, "u").image == f"{DIGEST}, {DIGEST}"


def test_N2_a_header_without_end_is_cut() -> None:
    long = response(1, "x" * 60000)
    assert len(_binding_look.answer_of(long, HEADERS, "u").image or "") == _binding_look.HEADER_KEPT


def test_N2_draining_targets_are_no_longer_registered() -> None:
    aws = aws_of([shapes.task(1)], ("10.20.0.2", "healthy"), ("10.20.0.9", "draining"))
    assert [target.id for target in _binding_look.look(Calls(aws), SUBJECT).targets] == ["10.20.0.2"]


def test_N2_a_service_that_is_not_there_is_named() -> None:
    aws = FakeAws({"ecs.describe_services": {"services": [], "failures": [{"reason": "MISSING"}]}})
    with pytest.raises(TaskProblem, match=f"no service {shapes.SERVICE}"):
        _binding_look.look(Calls(aws), SUBJECT)
