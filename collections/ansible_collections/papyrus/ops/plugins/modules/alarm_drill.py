#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rings the alarms of a service on purpose, and follows each to its message and back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alarm_drill
short_description: Ring the alarms of a service on purpose, and follow each from OK to ALARM to OK with its messages
version_added: 0.1.0
description:
  - Makes the condition of each alarm, and waits for ALARM and for its message in a queue that is subscribed to the
    alarms' topic. Then ends the condition, and waits for OK and for that message. All alarms side by side.
  - Task alarms ring themselves. A task of the service's own revision ends with an exit code other than 0, and one of
    an image that nobody has fails to start.
  - Alarms of the load balancer are rung through their copies, by requests to the temporary ALB whose task cannot reach
    the database. Alarms of memory and CPU are rung through theirs by metric data.
  - Before anything rings, an alarm of the drill's own is set to ALARM. It tells those who are on call that a drill
    begins, and shows that topic and queue work. It is set to OK at the end.
  - Copies, queue and load balancer are those of a Terraform stack that M(papyrus.ops.temporary_alb) has applied, which
    also takes them down.
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
      - Says which alarms would ring. Nothing is sent.
  diff_mode:
    support: N/A
    details:
      - What rings is over at the end, there is nothing to compare.
  idempotent:
    support: none
    details:
      - Each call rings the alarms.
options:
  run:
    description: The run as M(papyrus.ops.run_open) returned it.
    type: dict
    required: true
  state:
    description:
      - V(prepared) puts metric data of the last minutes, so that copies which are made afterwards are OK at first.
      - V(drilled) rings the alarms.
    type: str
    choices: [prepared, drilled]
    default: drilled
  cluster:
    description: ECS cluster of the service.
    type: str
    required: true
  service:
    description: The service.
    type: str
    required: true
  container:
    description: Container of the app.
    type: str
    required: true
  topic_arn:
    description: The topic that the alarms ring.
    type: str
    required: true
  alarms:
    description: RV(papyrus.ops.alarm_drill_info#module:alarms). Each of them is drilled.
    type: dict
    required: true
  outputs:
    description: Outputs of the stack of the drill. Needed for O(state=drilled).
    type: dict
    default: {}
  metric_namespace:
    description: Namespace of the metric data, as the copies have it.
    type: str
    required: true
  path:
    description: Path of the app that needs the database, so that it is slow and then fails where there is none.
    type: str
    default: /dbcheck
  calm_path:
    description: Path of the app that answers at once.
    type: str
    default: /healthz
  secret_headers:
    description: Headers of the requests whose values are never shown.
    type: dict
    default: {}
  connect_to:
    description: Where to connect instead, as for M(papyrus.ops.http_probe).
    type: list
    elements: str
    default: []
  proxy:
    description: An HTTP proxy.
    type: str
  ca_file:
    description: CA certificates for TLS.
    type: path
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 30
  resolve_timeout:
    description: Seconds for which the name of the ALB is asked for.
    type: float
    default: 180
  exit_command:
    description:
      - Command of the task that ends badly, an argument to the image's entry point where it has one.
      - Its exit code must be one for which the alarm rings.
    type: list
    elements: str
    default: [sh, -c, exit 3]
  steady_timeout:
    description: Seconds until an alarm is OK at first.
    type: float
    default: 600
  alarm_timeout:
    description: Seconds from its condition to ALARM.
    type: float
    default: 900
  ok_timeout:
    description: Seconds from the end of its condition to OK.
    type: float
    default: 1800
  message_timeout:
    description: Seconds from a state to its message.
    type: float
    default: 120
  interval:
    description: Seconds between two looks.
    type: float
    default: 5
  fail:
    description: Whether to fail when an alarm did not do what it should.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.alarm_drill_info
  - module: papyrus.ops.temporary_alb
"""

EXAMPLES = r"""
- name: Ring every alarm
  papyrus.ops.alarm_drill:
    run: "{{ run_opened.run }}"
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    topic_arn: arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms
    alarms: "{{ looked.alarms }}"
    outputs: "{{ stack.outputs }}"
    metric_namespace: papyrus/Drill
    secret_headers:
      X-Papyrus-Run: "{{ run_header_value }}"
"""

RETURN = r"""
ok:
  description: Whether each alarm went from OK to ALARM to OK, with both messages.
  returned: always
  type: bool
  sample: true
text:
  description: The outcome in one sentence, with the names of the alarms that failed.
  returned: always
  type: str
  sample: 6 of 6 alarms went OK → ALARM → OK with their messages
alarms:
  description: What became of each alarm, with its transitions, messages, and its history in CloudWatch.
  returned: always
  type: list
  elements: dict
  sample:
    - kind: task-exit
      alarm: papyrus-task-service-task-exit
      permanent: papyrus-task-service-task-exit
      copied: false
      status: ok
      reason: OK → ALARM after 71 s, message after 71 s; → OK after 191 s, message after 192 s
      condition: "task 0123456789abcdef0123456789abcdef: exit code 3; EssentialContainerExited"
      transitions:
        - {from: null, to: OK, at: "2026-01-31T11:02:00Z", reason: "Threshold Crossed: …", elapsed: 3.1}
      messages:
        - alarm: papyrus-task-service-task-exit
          old: OK
          new: ALARM
          at: "2026-01-31T12:05:00.000+0000"
          sent: "2026-01-31T12:05:00.120Z"
          message_id: 7a1b2c3d-0000-4000-8000-9e8d7c6b5a40
          subject: 'ALARM: "papyrus-task-service-task-exit" in US West (Oregon)'
          description: A container of papyrus-task ended with an exit code other than 0.
          reason: "Threshold Crossed: 1 datapoint [1.0] was greater than the threshold (0.0)."
          elapsed: 74.4
      history: []
announced:
  description: The announcement and its end, and whether their messages reached the queue.
  returned: always
  type: list
  elements: dict
  sample:
    - {alarm: papyrus-task-service-drill-abc234, state: ALARM, received: "yes"}
events:
  description: Each state, message and request that was seen, for the evidence file C(alarm_drill.jsonl).
  returned: always
  type: list
  elements: dict
  sample:
    - event: state
      at: "2026-01-31T12:05:02.123456Z"
      elapsed: 74.1
      text: "papyrus-task-service-task-exit: OK → ALARM (Threshold Crossed: …)"
      kind: task-exit
      alarm: papyrus-task-service-task-exit
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

import signal

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _alarms, _aws, _drill, _drill_setup
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._drill_case import Limits
from ansible_collections.papyrus.ops.plugins.module_utils._drill_messages import Receiver
from ansible_collections.papyrus.ops.plugins.module_utils._probe_request import BadRequest
from ansible_collections.papyrus.ops.plugins.module_utils._probe_run import Settings
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_journal import Journal
from ansible_collections.papyrus.ops.plugins.module_utils._rows import listing

ARGUMENTS = {
    "run": {"type": "dict", "required": True},
    "state": {"type": "str", "choices": ["prepared", "drilled"], "default": "drilled"},
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str", "required": True},
    "topic_arn": {"type": "str", "required": True},
    "alarms": {"type": "dict", "required": True},
    "outputs": {"type": "dict", "default": {}},
    "metric_namespace": {"type": "str", "required": True},
    "path": {"type": "str", "default": "/dbcheck"},
    "calm_path": {"type": "str", "default": "/healthz"},
    "secret_headers": {"type": "dict", "default": {}, "no_log": True},
    "connect_to": {"type": "list", "elements": "str", "default": []},
    "proxy": {"type": "str"},
    "ca_file": {"type": "path"},
    "request_timeout": {"type": "float", "default": 30},
    "resolve_timeout": {"type": "float", "default": 180},
    "exit_command": {"type": "list", "elements": "str", "default": ["sh", "-c", "exit 3"]},
    "steady_timeout": {"type": "float", "default": 600},
    "alarm_timeout": {"type": "float", "default": 900},
    "ok_timeout": {"type": "float", "default": 1800},
    "message_timeout": {"type": "float", "default": 120},
    "interval": {"type": "float", "default": 5},
    "fail": {"type": "bool", "default": True},
}


def given_of(asked: dict) -> _drill_setup.Given:
    return _drill_setup.Given(
        run=asked["run"],
        cluster=asked["cluster"],
        service=asked["service"],
        container=asked["container"],
        alarms=asked["alarms"],
        outputs=asked["outputs"],
        namespace=asked["metric_namespace"],
        exit_command=tuple(asked["exit_command"]),
        limits=Limits(asked["steady_timeout"], asked["alarm_timeout"], asked["ok_timeout"], asked["message_timeout"]),
    )


def probing_of(asked: dict) -> _drill_setup.Probing:
    return _drill_setup.Probing(
        asked["path"],
        asked["calm_path"],
        asked["secret_headers"],
        tuple(asked["connect_to"]),
        asked["proxy"],
        Settings(timeout=asked["request_timeout"], resolve_timeout=asked["resolve_timeout"], ca_file=asked["ca_file"]),
    )


def end(number: int, frame: object) -> None:
    """A signal becomes an exception, so that no condition is made any more."""
    signal.signal(number, signal.SIG_IGN)  # the guard sends it too, and must not end what follows in its middle
    raise SystemExit(128 + number)


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redactor = redact_results(module)
    asked, given = module.params, given_of(module.params)
    clients = _aws.module_clients(module)
    calls = Calls(clients)
    nothing = {"ok": True, "alarms": [], "announced": [], "events": [], "request_ids": calls.request_ids}
    refusal = _drill.refused(given.alarms)
    if refusal:
        module.fail_json(msg=refusal, step=_alarms.STEP, **{**nothing, "ok": False}, text=refusal)
    names = listing((alarm["name"] for alarm in given.alarms.values()), 10)
    if module.check_mode:
        module.exit_json(changed=True, text=f"check mode: would ring {names}", **nothing)
    try:
        if asked["state"] == "prepared":
            metrics = _drill_setup.metric_data(given, calls)
            for metric in metrics.values():
                metric.baseline()
            module.exit_json(changed=bool(metrics), text=f"data were put for {listing(metrics)}", **nothing)
        signal.signal(signal.SIGTERM, end)
        journal = Journal(clean=redactor.redact_text)
        cases = _drill_setup.cases(given, probing_of(asked), clients, redactor.redact_text, journal.event)
        plan = _drill.Plan(
            given.run["id"], asked["topic_arn"], given.output("announcement"), asked["interval"], given.limits
        )
        receiver = Receiver(calls, given.output("queue_url"), asked["topic_arn"])
        drill = _drill.Drill(calls, plan, cases, receiver, journal)
    except (_aws.AwsFailure, _drill_setup.NoDrill, BadRequest) as exc:
        module.fail_json(msg=str(exc), step=_alarms.STEP, **{**nothing, "ok": False}, text=str(exc))
    drill.run()
    result = {
        "ok": not drill.failed,
        "text": drill.text(),
        "alarms": drill.results(),
        "announced": drill.announced,
        "events": journal.entries(),
        "request_ids": calls.request_ids,
    }
    if drill.failed and asked["fail"]:
        module.fail_json(msg=drill.text(), step=_alarms.STEP, changed=True, **result)
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
