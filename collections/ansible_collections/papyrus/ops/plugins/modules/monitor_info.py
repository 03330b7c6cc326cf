#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the permanent alarms of a service as AWS has them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitor_info
short_description: Read the permanent alarms of a service as AWS has them
version_added: 0.1.0
description:
  - Reads alarms, their topic and its subscriptions, and returns them as items of evidence. Changes nothing.
  - An alarm is NG when it is not there, does not tell the topic of both ALARM and OK, or has its actions disabled.
    The topic is NG when it is not encrypted, or by the key of AWS, which CloudWatch cannot use.
  - A subscription that waits for its confirmation is SKIP. Addresses of subscriptions are not returned.
  - The state of an alarm is said, and is no failure; whether it really rings is what M(papyrus.ops.alarm_drill) proves.
  - The module does not fail on NG items, so that the caller can keep the evidence first; see RV(problems).
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
  alarms:
    description: Names of the alarms by kind, as the output C(alarm_names) of the stack C(30-monitor).
    type: dict
    required: true
  topic_arn:
    description: Topic that they ring.
    type: str
    required: true
  load_balancer:
    description: Whether a load balancer is watched.
    type: bool
    default: false
seealso:
  - module: papyrus.ops.alarm_drill
"""

EXAMPLES = r"""
- name: Look at what AWS has of the alarms
  papyrus.ops.monitor_info:
    alarms:
      memory: papyrus-task-service-memory
      cpu: papyrus-task-service-cpu
      task-exit: papyrus-task-service-task-exit
      task-start: papyrus-task-service-task-start
    topic_arn: arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms
  register: monitor
"""

RETURN = r"""
problems:
  description: What is wrong with the alarms or their topic.
  returned: success
  type: list
  elements: str
  sample: []
text:
  description: One line an item.
  returned: success
  type: str
  sample: "OK    I1  papyrus-task-service-memory is OK, and tells the topic"
evidence:
  description: Items for M(papyrus.ops.evidence_capture), one an alarm, one of the topic, one of its subscriptions.
  returned: success
  type: list
  elements: dict
  sample:
    - name: alarm_subscriptions.json
      step: I1
      status: ok
      reason: heard by 2 email, 1 https
      content:
        - {protocol: email, state: confirmed}
      meta: {request_ids: [0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d]}
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [0b1c2d3e-4f50-4a6b-8c7d-9e0f1a2b3c4d]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _monitor
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "alarms": {"type": "dict", "required": True},
    "topic_arn": {"type": "str", "required": True},
    "load_balancer": {"type": "bool", "default": False},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    calls = Calls(_aws.module_clients(module))
    alarms = {str(kind): str(name) for kind, name in asked["alarms"].items()}
    try:
        items = _monitor.look(calls, alarms, asked["topic_arn"], watched=asked["load_balancer"])
    except _aws.AwsFailure as exc:
        module.fail_json(msg=str(exc), step=_monitor.STEP, request_ids=calls.request_ids)
    module.exit_json(
        changed=False,
        problems=[item["reason"] for item in items if item["status"] == "ng"],
        text=_monitor.text(items),
        evidence=items,
        request_ids=calls.request_ids,
    )


if __name__ == "__main__":
    main()
