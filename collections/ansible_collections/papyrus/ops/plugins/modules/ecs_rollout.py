#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rolls a revision out to an ECS service, or back, with a verdict about the deployment that it began."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_rollout
short_description: Roll a revision out to an ECS service, with a verdict about this very deployment
version_added: 0.1.0
description:
  - Calls C(UpdateService) with the revision, a forced new deployment and ECS Exec, and nothing else. Desired count,
    deployment configuration and network stay as they are.
  - Then follows the service deployment that this call has begun until it has ended, also when it is on its way back,
    and says what became of it. A service that is stable again after a rollback is not a success.
  - It counts as deployed only when ECS calls it SUCCESSFUL and the desired tasks of this very deployment run, and
    no others.
  - Tasks that die on the way are named at once on the terminal, with stop code, reason, exit code and the last lines of
    their log (log driver C(awslogs)).
  - Where ECS does not go back by itself (no circuit breaker, no rollback configured, O(timeout) over), the module does.
    It lets ECS stop an open deployment, as that leaves the running tasks alone, and else rolls the previous revision
    out.
  - Refused before anything is changed are another rollout in flight, the deployment controllers CODE_DEPLOY and
    EXTERNAL, the strategies BLUE_GREEN, LINEAR and CANARY, a service without desired tasks, and a revision that the
    service cannot run or that is of another family.
  - Times of AWS are only compared with times of AWS.
  - The callback P(papyrus.ops.live#callback) shows its progress while it runs on the controller.
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
      - Checks everything that would be refused, and says what would be updated. Makes no call that changes anything.
  diff_mode:
    support: full
    details:
      - Shows revision, images and ECS Exec before and after.
  idempotent:
    support: partial
    details:
      - With O(force_new_deployment=false) a service that has the revision already is left alone. A forced deployment is
        always a new one.
options:
  cluster:
    description: ECS cluster.
    type: str
    required: true
  service:
    description: ECS service.
    type: str
    required: true
  state:
    description:
      - V(deployed) rolls O(task_definition) out.
      - V(rolled_back) goes from O(task_definition) back to O(previous), unless ECS has done so already.
    type: str
    choices: [deployed, rolled_back]
    default: deployed
  task_definition:
    description: The revision of the release, as ARN or C(family:revision).
    type: str
    required: true
  previous:
    description: The revision that served before the release. Required with O(state=rolled_back).
    type: str
  cause:
    description: Why the release is taken back, for the verdict.
    type: str
    default: ''
  force_new_deployment:
    description: Whether tasks are replaced also when the service has the revision already.
    type: bool
    default: true
  enable_execute_command:
    description: Whether ECS Exec is switched on where it is off. It is never switched off.
    type: bool
    default: true
  deployment:
    description:
      - Id (C(ecs-svc/…)) of a deployment that was begun before. When it is still the primary one, no other is begun and
        the verdict is about that one.
    type: str
    default: ''
  timeout:
    description:
      - Seconds that the rollout may take. When they are over, the module goes back.
      - Required for a service without deployment circuit breaker, as ECS would try for ever. Else there is no limit.
    type: float
  roll_back:
    description: Whether to go back where ECS does not do so by itself.
    type: bool
    default: true
  back_timeout:
    description: Seconds that going back may take.
    type: float
    default: 900
  settle_timeout:
    description: Seconds after the end of a deployment in which its desired tasks have to be the only ones that run.
    type: float
    default: 180
  interval:
    description: Seconds between two looks.
    type: float
    default: 5
  log_lines:
    description: Last lines that are read of the log of a container that died; 0 for none.
    type: int
    default: 10
  private:
    description: Run-private folder. Secrets that the run has read are taken out of log lines.
    type: path
notes:
  - Needs the permissions C(ecs:UpdateService), C(ecs:StopServiceDeployment), C(ecs:ListServiceDeployments),
    C(ecs:DescribeServiceDeployments), C(ecs:DescribeServiceRevisions), C(ecs:DescribeServices),
    C(ecs:DescribeTaskDefinition), C(ecs:ListTasks), C(ecs:DescribeTasks) and C(logs:GetLogEvents), and C(iam:PassRole)
    for the roles of the task definition.
seealso:
  - module: papyrus.ops.ecs_taskdef_revision
  - name: Amazon ECS service deployments
    description: States and properties of a service deployment.
    link: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
"""

EXAMPLES = r"""
- name: Roll the new revision out
  papyrus.ops.ecs_rollout:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    task_definition: "{{ revision_made.task_definition_arn }}"
    timeout: 1800
  register: rollout

- name: Go back, as the release did not prove itself
  papyrus.ops.ecs_rollout:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    state: rolled_back
    task_definition: "{{ rollout.task_definition }}"
    previous: "{{ rollout.previous }}"
    cause: /dbcheck answered 500
"""

RETURN = r"""
result:
  description:
    - V(deployed), V(rolled_back), V(stopped), V(superseded), V(failed) or V(not_started).
  returned: always
  type: str
  sample: rolled_back
by:
  description:
    - Who went back. V(deployment circuit breaker), V(alarm <name>) or V(papyrus.ops); empty when nobody did, or when
      the deployment was stopped on somebody's request.
  returned: always
  type: str
  sample: deployment circuit breaker
cause:
  description: Why, in one line.
  returned: always
  type: str
  sample: >-
    Service deployment rolled back because the circuit breaker threshold was exceeded; 3 failures, threshold 3;
    task 4f0cf2f8b9f944d1a2f8a0b8f6f0d3c1 stopped: EssentialContainerExited; Essential container in task exited;
    container app ended with exit code 3; its log ends: RuntimeError: the blueprint dbcheck is not registered
text:
  description: The verdict in one sentence.
  returned: always
  type: str
  sample: 'papyrus-task:8: deployed; papyrus-task:8 serves'
task_definition:
  description: ARN of the revision of the release.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
previous:
  description: ARN of the revision that served before.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
serving:
  description: ARN of the revision that most running tasks have at the end. Empty when none runs or it is not known.
  returned: always
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
running:
  description: Running tasks at the end, by ARN of their revision.
  returned: always
  type: dict
  sample: {'arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7': 1}
release:
  description: RV(result), RV(by), RV(task_definition), RV(serving), RV(previous) and RV(cause), for the evidence.
  returned: always
  type: dict
  sample:
    result: deployed
    by: ''
    task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
    serving: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
    previous: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
    cause: ''
deployment:
  description: Id of the deployment that was begun.
  returned: always
  type: str
  sample: ecs-svc/1234567890123456789
service_deployment:
  description: The service deployment as C(DescribeServiceDeployments) gave it last.
  returned: always
  type: dict
  sample:
    serviceDeploymentArn: arn:aws:ecs:us-west-2:123456789012:service-deployment/prd/papyrus/NCWGC2ZRtaawPAYrIaU5x
    status: ROLLBACK_SUCCESSFUL
    statusReason: Service deployment rolled back because the circuit breaker threshold was exceeded.
    deploymentCircuitBreaker: {status: TRIGGERED, failureCount: 3, threshold: 3}
tasks_stopped:
  description: Tasks of the deployment that died, the first 50.
  returned: always
  type: list
  elements: dict
  sample:
    - task_arn: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/4f0cf2f8b9f944d1a2f8a0b8f6f0d3c1
      stopped_at: "2026-01-31T12:00:07Z"
      stop_code: EssentialContainerExited
      started_by: ecs-svc/1234567890123456789
      reason: EssentialContainerExited; Essential container in task exited; container app ended with exit code 3
      exit_codes: {app: 3}
      task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
      logs:
        - container: app
          group: /papyrus/prd/app
          stream: app/app/4f0cf2f8b9f944d1a2f8a0b8f6f0d3c1
          region: us-west-2
          lines: ['RuntimeError: the blueprint dbcheck is not registered']
          note: ''
events:
  description: Each look and each event, for the evidence file C(rollout.jsonl). Looks that saw the same are one entry.
  returned: always
  type: list
  elements: dict
  sample:
    - event: poll
      at: "2026-01-31T12:00:02.123456Z"
      elapsed: 2.1
      text: IN_PROGRESS; new 0/1 running, 1 pending; old 1 running; failures 0 of 3
      status: IN_PROGRESS
      rollout_state: IN_PROGRESS
      target:
        arn: arn:aws:ecs:us-west-2:123456789012:service-revision/prd/papyrus/4980306466373577095
        requested: 1
        running: 0
        pending: 1
      source: []
      failed_tasks: 0
      threshold: 3
      alarms: []
      judgement: go on
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
request:
  description: Parameters of C(UpdateService) that were, or in check mode would be, sent. Empty when nothing changes.
  returned: always
  type: dict
  sample:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    taskDefinition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
    forceNewDeployment: true
elapsed:
  description: Seconds that it took.
  returned: always
  type: float
  sample: 42.0
request_ids:
  description: Request ids of the AWS calls beside the looks, whose ids are in RV(events).
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure
from ansible_collections.papyrus.ops.plugins.module_utils._rollout import Rollout, Verdict
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_checks import Plan, Refused
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_journal import Journal
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_tasks import TaskWatch
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_watch import Watcher

ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["deployed", "rolled_back"], "default": "deployed"},
    "task_definition": {"type": "str", "required": True},
    "previous": {"type": "str"},
    "cause": {"type": "str", "default": ""},
    "force_new_deployment": {"type": "bool", "default": True},
    "enable_execute_command": {"type": "bool", "default": True},
    "deployment": {"type": "str", "default": ""},
    "timeout": {"type": "float"},
    "roll_back": {"type": "bool", "default": True},
    "back_timeout": {"type": "float", "default": 900},
    "settle_timeout": {"type": "float", "default": 180},
    "interval": {"type": "float", "default": 5},
    "log_lines": {"type": "int", "default": 10},
    "private": {"type": "path"},
}


def plan_of(asked: dict) -> Plan:
    back = asked["state"] == "rolled_back"
    return Plan(
        cluster=asked["cluster"],
        service=asked["service"],
        task_definition=asked["previous"] if back else asked["task_definition"],
        instead_of=asked["task_definition"] if back else "",
        force=asked["force_new_deployment"],
        enable_exec=asked["enable_execute_command"],
        deployment=asked["deployment"],
        timeout=asked["timeout"],
        roll_back=asked["roll_back"],
        back_timeout=asked["back_timeout"],
        settle_timeout=asked["settle_timeout"],
        interval=asked["interval"],
        log_lines=asked["log_lines"],
    )


def told(rollout: Rollout, verdict: Verdict) -> dict:
    """The result of the module."""
    return {
        **verdict.release(),
        "release": verdict.release(),
        "text": verdict.text(),
        "changed": verdict.changed,
        "deployment": verdict.deployment,
        "service_deployment": verdict.record,
        "running": verdict.running,
        "tasks_stopped": rollout.watcher.deaths,
        "events": rollout.journal.entries(),
        "request": rollout.request,
        "elapsed": round(rollout.journal.elapsed, 3),
        "request_ids": rollout.calls.request_ids,
    }


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_if=[("state", "rolled_back", ["previous"])],
    )
    redact_results(module)
    asked = module.params
    plan = plan_of(asked)
    if plan.interval <= 0:
        module.fail_json(msg=f"interval must be more than 0 seconds, not {plan.interval:g}", step="F3")
    redactor = Redactor(asked["private"])
    calls = Calls(_aws.module_clients(module))
    journal = Journal(clean=redactor.redact_text)
    tasks = TaskWatch(calls, plan.cluster, plan.service, log_lines=plan.log_lines, clean=redactor.redact_text)
    rollout = Rollout(Watcher(calls, plan, journal, tasks))
    back = asked["state"] == "rolled_back"
    verdict, nothing_to_do = Verdict("not_started", asked["task_definition"], asked["previous"] or ""), ""
    try:
        if back:
            nothing_to_do = rollout.prepare_back()
        else:
            rollout.prepare()
    except (Refused, _aws.AwsFailure) as exc:
        verdict.cause = str(exc)
        module.fail_json(msg=f"not rolled {'back' if back else 'out'}: {exc}", step="F3", **told(rollout, verdict))
    if module.check_mode:
        verdict.task_definition, verdict.previous = rollout.arn, rollout.previous
        verdict.serving, verdict.changed = rollout.previous, not nothing_to_do if back else bool(rollout.request)
        verdict.cause = nothing_to_do or f"check mode; would be {'taken back' if back else 'rolled out'}"
        module.exit_json(diff=rollout.difference(), **told(rollout, verdict))
    try:
        verdict = rollout.back(nothing_to_do, asked["cause"]) if back else rollout.forward()
    except (Refused, _aws.AwsFailure) as exc:
        verdict.task_definition, verdict.previous, verdict.cause = rollout.arn, rollout.previous, str(exc)
        module.fail_json(msg=f"not rolled out: {exc}", step="F3", **told(rollout, verdict))
    journal.event("verdict", verdict.text(), **verdict.release())
    result = {**told(rollout, verdict), "diff": rollout.difference()}
    if verdict.result == "deployed" or (back and verdict.result == "rolled_back"):
        module.exit_json(**result)
    module.fail_json(msg=verdict.text(), step="F3", **result)


if __name__ == "__main__":
    main()
