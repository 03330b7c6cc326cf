# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the drill hears: messages of alarms that SNS puts into a queue, as everybody else on the topic gets them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._calls import Calls

BATCH = 10
"""Messages that SQS gives and deletes in one call:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""


@dataclass(frozen=True)
class Page:
    """One message of an alarm. `at` is the time of the transition and `sent` that of the message, as AWS wrote them."""

    alarm: str
    old: str
    new: str
    at: str = ""
    sent: str = ""
    message_id: str = ""
    subject: str = ""
    description: str = ""
    reason: str = ""

    @property
    def moment(self) -> dt.datetime | None:
        """`at` as a time; None when it is none. AWS writes +0000 for the zone."""
        try:
            return dt.datetime.strptime(self.at, "%Y-%m-%dT%H:%M:%S.%f%z")
        except ValueError:
            return None

    def as_dict(self) -> dict[str, str]:
        return {**vars(self)}


def page_of(body: str, topic_arn: str) -> Page | None:
    """The page in a message's body; None when it is none of an alarm, or not of this topic. Never raises.

    Shapes: https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html around
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
    """
    envelope = _object(body)
    message = _object(envelope.get("Message"))
    if envelope.get("Type") != "Notification" or envelope.get("TopicArn") != topic_arn:
        return None
    if not message.get("AlarmName") or not message.get("NewStateValue"):
        return None
    return Page(
        alarm=str(message["AlarmName"]),
        old=str(message.get("OldStateValue") or ""),
        new=str(message["NewStateValue"]),
        at=str(message.get("StateChangeTime") or ""),
        sent=str(envelope.get("Timestamp") or ""),
        message_id=str(envelope.get("MessageId") or ""),
        subject=str(envelope.get("Subject") or ""),
        description=str(message.get("AlarmDescription") or ""),
        reason=str(message.get("NewStateReason") or ""),
    )


def _object(text: Any) -> Mapping[str, Any]:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}


class Receiver:
    """Takes pages out of the queue; each comes once. `others` counts messages that are no pages of the topic."""

    def __init__(self, calls: Calls, queue_url: str, topic_arn: str, *, wait: int = 1) -> None:
        self.calls = calls
        self.queue_url = queue_url
        self.topic_arn = topic_arn
        self.wait = wait  # seconds; not 0, as a short poll asks some of SQS' servers only
        self.others = 0
        self._seen: set[str] = set()

    def receive(self) -> list[Page]:
        """What is in the queue now. AwsFailure when it cannot be asked."""
        pages: list[Page] = []
        while True:
            answer = self.calls.call(
                "sqs",
                "receive_message",
                self.queue_url,
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=self.wait,
            )
            messages = answer.get("Messages") or []
            pages += self._new(messages)
            if messages:
                handles = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ]
                self.calls.call("sqs", "delete_message_batch", self.queue_url, QueueUrl=self.queue_url, Entries=handles)
            if len(messages) < BATCH:
                return pages

    def _new(self, messages: list[Mapping[str, Any]]) -> list[Page]:
        """SQS and SNS deliver at least once: what came twice is one page."""
        pages = []
        for message in messages:
            page = page_of(str(message.get("Body") or ""), self.topic_arn)
            if page is None:
                self.others += 1
            elif page.message_id not in self._seen:
                self._seen.add(page.message_id)
                pages.append(page)
        return pages
