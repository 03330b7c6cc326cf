# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages are pages only when they are an alarm's and came through the drilled topic; each counts once (I1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._drill_messages import Receiver, page_of
from ansible_collections.papyrus.ops.tests.unit.drill_world import QUEUE, TOPIC, World

MESSAGE = {
    "AlarmName": "svc-cpu",
    "AlarmDescription": "CPU is high",
    "OldStateValue": "OK",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed",
    "StateChangeTime": "2026-01-31T12:00:01.250+0000",
}
ENVELOPE = {
    "Type": "Notification",
    "TopicArn": TOPIC,
    "MessageId": "m1",
    "Subject": 'ALARM: "svc-cpu"',
    "Timestamp": "2026-01-31T12:00:01.500Z",
}


def body(envelope: dict[str, Any] | None = None, **message: Any) -> str:
    return json.dumps({**ENVELOPE, "Message": json.dumps({**MESSAGE, **message}), **(envelope or {})})


def test_I1_a_page_has_what_its_reader_sees() -> None:
    page = page_of(body(), TOPIC)
    assert page is not None
    assert page.as_dict() == {
        "alarm": "svc-cpu",
        "old": "OK",
        "new": "ALARM",
        "at": "2026-01-31T12:00:01.250+0000",
        "sent": "2026-01-31T12:00:01.500Z",
        "message_id": "m1",
        "subject": 'ALARM: "svc-cpu"',
        "description": "CPU is high",
        "reason": "Threshold Crossed",
    }
    assert page.moment is not None
    assert page.moment.isoformat() == "2026-01-31T12:00:01.250000+00:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        json.dumps({**ENVELOPE, "Message": "Test notification"}),
        json.dumps({**ENVELOPE, "Message": {"AlarmName": "x"}}),
        json.dumps({**ENVELOPE, "Message": None}),
        body({"TopicArn": TOPIC + "-of-another"}),
        body({"Type": "SubscriptionConfirmation"}),
        body(AlarmName=""),
        body(NewStateValue=None),
    ],
)
def test_I1_what_is_no_page_of_this_topic_is_none(text: str) -> None:
    assert page_of(text, TOPIC) is None


def test_I1_a_strange_time_is_no_time_and_no_error() -> None:
    page = page_of(body(StateChangeTime="yesterday"), TOPIC)
    assert page is not None
    assert page.moment is None


def test_I1_a_page_that_comes_twice_is_one_and_all_are_taken() -> None:
    world = World()
    for number in range(23):
        world.put({**ENVELOPE, "MessageId": f"m{number % 20}", "Message": json.dumps(MESSAGE)})
    world.put({"Type": "something"})
    receiver = Receiver(Calls(world.aws), QUEUE, TOPIC)
    assert [page.message_id for page in receiver.receive()] == [f"m{number}" for number in range(20)]
    assert (receiver.others, world.queue) == (1, [])
    assert receiver.receive() == []
    assert {params["WaitTimeSeconds"] for params in world.aws.sent("sqs.receive_message")} == {1}
