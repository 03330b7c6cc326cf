#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what runs have left in AWS, or proves that nothing is left."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_leftovers_info
short_description: Find what runs have left in AWS, or prove that nothing is left
version_added: 0.1.0
description:
  - Looks for load balancers, target groups, security groups, rules and network interfaces of one run or of all runs of
    a service, and for the listeners of one run. It reads tags and descriptions only, never a Terraform state.
  - With O(drill) also for what drills of alarms make. That is copies of alarms, a queue with its subscription, an ECS
    service, tasks, and task definitions.
  - It is generous. Whatever bears the id of a run counts as left, also with a tag less. Rules on groups of others have
    no tags and are found by their description, network interfaces by what they belong to.
  - M(papyrus.ops.run_leftovers) is strict. RV(resources[].swept) says what it would delete, RV(resources[].reason) why.
  - A Describe call that fails makes the module fail, with what the other calls have found. It never counts as gone.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Reads only, so check mode makes no difference.
  diff_mode:
    support: N/A
    description: Reads only.
  idempotent:
    support: full
    description: Reads only.
options:
  run_id:
    description: Look for this run alone.
    type: str
  all:
    description: Look for every run of O(service).
    type: bool
    default: false
  service:
    description: Only what is tagged for this service. Required with O(all).
    type: str
  tag_prefix:
    description: First part of the tags' keys and of the rules' descriptions.
    type: str
    default: papyrus
  names:
    description:
      - AWS names that a run is about to take. What bears one without our tags is foreign, and collides.
      - With O(run_id) those that this run has taken. What bears one without our tags is left by it.
    type: list
    elements: str
    default: []
  name_prefix:
    description: What is named C(<name_prefix>-<six characters>) without our tags is foreign.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.drill_place
  - papyrus.ops.attributes.actiongroup_aws
seealso:
  - module: papyrus.ops.run_leftovers
  - module: papyrus.ops.temporary_alb
"""

EXAMPLES = r"""
- name: Prove that nothing of a run is left
  papyrus.ops.run_leftovers_info:
    run_id: 20260131T120000Z-abc234
    service: papyrus-task-service
  register: left
  failed_when: not left.gone

- name: List what all runs of the service have left
  papyrus.ops.run_leftovers_info:
    all: true
    service: papyrus-task-service
    name_prefix: papyrus-smoke
"""

RETURN = r"""
resources:
  description: What is ours, in the order in which it can be deleted.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(listener), V(load_balancer), V(target_group), V(security_group_rule),
        V(network_interface), V(security_group). With O(drill) also V(alarm), V(subscription), V(queue),
        V(ecs_service), V(ecs_task), V(task_definition).
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
      description: Run that created it.
      type: str
      sample: 20260131T120000Z-abc234
    expires_at:
      description: End of that run's lease; empty when it says none.
      type: str
      sample: "2026-01-31T13:00:00Z"
    expired:
      description: Whether the lease has ended; none when nobody can tell.
      type: bool
      sample: true
    service:
      description: Service that it was created for.
      type: str
      sample: papyrus-task-service
    age:
      description: Seconds since that run began; none when its id cannot be read.
      type: int
      sample: 7204
    swept:
      description: Whether M(papyrus.ops.run_leftovers) would delete it, were it asked the same. Always false without
        O(service).
      type: bool
      sample: true
    reason:
      description: Why it would, or would not.
      type: str
      sample: the lease of its run ended at 2026-01-31T13:00:00Z
    detail:
      description: More about it.
      type: dict
      sample: {vpc_id: vpc-0a1b2c3d4e5f60718}
foreign:
  description: What bears our names without our tags. It is never deleted.
  returned: always
  type: list
  elements: dict
  sample: []
described:
  description: The Describe calls that were answered, with number of results and AWS request ids.
  returned: always
  type: list
  elements: dict
  sample:
    - operation: DescribeLoadBalancers
      parameters: {}
      count: 0
      request_ids: [7a1b2c3d-0000-4000-8000-9e8d7c6b5a40]
calls:
  description: Number of calls by operation.
  returned: always
  type: dict
  sample: {DescribeLoadBalancers: 1, DescribeTags: 2}
gone:
  description: Whether every call was answered and nothing of ours is there.
  returned: always
  type: bool
  sample: false
by_hand:
  description: AWS CLI commands that delete it, in order.
  returned: always
  type: list
  elements: str
  sample:
    - aws elbv2 delete-target-group --region us-west-2 --target-group-arn
      arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/a/1
"""

import os

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import module_clients
from ..module_utils._leftovers import Found, Scope, by_hand, find
from ..module_utils._leftovers_drill import OPTION, DrillScope
from ..module_utils._names import check_prefix, parse_run_id, utc_now
from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._run_end import alive_runs
from ..module_utils._sweep import Order
from ..module_utils._sweep_report import age_of, told


def listed(found: Found, service: str, run_id: str) -> list:
    """In the order in which it can be deleted, with age and what a sweep would do."""
    now = found.asked_at or utc_now()
    if not service:
        unknown = {"swept": False, "reason": "a sweep is of one service: name it"}
        return [{**each, "age": age_of(each, now), **unknown} for each in found.resources]
    order = Order(service, frozenset({run_id} - {""}), alive_runs(os.environ))
    said = {(each["kind"], each["id"]): each for each in told(found, order, now)}
    return [said[each["kind"], each["id"]] for each in found.resources]


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "run_id": {"type": "str"},
            "all": {"type": "bool", "default": False},
            "service": {"type": "str"},
            "tag_prefix": {"type": "str", "default": "papyrus"},
            "names": {"type": "list", "elements": "str", "default": []},
            "name_prefix": {"type": "str"},
            "drill": OPTION,
        },
        required_if=[("all", True, ["service"]), ("all", False, ["run_id"])],
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    if given["all"] and given["run_id"]:
        module.fail_json(msg="run_id and all exclude each other: name one run, or look for all of them")
    try:
        check_prefix(given["tag_prefix"])
        if given["run_id"]:
            parse_run_id(given["run_id"])
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    scope = Scope(
        tag_prefix=given["tag_prefix"],
        service=given["service"] or "",
        run_id=given["run_id"] or "",
        names=tuple(given["names"]),
        name_prefix=given["name_prefix"] or "",
        drill=DrillScope(**given["drill"]) if given["drill"] else None,
    )
    found = find(module_clients(module), scope)
    result = {**found.as_dict(), "by_hand": by_hand(found.resources, module.region or "")}
    result["resources"] = listed(found, given["service"] or "", given["run_id"] or "")
    failures = result.pop("failures")
    if failures:
        module.fail_json(msg=" ".join(failure["text"] for failure in failures), aws_failures=failures, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
