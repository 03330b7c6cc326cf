#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deletes what runs have left in AWS, and proves that it is gone."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_leftovers
short_description: Delete what runs have left in AWS, and prove that it is gone
version_added: 0.1.0
description:
  - Finds what runs of O(service) have left, by tags and descriptions alone, and deletes it in the order in which AWS
    lets go. It reads no Terraform state, and needs nothing of the machine on which the run was.
  - Load balancers go first, with their listeners. Then what a drill of alarms made (O(drill)), target groups, rules on
    groups of others, and security groups when AWS has taken away the network interfaces that hold them.
  - Only what carries all three marks (run id, expiry, service) is deleted, and only when they can be believed. The
    expiry is one that the run can have, the name ends with the suffix of the run, and a load balancer has no deletion
    protection. Everything else is listed with the reason why it is left alone.
  - Without O(run_ids) whatever is expired goes, by the clock of AWS. Runs of O(run_ids) go before their lease is over.
  - A run whose guard or C(ansible-playbook) lives on this machine, as this user, is never touched.
  - Any number of sweeps may run at once, and each may be repeated. What is gone already is no failure.
  - At the end AWS is asked again for everything. A call that was not answered never counts as gone.
  - The callback P(papyrus.ops.live#callback) shows its progress while it runs on the controller.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.drill_place
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Lists what would be deleted, and why the rest would not. Makes no call that changes anything.
  diff_mode:
    support: full
    details:
      - Shows what is deleted, a line each.
  idempotent:
    support: full
options:
  state:
    description: Leftovers can only be made absent.
    type: str
    choices: [absent]
    default: absent
  service:
    description: Only what is marked for exactly this service.
    type: str
    required: true
  run_ids:
    description:
      - Only what these runs have left, whether their lease is over or not. Empty for all runs whose lease is over.
    type: list
    elements: str
    default: []
  tag_prefix:
    description: First part of the tags' keys and of the descriptions.
    type: str
    default: papyrus
  name_prefix:
    description:
      - What is named C(<name_prefix>-<six characters>) without our tags is listed as well. It is never deleted.
    type: str
  timeout:
    description:
      - Seconds that it may take until AWS has let go of everything. Network interfaces of a load balancer outlive it by
        minutes, seldom by half an hour.
    type: float
    default: 2100
  interval:
    description: Seconds between two looks while it waits.
    type: float
    default: 10
  tolerate_held:
    description:
      - Whether it is no failure that AWS still holds something when O(timeout) is over, as long as nothing was refused.
    type: bool
    default: false
  step:
    description: Id of the step under which the items of RV(evidence) are kept.
    type: str
    choices: [C7, B9]
    default: C7
  private:
    description: Run-private folder. Secrets that the run has read are taken out of what is told.
    type: path
notes:
  - Needs the permissions C(DescribeLoadBalancers), C(DescribeLoadBalancerAttributes), C(DescribeTargetGroups),
    C(DescribeListeners), C(DescribeTags), C(DeleteListener), C(DeleteLoadBalancer) and C(DeleteTargetGroup) of
    C(elasticloadbalancing), and C(DescribeSecurityGroups), C(DescribeNetworkInterfaces),
    C(RevokeSecurityGroupIngress) and C(DeleteSecurityGroup) of C(ec2).
  - With O(drill) also C(cloudwatch:DescribeAlarms), C(cloudwatch:ListTagsForResource), C(cloudwatch:DeleteAlarms),
    C(sqs:ListQueues), C(sqs:ListQueueTags), C(sqs:DeleteQueue), C(sns:ListSubscriptionsByTopic), C(sns:Unsubscribe),
    C(ecs:ListServices), C(ecs:DescribeServices), C(ecs:DeleteService), C(ecs:ListTasks), C(ecs:DescribeTasks),
    C(ecs:StopTask), C(ecs:ListTaskDefinitionFamilies), C(ecs:ListTaskDefinitions), C(ecs:DescribeTaskDefinition) and
    C(ecs:DeregisterTaskDefinition).
seealso:
  - module: papyrus.ops.run_leftovers_info
  - module: papyrus.ops.run_open
"""

EXAMPLES = r"""
- name: Delete what expired runs of the service have left
  papyrus.ops.run_leftovers:
    service: papyrus-task-service
    name_prefix: papyrus-smoke

- name: Delete what one run has left, now
  papyrus.ops.run_leftovers:
    service: papyrus-task-service
    run_ids: [20260131T120000Z-abc234]
"""

RETURN = r"""
text:
  description: The sweep in one sentence.
  returned: always
  type: str
  sample: >-
    1 load balancer, 1 target group, 1 security group rule, 1 security group deleted of 20260131T120000Z-abc234;
    34 calls, the last look was answered whole and shows nothing that was to go
leftovers:
  description: What was found before anything was deleted.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Such as V(load_balancer), V(target_group), V(security_group_rule), V(security_group).
      type: str
      sample: target_group
    id:
      description: ARN or id. A rule has group, direction, protocol, port and peer.
      type: str
      sample: arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/papyrus-smoke-abc234/73e2d6bc24d8a067
    name:
      description: Name or description.
      type: str
      sample: papyrus-smoke-abc234
    run_id:
      description: Run that made it.
      type: str
      sample: 20260131T120000Z-abc234
    age:
      description: Seconds since that run began.
      type: int
      sample: 7204
    expires_at:
      description: End of that run's lease.
      type: str
      sample: "2026-01-31T13:00:00Z"
    service:
      description: Service that it was made for.
      type: str
      sample: papyrus-task-service
    swept:
      description: Whether it is deleted, or in check mode would be.
      type: bool
      sample: true
    reason:
      description: Why it is, or why it is not.
      type: str
      sample: the lease of its run ended at 2026-01-31T13:00:00Z
deleted:
  description: What is gone now. C(how) tells what was gone already. In check mode what would be deleted.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: target_group
      id: arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/papyrus-smoke-abc234/73e2d6bc24d8a067
      name: papyrus-smoke-abc234
      run_id: 20260131T120000Z-abc234
      how: deleted
spared:
  description: What was seen and left alone, each with its C(reason).
  returned: always
  type: list
  elements: dict
  sample:
    - kind: load_balancer
      id: arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-zzz777/50dc6c495c0c9188
      name: papyrus-smoke-zzz777
      reason: it bears our name and none of our tags
untouched:
  description: RV(spared) in words, a line for each run and reason.
  returned: always
  type: list
  elements: str
  sample:
    - 'left alone: 1 load balancer (papyrus-smoke-zzz777): it bears our name and none of our tags'
not_deleted:
  description: What was to be deleted and is still there, each with C(error) and C(hint).
    C(held) is true for what AWS only has not let go of yet.
  returned: always
  type: list
  elements: dict
  sample: []
gone:
  description: Whether every call of the last look was answered and nothing is there that was to go.
  returned: always
  type: bool
  sample: true
log:
  description: A line for each call that deletes.
  returned: always
  type: list
  elements: str
  sample:
    - >-
      2026-01-31T14:00:03.120000Z DeleteSecurityGroup papyrus-smoke-abc234 (sg-0123456789abcdef0): done (request id
      7a1b2c3d-0000-4000-8000-9e8d7c6b5a40)
calls:
  description: Number of calls by operation.
  returned: always
  type: dict
  sample: {DescribeLoadBalancers: 2, DescribeTags: 4, DeleteLoadBalancer: 1}
by_hand:
  description: AWS CLI commands that delete what is still there.
  returned: always
  type: list
  elements: str
  sample: []
seconds:
  description: Seconds that it took.
  returned: always
  type: float
  sample: 4.2
evidence:
  description: Items for M(papyrus.ops.evidence_capture).
  returned: always
  type: list
  elements: dict
  sample:
    - name: alb_sg_delete.log
      status: info
      step: C7
      content: nothing was deleted
"""

import os

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils._aws import module_clients
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope, by_hand
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers_drill import OPTION, DrillScope
from ansible_collections.papyrus.ops.plugins.module_utils._names import check_prefix, utc_now
from ansible_collections.papyrus.ops.plugins.module_utils._progress import PROGRESS
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure
from ansible_collections.papyrus.ops.plugins.module_utils._run_end import alive_runs
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, sweep
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_report import (
    evidence,
    held_only,
    text_of,
    told,
    unswept,
    untouched,
)

ARGUMENTS = {
    "state": {"type": "str", "choices": ["absent"], "default": "absent"},
    "service": {"type": "str", "required": True},
    "run_ids": {"type": "list", "elements": "str", "default": []},
    "tag_prefix": {"type": "str", "default": "papyrus"},
    "name_prefix": {"type": "str"},
    "drill": OPTION,
    "timeout": {"type": "float", "default": 2100},
    "interval": {"type": "float", "default": 10},
    "tolerate_held": {"type": "bool", "default": False},
    "step": {"type": "str", "choices": ["C7", "B9"], "default": "C7"},
    "private": {"type": "path"},
}


def scope_of(given: dict) -> Scope:
    """All runs of the service, or the only one that was named."""
    return Scope(
        tag_prefix=check_prefix(given["tag_prefix"]),
        service=given["service"],
        run_id=given["run_ids"][0] if len(given["run_ids"]) == 1 else "",
        name_prefix=given["name_prefix"] or "",
        drill=DrillScope(**given["drill"]) if given["drill"] else None,
    )


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    given = module.params
    try:
        scope = scope_of(given)
        order = Order(given["service"], frozenset(given["run_ids"]), alive_runs(os.environ))
        if given["interval"] <= 0:
            raise ValueError(f"interval must be more than 0 seconds, not {given['interval']:g}")
    except ValueError as exc:
        module.fail_json(msg=str(exc), step=given["step"])
    swept = sweep(
        module_clients(module),
        scope,
        order,
        timeout=given["timeout"],
        interval=given["interval"],
        say=PROGRESS.line,
        dry=module.check_mode,
    )
    hand = by_hand(unswept(swept), module.region or "")
    text = text_of(swept, order)
    result = {
        "text": text,
        "leftovers": told(swept.before, order, swept.before.asked_at or utc_now()),
        "changed": any(each["how"] in ("deleted", "would be deleted") for each in swept.deleted),
        "diff": {"before": "".join(f"{each['kind']} {each['id']}\n" for each in swept.deleted), "after": ""},
        "by_hand": hand,
        "evidence": evidence(swept, order, step=given["step"], hand=hand, tolerate_held=given["tolerate_held"]),
        "untouched": untouched(swept),
        "not_deleted": swept.failed,  # `failed` is Ansible's
        **{name: getattr(swept, name) for name in ("deleted", "spared", "gone", "log", "calls", "seconds")},
    }
    if module.check_mode and not swept.after.failures:
        module.exit_json(**result)
    if swept.gone or (given["tolerate_held"] and held_only(swept)):
        module.exit_json(**result)
    module.fail_json(msg=text, step=given["step"], **result)


if __name__ == "__main__":
    main()
