# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registers, awaits and deregisters ip targets of a load balancer's target group."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alb_targets
short_description: Register targets in a target group and wait until they are healthy, with a diagnosis
version_added: 0.1.0
description:
  - Registers or deregisters ip targets and waits for the result.
  - Each look at the targets' health is returned with state, reason and time, also when the wait fails.
  - The wait ends early on what cannot heal (a 404 on the health check's path, a stopped task, a target group that no
    listener uses, a closed security group) and says the likely cause. What an application may do while it starts is
    borne for O(patience) seconds.
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
      - Asks C(DescribeTargetHealth) and predicts what would be registered or deregistered. Does not wait.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  target_group_arn:
    description: ARN of the target group.
    type: str
    required: true
  targets:
    description: Targets as returned by M(papyrus.ops.ecs_task_ip).
    type: list
    elements: dict
    required: true
    suboptions:
      Id:
        description: IPv4 address.
        type: str
        required: true
      Port:
        description: TCP port.
        type: int
        required: true
      AvailabilityZone:
        description: Zone of the address.
        type: str
  state:
    description: Whether the targets are registered.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description: Whether to wait until all targets are healthy, or no longer listed.
    type: bool
    default: true
  timeout:
    description: Seconds to wait at most.
    type: float
    default: 180
  interval:
    description: Seconds between two looks. The first ones come sooner, from an eighth of it on.
    type: float
    default: 2
  patience:
    description:
      - Seconds for which a refused connection or a 5xx is borne, counted from when it was first seen.
    type: float
    default: 45
  cluster:
    description: ECS cluster of O(task_arns).
    type: str
  task_arns:
    description:
      - Tasks behind the targets, in O(cluster). When one stops, the wait ends with its stop reason and exit code.
    type: list
    elements: str
    default: []
  health_path:
    description: Path of the health check, for the diagnosis. That of the target group when left out.
    type: str
    default: ''
  private:
    description: The run's private folder. Secrets that the run knows are taken out of the result.
    type: path
  diagnose_security_groups:
    description:
      - Security groups to look at when a target does not answer in time.
    type: dict
    suboptions:
      load_balancer:
        description: Groups of the load balancer.
        type: list
        elements: str
        required: true
      tasks:
        description: Groups of the tasks.
        type: list
        elements: str
        required: true
seealso:
  - module: papyrus.ops.ecs_task_ip
"""

EXAMPLES = r"""
- name: Put the running task behind the temporary ALB and wait until it is healthy
  papyrus.ops.alb_targets:
    target_group_arn: "{{ target_group_arn }}"
    targets: "{{ running.targets }}"
    cluster: papyrus-ecs-prd
    task_arns: "{{ running.tasks | map(attribute='task_arn') }}"
    health_path: /healthz
    diagnose_security_groups:
      load_balancer: ["{{ alb_security_group_id }}"]
      tasks: "{{ running.tasks | map(attribute='security_groups') | flatten | unique }}"
"""

RETURN = r"""
changed_targets:
  description: Targets that were, or in check mode would be, registered or deregistered.
  returned: always
  type: list
  elements: dict
  sample:
    - {Id: 10.20.1.17, Port: 5000, AvailabilityZone: us-west-2a}
health:
  description: The last state of each target.
  returned: always
  type: list
  elements: dict
  sample:
    - {id: 10.20.1.17, port: 5000, state: healthy, reason: '', description: ''}
polls:
  description: Each look at the targets, for the evidence file C(target_health.jsonl).
  returned: always
  type: list
  elements: dict
  sample:
    - poll: 1
      at: "2026-01-31T12:00:00.123456Z"
      elapsed: 0.0
      targets:
        - id: 10.20.1.17
          port: 5000
          state: initial
          reason: Elb.RegistrationInProgress
          description: Target registration is in progress
      tasks_gone: []
      judgement: go on
      reason: 10.20.1.17:5000 is still being registered or checked for the first time
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
cause:
  description:
    - A stable word for why the targets are not healthy. Empty when they are.
    - V(security_group_closed), V(timeout), V(connection_failed), V(path_404), V(path_5xx), V(path_other), V(task_gone),
      V(not_in_use), V(not_registered), V(target_unusable), V(draining), V(pending) or V(unknown).
  returned: always
  type: str
  sample: ''
diagnosis:
  description: The same in words.
  returned: always
  type: str
  sample: 1 of 1 targets are healthy
elapsed:
  description: Seconds that were waited.
  returned: always
  type: float
  sample: 12.3
request_ids:
  description: Request ids of the AWS calls before the wait. Those of each look are in RV(polls).
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _targets, _targets_wait
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

GROUPS = {"type": "list", "elements": "str", "required": True}
ARGUMENTS = {
    "target_group_arn": {"type": "str", "required": True},
    "targets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "Id": {"type": "str", "required": True},
            "Port": {"type": "int", "required": True},
            "AvailabilityZone": {"type": "str"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 180},
    "interval": {"type": "float", "default": 2},
    "patience": {"type": "float", "default": 45},
    "cluster": {"type": "str"},
    "task_arns": {"type": "list", "elements": "str", "default": []},
    "health_path": {"type": "str", "default": ""},
    "private": {"type": "path"},
    "diagnose_security_groups": {"type": "dict", "options": {"load_balancer": GROUPS, "tasks": GROUPS}},
}


def plan_of(asked: dict, targets: list) -> _targets_wait.Plan:
    groups = asked["diagnose_security_groups"] or {"load_balancer": [], "tasks": []}
    return _targets_wait.Plan(
        target_group_arn=asked["target_group_arn"],
        targets=targets,
        timeout=asked["timeout"],
        interval=asked["interval"],
        patience=_targets.Patience(answers=asked["patience"]),
        cluster=asked["cluster"],
        task_arns=tuple(asked["task_arns"]),
        load_balancer_groups=tuple(groups["load_balancer"]),
        task_groups=tuple(groups["tasks"]),
        health_path=asked["health_path"],
    )


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    targets = [{key: value for key, value in target.items() if value is not None} for target in asked["targets"]]
    calls = Calls(_aws.module_clients(module))
    waiter = _targets_wait.Waiter(calls, plan_of(asked, targets))
    result = {"changed": False, "changed_targets": [], "polls": waiter.polls, "health": [], "cause": "", "elapsed": 0.0}
    try:
        known = _targets.describe(calls, asked["target_group_arn"])
        result["health"] = [state.as_dict() for state in _targets.states(known, targets)]
        present = asked["state"] == "present"
        changes = _targets.to_register(known, targets) if present else _targets.to_deregister(known, targets)
        result.update(changed=bool(changes), changed_targets=changes, **_targets.difference(known, changes, present))
        waited, before = None, calls.request_ids
        if not module.check_mode:
            if changes:
                act = _targets.register if present else _targets.deregister
                act(calls, asked["target_group_arn"], changes)
            before = list(calls.request_ids)
            if asked["wait"]:
                waited = waiter.until_healthy() if present else waiter.until_gone()
    except _aws.AwsFailure as exc:
        module.fail_json(msg=str(exc), step="C5", request_ids=calls.request_ids, diagnosis=str(exc), **result)
    diagnosis = waited.diagnosis if waited else "not waited for"
    if waited:
        result.update(cause=waited.cause, elapsed=round(waited.elapsed, 3), health=waited.polls[-1]["targets"])
    result.update(request_ids=before, diagnosis=diagnosis)
    if waited and not waited.ok:
        group = _targets.short_group(asked["target_group_arn"])
        wanted = "healthy" if present else "deregistered"
        module.fail_json(msg=f"targets of {group} are not {wanted}: {diagnosis}", step="C5", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
