"""What IAM mode was asked can be read afterwards: policies are compared with it."""

from __future__ import annotations

import json
from typing import Any

from tests.sandbox.iam_support import user
from tests.sandbox.support import Sandbox, refused

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "Look", "Effect": "Allow", "Action": "ecs:ListClusters", "Resource": "*"}],
}


def decisions(sandbox: Sandbox) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(sandbox.http("GET", "/_sandbox/decisions")[2])
    return result


def test_questions_are_kept_with_who_asked_and_what_decided(sandbox: Sandbox) -> None:
    sandbox.http("DELETE", "/_sandbox/decisions")
    with sandbox.switched(iam=True), user(sandbox, POLICY) as who:
        ecs = who.client("ecs")
        for _ in range(2):
            ecs.list_clusters()
        with refused("AccessDeniedException"):
            ecs.delete_service(cluster="one", service="two")
        found = [one for one in decisions(sandbox)["decisions"] if one["principal"] == who.arn]
    service = f"arn:aws:ecs:{sandbox.facts['region']}:{sandbox.facts['account_id']}:service/one/two"
    allowed = {"action": "ecs:ListClusters", "resource": "*", "call": "ecs:ListClusters", "allowed": True}
    denied = {"action": "ecs:DeleteService", "resource": service, "call": "ecs:DeleteService", "allowed": False}
    assert found == [
        {"principal": who.arn, **allowed, "statements": ["Look"], "times": 2},
        {"principal": who.arn, **denied, "statements": [], "times": 1},
    ]
    assert sandbox.http("PUT", "/_sandbox/decisions", b'[{"principal": "me"}]')[0] == 400
    assert json.loads(sandbox.http("DELETE", "/_sandbox/decisions")[2]) == {"decisions": [], "left_out": 0}


def test_nothing_is_kept_while_nobody_is_asked(sandbox: Sandbox) -> None:
    sandbox.http("DELETE", "/_sandbox/decisions")
    sandbox.client("ecs").list_clusters()
    assert decisions(sandbox) == {"decisions": [], "left_out": 0}


def test_memory_for_questions_is_bounded() -> None:
    from sandbox.iam import decisions as kept

    all_of_them = kept.Decisions()
    for number in range(kept.KEPT + 5):
        all_of_them.add(kept.Question("somebody", "s3:GetObject", f"arn:aws:s3:::b/{number}", "s3:GetObject", True))
    assert len(all_of_them.listed()["decisions"]) == kept.KEPT
    assert all_of_them.listed()["left_out"] == 5
