# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWS has of a service's permanent alarms, as items of evidence: each can ring, and who hears it (I1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import _alarms
from ._calls import Calls
from ._rows import json_safe, listing

STEP = "I1"
_OF_AWS = "alias/aws/sns"
_WORDS: dict[str, str] = {"ok": "OK", "ng": "NG", "skip": "SKIP", "info": "INFO"}
# Whoever reads the evidence has no business with an address; a URL can have a key in it.
_TOPIC = ("TopicArn", "KmsMasterKeyId", "Policy", "SubscriptionsConfirmed", "SubscriptionsPending")


def look(calls: Calls, alarms: Mapping[str, str], topic_arn: str, *, watched: bool) -> list[dict[str, Any]]:
    """Items for evidence_capture: one an alarm (`alarms`: name by kind), one of the topic, one of who hears it.

    `watched` is whether a load balancer is named; without one its alarms are left out. Reads only. AwsFailure.
    """
    found = _alarms.describe(calls, list(alarms.values()))
    items = [_alarm(kind, name, found.get(name), topic_arn) for kind, name in alarms.items()]
    if not watched:
        items += [
            _item(f"alarm_{kind}.json", "info", f"no {kind}: no load balancer is named, so none is watched", {})
            for kind in _alarms.OF_LOAD_BALANCER
        ]
    answer = calls.call("sns", "get_topic_attributes", topic_arn, TopicArn=topic_arn)
    items.append(_topic(dict(answer.get("Attributes") or {})))
    items.append(_heard(_alarms.subscriptions(calls, topic_arn)))
    items[-1]["meta"]["request_ids"] = list(calls.request_ids)
    return items


def _alarm(kind: str, name: str, alarm: Mapping[str, Any] | None, topic_arn: str) -> dict[str, Any]:
    if alarm is None:
        return _item(f"alarm_{kind}.json", "ng", f"AWS has no alarm {name}", {"AlarmName": name})
    problems = _alarms.without_the_topic(alarm, topic_arn)
    said = f"{name}: {'; '.join(problems)}" if problems else f"{name} is {alarm['StateValue']}, and tells the topic"
    return _item(f"alarm_{kind}.json", "ng" if problems else "ok", said, alarm)


def _topic(attributes: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: attributes[key] for key in _TOPIC if key in attributes}
    if "Policy" in shown:
        shown["Policy"] = json.loads(str(shown["Policy"]))
    key = str(attributes.get("KmsMasterKeyId") or "")
    if not key:
        status, said = "ng", "the topic is not encrypted"
    elif key.endswith(_OF_AWS):
        status, said = "ng", f"the topic is encrypted with {_OF_AWS}, which CloudWatch cannot use: no alarm arrives"
    else:
        status, said = "ok", f"encrypted with {key}"
    return _item("alarm_topic.json", status, said, shown)


def _heard(subscriptions: list[dict[str, str]]) -> dict[str, Any]:
    """What waits for its confirmation hears nothing. That there is nobody is the inventory's choice, and is said."""
    pending = [each["protocol"] for each in subscriptions if each["state"] != "confirmed"]
    if pending:
        status, said = "skip", f"nobody hears the alarms by {listing(pending)} before that subscription is confirmed"
    elif subscriptions:
        status, said = "ok", f"heard by {_alarms.Look({}, {}, subscriptions).heard_by()}"
    else:
        status, said = "info", "nobody has subscribed to the topic: alarms ring unheard"
    return _item("alarm_subscriptions.json", status, said, subscriptions)


def _item(name: str, status: str, reason: str, content: Any) -> dict[str, Any]:
    return {"name": name, "step": STEP, "status": status, "reason": reason, "content": json_safe(content), "meta": {}}


def text(items: list[dict[str, Any]]) -> str:
    """One line an item, for the operator."""
    return "\n".join(f"{_WORDS[item['status']]:<4}  {item['step']}  {item['reason']}" for item in items)
