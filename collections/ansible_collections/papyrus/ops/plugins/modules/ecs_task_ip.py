# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running tasks of an ECS service with addresses, ready to become load balancer targets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_ip
short_description: Find the running tasks of an ECS service with their addresses, images and targets
version_added: 0.1.0
description:
  - Lists the tasks of an Amazon ECS service that run now, with private address, network interface, subnet, zone,
    security groups, image digest, task definition and the state of the ECS Exec agent.
  - Returns RV(targets) as C(RegisterTargets) wants them, see M(papyrus.ops.alb_targets).
  - Tasks that stop, start or cannot be ip targets are left out, each with its reason.
  - Tasks are listed and described 100 a call, network interfaces 200 a call.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  cluster:
    description: Name or ARN of the ECS cluster.
    type: str
    required: true
  service:
    description: Name or ARN of the ECS service.
    type: str
    required: true
  container:
    description:
      - Name of the container that serves requests.
      - May be left out when the task has only one.
    type: str
  port:
    description:
      - Port of the targets.
      - When left out, the only TCP port of the container's definition is taken (one C(DescribeTaskDefinition) call for
        each task definition in use).
    type: int
  empty_ok:
    description:
      - Whether a service without a running task is an answer with empty lists instead of a failure.
    type: bool
    default: false
  private:
    description: The run's private folder. Secrets that the run knows are taken out of the result.
    type: path
seealso:
  - module: papyrus.ops.alb_targets
"""

EXAMPLES = r"""
- name: Find the running task of a service
  papyrus.ops.ecs_task_ip:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    port: 5000
  register: running

- name: Put it behind a target group
  papyrus.ops.alb_targets:
    target_group_arn: "{{ target_group_arn }}"
    targets: "{{ running.targets }}"
    state: present
"""

RETURN = r"""
tasks:
  description: Tasks that can be targets.
  returned: success
  type: list
  elements: dict
  sample:
    - task_arn: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0f6a2c5d8b7e4c0f9a1b2c3d4e5f6a7b
      ip: 10.20.1.17
      eni: eni-0a1b2c3d4e5f60718
      subnet: subnet-0a1b2c3d4e5f60718
      vpc: vpc-0a1b2c3d4e5f60718
      availability_zone: us-west-2a
      security_groups: [sg-0a1b2c3d4e5f60718]
      container: app
      image: 123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus:1f0c2d3
      image_digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
      exec_enabled: true
      exec_agent: RUNNING
      last_status: RUNNING
      health_status: HEALTHY
      started_at: "2026-01-31T12:00:00Z"
      platform: Linux 1.4.0
targets:
  description: The same tasks as targets.
  returned: success
  type: list
  elements: dict
  sample:
    - Id: 10.20.1.17
      Port: 5000
      AvailabilityZone: us-west-2a
left_out:
  description: Tasks that cannot be targets now, and why.
  returned: always
  type: list
  elements: dict
  sample:
    - task_arn: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/1f6a2c5d8b7e4c0f9a1b2c3d4e5f6a7b
      reason: "is stopping (DEACTIVATING): ServiceSchedulerInitiated; Scaling activity initiated by deployment"
stopped:
  description: Stopped tasks that ECS still knows, with exit codes. Only asked for when no task runs.
  returned: always
  type: list
  elements: dict
  sample: []
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _ecs_tasks
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "container": {"type": "str"},
            "port": {"type": "int"},
            "empty_ok": {"type": "bool", "default": False},
            "private": {"type": "path"},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    calls = Calls(_aws.module_clients(module))
    try:
        found = _ecs_tasks.running_tasks(calls, asked["cluster"], asked["service"], asked["container"])
        targets = _ecs_tasks.task_targets(calls, found.tasks, asked["container"], asked["port"])
    except (_aws.AwsFailure, _ecs_tasks.TaskProblem) as exc:
        module.fail_json(msg=str(exc), step="C4", left_out=[], stopped=[], request_ids=calls.request_ids)
    rest = {"left_out": found.left_out, "stopped": found.stopped, "request_ids": calls.request_ids}
    if not found.tasks and not asked["empty_ok"]:
        message = _ecs_tasks.no_task_message(asked["cluster"], asked["service"], found)
        module.fail_json(msg=message, step="C4", **rest)
    module.exit_json(changed=False, tasks=found.tasks, targets=targets, **rest)


if __name__ == "__main__":
    main()
