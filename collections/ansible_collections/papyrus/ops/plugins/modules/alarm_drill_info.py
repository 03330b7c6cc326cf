#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the permanent alarms of a service before they are drilled."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alarm_drill_info
short_description: Look whether the permanent alarms of a service can be drilled
version_added: 0.1.0
description:
  - Reads the alarms C(<name>-<kind>) as AWS has them, the topic that they ring, and what serves. Changes nothing.
  - Kinds are V(memory), V(cpu), V(alb-5xx), V(alb-latency), V(task-exit), V(task-start).
  - An alarm is NG when it is not there, does not ring the topic for ALARM and for OK, has its actions disabled,
    is in ALARM already, has no data, or cannot be copied. The two of the load balancer are SKIP when none is named.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Reads only, so check mode makes no difference.
  diff_mode:
    support: N/A
    details:
      - Reads only.
  idempotent:
    support: full
    details:
      - Reads only.
options:
  name:
    description: What the names of the alarms begin with.
    type: str
    required: true
  topic_arn:
    description: The topic that they have to ring.
    type: str
    required: true
  load_balancer:
    description: Whether a permanent load balancer is named, so that its two alarms have to be there.
    type: bool
    default: false
  cluster:
    description: ECS cluster of the service.
    type: str
    required: true
  service:
    description: The service.
    type: str
    required: true
  container:
    description: Container of the app. May be left out when the task has only one.
    type: str
  settle:
    description: Seconds for which an alarm without data is looked at again, as one that was made just now has none yet.
    type: float
    default: 0
seealso:
  - module: papyrus.ops.alarm_drill
"""

EXAMPLES = r"""
- name: Look at the alarms of the service
  papyrus.ops.alarm_drill_info:
    name: papyrus-task-service
    topic_arn: arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
  register: alarms
"""

RETURN = r"""
ok:
  description: Whether every alarm that has to be there can be drilled.
  returned: always
  type: bool
  sample: true
text:
  description: One line an alarm.
  returned: always
  type: str
  sample: "OK  I1  papyrus-task-service-memory  OK, rings papyrus-task-service-alarms"
rows:
  description: Each alarm by kind, with its status (V(ok), V(ng), V(skip)) and the reason.
  returned: always
  type: dict
  sample:
    memory:
      id: I1
      title: papyrus-task-service-memory
      status: ok
      reason: OK, rings papyrus-task-service-alarms
      data: {}
      request_ids: []
problems:
  description: What is wrong with the alarms that are NG.
  returned: always
  type: list
  elements: str
  sample: []
drilled:
  description: Kinds that can be drilled.
  returned: always
  type: list
  elements: str
  sample: [memory, cpu, task-exit, task-start]
alarms:
  description: Their alarms by kind, as the stack of the drill copies them.
  returned: always
  type: dict
  sample:
    memory:
      name: papyrus-task-service-memory
      description: Memory of papyrus-task-service is above 80 % on average.
      comparison_operator: GreaterThanThreshold
      threshold: 80.0
      evaluation_periods: 5
      datapoints_to_alarm: 2
      treat_missing_data: breaching
      evaluate_low_sample_count_percentiles: null
      actions_enabled: true
      alarm_actions: [arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms]
      ok_actions: [arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms]
      insufficient_data_actions: []
      metrics:
        - id: ''
          namespace: AWS/ECS
          metric_name: MemoryUtilization
          dimensions: {ClusterName: papyrus-ecs-prd, ServiceName: papyrus-task-service}
          period: 60
          unit: null
          statistic: Average
          extended_statistic: null
      expressions: []
copied:
  description: Those of them that are drilled by a copy.
  returned: always
  type: dict
  sample: {}
heard_by:
  description: Who has subscribed to the topic, by protocol.
  returned: always
  type: str
  sample: 2 email, 1 https
subscriptions:
  description: Protocol and state of each subscription of the topic.
  returned: always
  type: list
  elements: dict
  sample:
    - {protocol: email, state: confirmed}
running:
  description: Revision, image and network of the service.
  returned: always
  type: dict
  sample:
    task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
    image_repository: 123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus
    execution_role_arn: arn:aws:iam::123456789012:role/papyrusTaskExecutionRole
    subnets: [subnet-0aaa1111bbbb2222c]
    assign_public_ip: false
    launch_type: FARGATE
    platform_version: LATEST
    capacity_providers: []
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _alarms, _aws, _ecs_tasks
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure
from ansible_collections.papyrus.ops.plugins.module_utils._rows import table

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "topic_arn": {"type": "str", "required": True},
    "load_balancer": {"type": "bool", "default": False},
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str"},
    "settle": {"type": "float", "default": 0},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    calls = Calls(_aws.module_clients(module))
    try:
        seen = _alarms.look(
            calls, asked["name"], asked["topic_arn"], load_balancer=asked["load_balancer"], settle=asked["settle"]
        )
        running = _alarms.running(calls, asked["cluster"], asked["service"], asked["container"])
    except (_aws.AwsFailure, _ecs_tasks.TaskProblem) as exc:
        module.fail_json(msg=str(exc), step=_alarms.STEP, request_ids=calls.request_ids)
    drilled = seen.kinds("ok")
    alarms = {kind: _alarms.copy_of(seen.alarms[kind]) for kind in drilled}
    module.exit_json(
        changed=False,
        ok=not seen.kinds("ng"),
        text=table(seen.rows.values()),
        rows={kind: row.as_dict() for kind, row in seen.rows.items()},
        problems=[seen.rows[kind].reason for kind in seen.kinds("ng")],
        drilled=drilled,
        alarms=alarms,
        copied={kind: alarm for kind, alarm in alarms.items() if kind in _alarms.COPIED},
        heard_by=seen.heard_by(),
        subscriptions=seen.subscriptions,
        running=running,
        request_ids=calls.request_ids,
    )


if __name__ == "__main__":
    main()
