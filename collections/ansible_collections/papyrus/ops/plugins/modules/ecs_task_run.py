#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one command in a fresh task that is made like a service's own."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_run
short_description: Run one command in a fresh ECS task, await its exit code and log lines, prove the task stopped
version_added: 0.1.0
description:
  - Starts one task with the task definition, network and launch type of a service's primary deployment and another
    command, so with the secrets' values of now, which running tasks do not have.
  - Waits for the container's exit code, reads its lines from CloudWatch Logs, stops the task where it does not end by
    itself, and waits until ECS says V(STOPPED).
  - A task that never gave an exit code (image or secret that cannot be had, no capacity) is no success.
  - Whatever happens after C(RunTask), also when the module itself is ended, C(StopTask) is asked for. The command ends
    by itself after O(life) seconds, should nobody be left to ask.
  - The command is an argument to the image's entry point, where it has one.
  - C(community.aws.ecs_task) looks each six seconds for ten minutes, stops nothing when that time is over, and has
    neither failures nor log lines in its answer.
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
      - Reads service and task definition and returns the request that would be sent. Runs nothing.
  diff_mode:
    support: none
    details:
      - A task that has ended leaves nothing to compare.
  idempotent:
    support: none
    details:
      - Each call runs a task.
options:
  cluster:
    description: ECS cluster.
    type: str
    required: true
  service:
    description: Service whose primary deployment the task is made like.
    type: str
    required: true
  container:
    description: Container that gets the command. May be left out when the task has only one.
    type: str
  command:
    description: Program and arguments. Part of the task's description, so never with a secret in it.
    type: list
    elements: str
    required: true
  expect:
    description: Regular expressions. Each has to match a line that the container logged.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of the task.
    type: dict
    default: {}
  started_by:
    description: Who started it, for C(ListTasks). Characters that ECS refuses become hyphens.
    type: str
    default: ''
  life:
    description: Seconds after which the command is ended inside the container. Needs C(sh) there; V(0) leaves it out.
    type: int
    default: 60
  timeout:
    description: Seconds from C(RunTask) to the exit code.
    type: float
    default: 300
  end_timeout:
    description: Seconds from there until ECS says V(STOPPED).
    type: float
    default: 180
  interval:
    description: Seconds between two looks.
    type: float
    default: 2
  log_wait:
    description: Seconds to wait for the lines of the log.
    type: float
    default: 15
  private:
    description: The run's private folder. Secrets that the run knows are taken out of lines and reasons.
    type: path
  fail:
    description: Whether to fail when the command did not succeed.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.ecs_exec
"""

EXAMPLES = r"""
- name: Log in to the database from a fresh task
  papyrus.ops.ecs_task_run:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    command: [python, -m, papyrus.login_cli]
    expect: ['^TLS: TLSv1\.[23]$']
    tags: "{{ run_opened.run.tags }}"
    started_by: "papyrus/{{ run_opened.run.id }}"
    private: "{{ run_opened.run.private }}"
"""

RETURN = r"""
ok:
  description: Whether the command said 0, its log has what was expected, and ECS said V(STOPPED).
  returned: always
  type: bool
  sample: true
outcome:
  description:
    - V(exited) with an exit code. V(timed_out) and stopped. V(not_started) without an exit code.
      V(indeterminate) when AWS could not be asked to the end. V(not_run) in check mode.
  returned: always
  type: str
  sample: exited
rc:
  description: Exit code of the container. V(null) unless RV(outcome=exited).
  returned: always
  type: int
  sample: 0
reason:
  description: How it ended, in one line.
  returned: always
  type: str
  sample: exit code 0
lines:
  description: The last lines that the container logged, 200 at most.
  returned: always
  type: list
  elements: str
  sample: ["LOGIN: papyrus_app in papyrus", "TLS: TLSv1.3"]
unmatched:
  description: Expressions of O(expect) that no line matches.
  returned: always
  type: list
  elements: str
  sample: []
log:
  description: Group, stream and region of the lines, or a C(note) why they cannot be read. Empty when nothing ran.
  returned: always
  type: dict
  sample: {group: /ecs/papyrus-task, region: us-west-2, stream: app/app/0123456789abcdef0123456789abcdef}
stopped:
  description: Whether ECS said V(STOPPED), or never started the task.
  returned: always
  type: bool
  sample: true
stop_reason:
  description: Stop code, reason and exit codes as ECS gives them.
  returned: always
  type: str
  sample: EssentialContainerExited; Essential container in task exited; container app ended with exit code 0
task_arn:
  description: The task. Empty when none was started.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0123456789abcdef0123456789abcdef
task_definition:
  description: Its task definition.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
container:
  description: Its container.
  returned: always
  type: str
  sample: app
image_digest:
  description: Digest of the image that ran, where ECS says it.
  returned: always
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
started_at:
  description: When the task ran.
  returned: always
  type: str
  sample: "2026-01-31T12:00:14Z"
stopped_at:
  description: When it had stopped.
  returned: always
  type: str
  sample: "2026-01-31T12:00:31Z"
duration:
  description: Seconds from C(RunTask) to the last answer.
  returned: always
  type: float
  sample: 24.6
transcript:
  description: All of this as text, for an item of evidence.
  returned: always
  type: str
  sample: "command:         python -m papyrus.login_cli\n"
request:
  description: The request that was, or in check mode would be, sent.
  returned: always
  type: dict
  sample: {cluster: papyrus-ecs-prd, count: 1, launchType: FARGATE}
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

import signal

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _ecs_tasks, _task_run
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str"},
    "command": {"type": "list", "elements": "str", "required": True},
    "expect": {"type": "list", "elements": "str", "default": []},
    "tags": {"type": "dict", "default": {}},
    "started_by": {"type": "str", "default": ""},
    "life": {"type": "int", "default": 60},
    "timeout": {"type": "float", "default": 300},
    "end_timeout": {"type": "float", "default": 180},
    "interval": {"type": "float", "default": 2},
    "log_wait": {"type": "float", "default": 15},
    "private": {"type": "path"},
    "fail": {"type": "bool", "default": True},
}


def plan_of(asked: dict) -> _task_run.Plan:
    """Module options as a plan: the same names; what is not given keeps the plan's default."""
    known = _task_run.Plan.__dataclass_fields__
    given = {name: value for name, value in asked.items() if name in known and value is not None}
    return _task_run.Plan(**{**given, "command": tuple(asked["command"]), "expect": tuple(asked["expect"])})


def end(number: int, frame: object) -> None:
    """A signal becomes an exception, so that the task is stopped first."""
    signal.signal(number, signal.SIG_IGN)  # the guard sends it too, and must not end what follows in its middle
    raise SystemExit(128 + number)


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redactor = redact_results(module)
    asked = module.params
    calls = Calls(_aws.module_clients(module))
    signal.signal(signal.SIGTERM, end)
    try:
        plan = plan_of(asked)
        place = _task_run.place(calls, plan)
        if module.check_mode:
            run = _task_run.TaskRun(task_definition=place.task_definition, container=place.container)
            result = {**run.as_dict(), "outcome": "not_run", "reason": "check mode", "ok": True, "transcript": ""}
            module.exit_json(changed=True, request=place.request, request_ids=calls.request_ids, **result)
        run = _task_run.Runner(calls, plan)(place)
    except (_aws.AwsFailure, _ecs_tasks.TaskProblem, ValueError) as exc:
        module.fail_json(msg=str(exc), step="E1", request_ids=calls.request_ids)
    run.lines = redactor.redact_text("\n".join(run.lines)).splitlines()
    run.reason = run.verdict()
    result = {
        **run.as_dict(),
        "ok": run.ok,
        "transcript": _task_run.transcript(run, plan.command),
        "request": place.request,
        "request_ids": calls.request_ids,
    }
    if not run.ok and asked["fail"]:
        module.fail_json(msg=f"{' '.join(plan.command)} in a fresh task: {run.reason}", step="E1", **result)
    module.exit_json(changed=bool(run.task_arn), **result)


if __name__ == "__main__":
    main()
