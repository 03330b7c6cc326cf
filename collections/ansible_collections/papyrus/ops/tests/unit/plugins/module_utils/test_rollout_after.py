# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After an interrupted rollout the bundle says what the service runs; after a verdict nobody asks (F3, C6)."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _rollout_after
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

OLD, NEW = f"{shapes.PREFIX}:task-definition/papyrus-task:6", shapes.DEFINITION
NOTE = {
    "name": "rollout.jsonl",
    "meta": {
        "release": {
            "result": "failed",
            "serving": "",
            "task_definition": NEW,
            "cause": "interrupted before its verdict",
        },
        "service": {"cluster": shapes.CLUSTER, "service": shapes.SERVICE},
    },
}
VERDICT = {"name": "rollout.jsonl", "meta": {"release": {"result": "deployed", "serving": NEW}}}


def test_F3_only_a_note_without_a_verdict_after_it_is_unfinished() -> None:
    other: dict[str, Any] = {"name": "healthz.log", "meta": {}}
    found = _rollout_after.unfinished([other, NOTE, other])
    assert found is not None
    assert (found.cluster, found.service, found.release["task_definition"]) == (shapes.CLUSTER, shapes.SERVICE, NEW)
    assert _rollout_after.unfinished([NOTE, VERDICT, other]) is None
    assert _rollout_after.unfinished([other]) is None
    assert _rollout_after.unfinished([NOTE, VERDICT, NOTE]) is not None


def test_F3_what_runs_after_the_interruption_is_told_with_what_the_service_asks_for() -> None:
    tasks = [
        shapes.task(1, taskDefinitionArn=OLD),
        shapes.task(2, taskDefinitionArn=OLD),
        shapes.task(3),
        shapes.task(4, lastStatus="PENDING"),
    ]
    answers = shapes.answers(tasks)
    deployments = [
        {"status": "PRIMARY", "taskDefinition": NEW, "rolloutState": "IN_PROGRESS"},
        {"status": "ACTIVE", "taskDefinition": OLD, "rolloutState": "COMPLETED"},
    ]
    answers["ecs.describe_services"] = {
        "services": [shapes.service(taskDefinition=NEW, deployments=deployments, desiredCount=3)]
    }
    aws = FakeAws(answers)
    left = _rollout_after.unfinished([NOTE])
    assert left is not None
    content, meta = _rollout_after.look(Calls(aws), left)
    assert meta["release"]["serving"] == OLD
    assert meta["release"]["result"] == "failed"
    assert meta["release"]["cause"] == (
        "interrupted before its verdict; nobody went back: the service asks for papyrus-task:7 (papyrus-task:7 PRIMARY "
        "IN_PROGRESS, papyrus-task:6 ACTIVE COMPLETED), 2 × papyrus-task:6, 1 × papyrus-task:7 running, 3 desired"
    )
    assert json.loads(content)["running"] == {OLD: 2, NEW: 1}
    assert len(meta["request_ids"]) == 3
    assert aws.names == ["ecs.describe_services", "ecs.list_tasks", "ecs.describe_tasks"]
