# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWS has of the permanent alarms: each tells its topic, the topic can carry it, and who hears it (I1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.modules import monitor_info
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

TOPIC = "arn:aws:sns:us-west-2:123456789012:svc-alarms"
KEY = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
NAMES = {"memory": "svc-memory", "task-exit": "svc-task-exit"}
ADDRESS = "oncall@example.com"

Run = Callable[..., dict[str, Any]]


def alarm(name: str, **changes: Any) -> dict[str, Any]:
    given = {
        "AlarmName": name,
        "ActionsEnabled": True,
        "AlarmActions": [TOPIC],
        "OKActions": [TOPIC],
        "StateValue": "OK",
        "Threshold": 80.0,
    }
    return {**given, **changes}


def aws(*alarms: dict[str, Any], key: str | None = KEY, subscriptions: list[tuple[str, str]] | None = None) -> FakeAws:
    attributes = {"TopicArn": TOPIC, "Policy": '{"Statement": []}', "Owner": "123456789012"}
    if key is not None:
        attributes["KmsMasterKeyId"] = key
    listed = [
        {"Protocol": protocol, "SubscriptionArn": arn, "Endpoint": ADDRESS, "Owner": "", "TopicArn": TOPIC}
        for protocol, arn in subscriptions or []
    ]
    return FakeAws(
        {
            "cloudwatch.describe_alarms": {"MetricAlarms": list(alarms)},
            "sns.get_topic_attributes": {"Attributes": attributes},
            "sns.list_subscriptions_by_topic": {"Subscriptions": listed},
        }
    )


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(world: FakeAws, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda module: world)
        with patch_module_args({"alarms": NAMES, "topic_arn": TOPIC, **options}), pytest.raises(SystemExit):
            monitor_info.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def items(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Status and reason by the name of the item."""
    return {item["name"]: (item["status"], item["reason"]) for item in result["evidence"]}


def test_I1_alarms_that_tell_the_topic_are_ok_whatever_their_state(run: Run) -> None:
    result = run(aws(alarm("svc-memory", StateValue="ALARM"), alarm("svc-task-exit")))
    assert result["problems"] == []
    seen = items(result)
    assert seen["alarm_memory.json"] == ("ok", "svc-memory is ALARM, and tells the topic")
    assert seen["alarm_topic.json"] == ("ok", f"encrypted with {KEY}")
    assert seen["alarm_alb-5xx.json"][0] == seen["alarm_alb-latency.json"][0] == "info"
    assert {item["step"] for item in result["evidence"]} == {"I1"}
    kept = next(item["content"] for item in result["evidence"] if item["name"] == "alarm_memory.json")
    assert kept["Threshold"] == 80.0
    assert result["request_ids"] == ["request-1", "request-2", "request-3"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"AlarmActions": []}, "AlarmActions do not have the topic svc-alarms"),
        ({"OKActions": [f"{TOPIC}-other"]}, "OKActions do not have the topic svc-alarms"),
        ({"ActionsEnabled": False}, "actions are disabled"),
    ],
)
def test_I1_an_alarm_that_nobody_would_hear_is_ng(run: Run, changes: dict[str, Any], why: str) -> None:
    result = run(aws(alarm("svc-memory"), alarm("svc-task-exit", **changes)))
    status, reason = items(result)["alarm_task-exit.json"]
    assert (status, result["problems"]) == ("ng", [reason])
    assert "svc-task-exit" in reason and why in reason
    assert items(result)["alarm_memory.json"][0] == "ok"


def test_I1_an_alarm_that_is_not_there_is_ng(run: Run) -> None:
    assert run(aws(alarm("svc-memory")))["problems"] == ["AWS has no alarm svc-task-exit"]


@pytest.mark.parametrize(
    ("key", "why"),
    [(None, "not encrypted"), ("", "not encrypted"), ("alias/aws/sns", "CloudWatch cannot use")],
)
def test_I1_a_topic_in_the_clear_or_under_the_key_of_aws_is_ng(run: Run, key: str | None, why: str) -> None:
    result = run(aws(alarm("svc-memory"), alarm("svc-task-exit"), key=key))
    assert len(result["problems"]) == 1 and why in result["problems"][0]
    assert items(result)["alarm_topic.json"][0] == "ng"


@pytest.mark.parametrize(
    ("subscriptions", "expected"),
    [
        ([], ("info", "nobody has subscribed to the topic: alarms ring unheard")),
        (
            [("email", f"{TOPIC}:1"), ("email", f"{TOPIC}:2"), ("https", f"{TOPIC}:3")],
            ("ok", "heard by 2 email, 1 https"),
        ),
        (
            [("https", f"{TOPIC}:3"), ("email", "PendingConfirmation")],
            ("skip", "nobody hears the alarms by email before that subscription is confirmed"),
        ),
    ],
)
def test_I1_who_hears_is_said_without_an_address(
    run: Run, subscriptions: list[tuple[str, str]], expected: tuple[str, str]
) -> None:
    result = run(aws(alarm("svc-memory"), alarm("svc-task-exit"), subscriptions=subscriptions))
    assert items(result)["alarm_subscriptions.json"] == expected
    assert result["problems"] == []
    assert ADDRESS not in json.dumps(result["evidence"])


def test_I1_with_a_load_balancer_its_alarms_are_asked_for_like_the_others(run: Run) -> None:
    names = {**NAMES, "alb-5xx": "svc-alb-5xx"}
    result = run(aws(alarm("svc-memory"), alarm("svc-task-exit")), alarms=names, load_balancer=True)
    assert result["problems"] == ["AWS has no alarm svc-alb-5xx"]
    assert "alarm_alb-latency.json" not in items(result)


def test_I1_what_aws_refuses_is_said_with_its_step(run: Run) -> None:
    def refuse(asked: Any) -> Any:
        raise Refusal("AccessDenied", "no right to look")

    world = aws(alarm("svc-memory"))
    world.answers["cloudwatch.describe_alarms"] = refuse
    result = run(world)
    assert result["failed"] and result["step"] == "I1"
    assert "no right to look" in result["msg"]
