# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the log of a task's container is, and its last lines, as far as they are in CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _aws
from ._calls import Calls
from ._ecs_tasks import short


def place(definition: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, str]:
    """`group`, `stream` and `region` of a container's log; else `note` says why it cannot be read. Pure.

    `definition` is the container's part of the task definition. Without a stream prefix the stream has the container's
    id as its name: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LogConfiguration.html (options)
    """
    configuration: Mapping[str, Any] = definition.get("logConfiguration") or {}
    options: Mapping[str, str] = configuration.get("options") or {}
    driver, name = str(configuration.get("logDriver") or ""), definition.get("name")
    if driver != "awslogs":
        return {"note": f"its log goes to the log driver {driver}: look there" if driver else "it has no log driver"}
    prefix, group = options.get("awslogs-stream-prefix", ""), options.get("awslogs-group", "")
    containers = [item for item in task.get("containers") or [] if item.get("name") == name]
    own = next((str(item.get("runtimeId") or "") for item in containers), "")
    stream = f"{prefix}/{name}/{short(str(task.get('taskArn')))}" if prefix else own
    if not group or not stream:
        return {"note": f"its log stream is not known (log group {group or 'none'}, no stream prefix, no runtime id)"}
    return {"group": group, "stream": stream, "region": options.get("awslogs-region", "")}


def last_lines(calls: Calls, log: Mapping[str, Any], limit: int) -> tuple[list[str], str]:
    """The last lines of the log at a `place`, and why there are none (one GetLogEvents).

    Both are empty while the stream does not exist, as the container's first line makes it, or has nothing to show yet.
    """
    try:
        region = str(calls.clients("logs").meta.region_name)
        if log.get("region") and log["region"] != region:
            return [], f"its log is in the region {log['region']}, which is not asked"
        answer = calls.call(
            "logs",
            "get_log_events",
            f"log stream {log['stream']} of {log['group']}",
            logGroupName=log["group"],
            logStreamName=log["stream"],
            limit=limit,
            startFromHead=False,
        )
    except _aws.AwsFailure as exc:
        return [], "" if exc.missing else f"its log could not be read: {exc}"
    lines = [line for event in answer.get("events") or [] for line in str(event.get("message") or "").splitlines()]
    return lines[-limit:], ""
