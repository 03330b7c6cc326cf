#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what an app has logged about some requests."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_log_info
short_description: Find what an app has logged about some requests
version_added: 0.1.0
description:
  - Looks in CloudWatch Logs for lines that are JSON objects and have one of the given request ids as a value, under
    whatever key and however deep. They are returned as they were logged.
  - Lines arrive seconds after what they tell, so the module looks again until each request has one, or O(timeout) is
    over. Both are an answer, see RV(status); only what cannot be asked fails the module.
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
  request_ids:
    description: The ids, as the app gave them in its answers.
    type: list
    elements: str
    required: true
  log_group:
    description: Name of the log group. By default the one to which O(container) of O(task_definitions) logs.
    type: str
    default: ''
  task_definitions:
    description: ARNs of the revisions that answered.
    type: list
    elements: str
    default: []
  container:
    description: Name of the container that answered. May be left out when the task has only one.
    type: str
    default: ''
  since:
    description: Time (RFC 3339) from which lines are looked for, less five minutes for clocks that differ.
    type: str
    required: true
  timeout:
    description: Seconds for which lines may still arrive.
    type: float
    default: 60
  interval:
    description: Seconds between two looks.
    type: float
    default: 2
  private:
    description: Run-private folder. Secrets that the run has read are taken out of the lines.
    type: path
notes:
  - Needs the permission C(logs:FilterLogEvents) on the log group, and without O(log_group) also
    C(ecs:DescribeTaskDefinition).
seealso:
  - module: papyrus.ops.http_probe
  - module: papyrus.ops.logs_export
"""

EXAMPLES = r"""
- name: Find what the app has logged about a request
  papyrus.ops.app_log_info:
    log_group: /ecs/papyrus-task
    request_ids: [5f0c6f6e2f8e4c54a2f3b9d0c1e2a3b4]
    since: "2026-01-31T12:00:00Z"
  register: logged
"""

RETURN = r"""
status:
  description: V(ok) when each request has a line, else V(ng).
  returned: success
  type: str
  sample: ok
reason:
  description: How many lines there are, or what is missing.
  returned: success
  type: str
  sample: 4 JSON lines about all 4 requests
lines:
  description: The lines as they were logged, oldest first. At most 1000.
  returned: success
  type: list
  elements: str
  sample:
    - '{"message": "request", "request_id": "5f0c6f6e2f8e4c54a2f3b9d0c1e2a3b4", "path": "/healthz", "status": 200}'
missing:
  description: Ids without a line.
  returned: success
  type: list
  elements: str
  sample: []
log_group:
  description: Where it was looked.
  returned: success
  type: str
  sample: /ecs/papyrus-task
waited:
  description: Seconds until all lines were there, or until it was given up.
  returned: success
  type: float
  sample: 2.1
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _app_log, _aws
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._names import parse_rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

TEXTS = {"type": "list", "elements": "str"}
ARGUMENTS = {
    "request_ids": {**TEXTS, "required": True},
    "log_group": {"type": "str", "default": ""},
    "task_definitions": {**TEXTS, "default": []},
    "container": {"type": "str", "default": ""},
    "since": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 60},
    "interval": {"type": "float", "default": 2},
    "private": {"type": "path"},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    calls = Calls(_aws.module_clients(module))
    try:
        group = asked["log_group"] or _app_log.log_group(calls, asked["task_definitions"], asked["container"])
        question = _app_log.Question(
            group=group,
            ids=tuple(dict.fromkeys(asked["request_ids"])),
            since=parse_rfc3339(asked["since"]),
            timeout=asked["timeout"],
            interval=asked["interval"],
        )
        outcome = _app_log.wait(calls, question)
    except (_aws.AwsFailure, _app_log.LogProblem, ValueError) as exc:
        module.fail_json(msg=str(exc), step="K3", request_ids=calls.request_ids)
    late = "" if outcome.ok else f" (looked for {outcome.elapsed:.0f} s in {group})"
    module.exit_json(
        changed=False,
        status="ok" if outcome.ok else "ng",
        reason=f"{outcome.reason}{late}",
        lines=outcome.last.lines,
        missing=[one for one in question.ids if one not in outcome.last.ids],
        log_group=group,
        waited=round(outcome.elapsed, 1),
        request_ids=calls.request_ids,
    )


if __name__ == "__main__":
    main()
