#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at every running task of a service: image, environment and URL map as they really are."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_running_info
short_description: Look at the image of every running ECS task, and inside each at its environment and URL map
version_added: 0.1.0
description:
  - Compares C(imageDigest) of every running task with the expected digest. As ECS may name an image by its index or by
    its platform's manifest, ECR is asked which digests are one image.
  - Reads environment variables inside every running task, and the URL map inside one task of each image, through ECS
    Exec. A command whose exit code is not known is NG.
  - The module does not fail on NG rows, so that the caller can keep the evidence first; see RV(failed_rows).
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - websockets >= 13
  - oras (to know an image by its index as well)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
attributes:
  check_mode:
    support: full
    details:
      - Looks at the images. Opens no Exec session, as that is a call which writes.
options:
  cluster:
    description: ECS cluster.
    type: str
    required: true
  service:
    description: ECS service.
    type: str
    required: true
  container:
    description: Container to look at. May be left out when the task has only one.
    type: str
  expected_digests:
    description:
      - Digests of which each task must run one, such as that of an image index and that of the platform's manifest.
      - Those of the image that the tasks' own definitions name, when empty.
    type: list
    elements: str
    default: []
  environment:
    description: Allowed values by name of variable.
    type: dict
    default: {}
  without_environment:
    description: Why no variable is asked for; C(pgsslmode_env.log) is then skipped with this reason.
    type: str
    default: ''
  routes_command:
    description: Command that prints a line C(ROUTES) with a colon and a JSON list, run by C(sh -c) in the container.
    type: str
    default: ''
  routes_required:
    description: Routes that this list must have.
    type: list
    elements: str
    default: []
  exec_required:
    description: Whether the run uses ECS Exec. Where it does not work, that is a skip instead of NG otherwise.
    type: bool
    default: true
  timeout:
    description: Seconds that a command may take.
    type: float
    default: 30
  connect_timeout:
    description: Seconds to wait for a task's Exec agent.
    type: float
    default: 60
  private:
    description: The run's private folder. Secrets that the run knows are taken out.
    type: path
seealso:
  - module: papyrus.ops.ecs_exec
  - module: papyrus.ops.ecs_task_ip
"""

EXAMPLES = r"""
- name: Look inside the running tasks
  papyrus.ops.ecs_running_info:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    environment:
      PGSSLMODE: [require, verify-ca, verify-full]
    routes_command: python -m papyrus.routes
    routes_required: [/healthz, /dbcheck]
  register: running_seen
"""

RETURN = r"""
rows:
  description: One row for the images (F3), one for each variable (B13), one for the URL map (B1).
  returned: always
  type: list
  elements: dict
  sample:
    - id: F3
      title: Running tasks have the expected image
      status: ok
      reason: 1 of 1 running tasks have sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      data: {}
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
table:
  description: The rows as text, one a line.
  returned: always
  type: str
  sample: "OK    F3   Running tasks have the expected image  1 of 1 running tasks have sha256:9f86…"
failed_rows:
  description: Ids of the NG rows.
  returned: always
  type: list
  elements: str
  sample: []
tasks:
  description: The running tasks, as M(papyrus.ops.ecs_task_ip) returns them.
  returned: always
  type: list
  elements: dict
  sample:
    - task_arn: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0123456789abcdef0123456789abcdef
      image_digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
images:
  description: Digests that name one image, for each task definition in use. Empty where ECR does not say.
  returned: always
  type: list
  elements: list
  sample:
    - [sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08]
evidence:
  description: Items for M(papyrus.ops.evidence_capture).
  returned: always
  type: list
  elements: dict
  sample:
    - name: running_image.log
      step: F3
      media_type: text/plain
      content: "expected: sha256:9f86…"
      rows: [{id: F3, status: ok, reason: 1 of 1 running tasks have sha256:9f86…}]
      meta: {request_ids: []}
"""

from pathlib import Path

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _binding_image,
    _ecs_tasks,
    _registry,
    _rows,
    _running,
)
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

TEXTS = {"type": "list", "elements": "str", "default": []}
ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str"},
    "expected_digests": TEXTS,
    "environment": {"type": "dict", "default": {}},
    "without_environment": {"type": "str", "default": ""},
    "routes_command": {"type": "str", "default": ""},
    "routes_required": TEXTS,
    "exec_required": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 30},
    "connect_timeout": {"type": "float", "default": 60},
    "private": {"type": "path"},
}


def question_of(asked: dict) -> _running.Question:
    return _running.Question(
        cluster=asked["cluster"],
        service=asked["service"],
        container=asked["container"] or "",
        expected=tuple(asked["expected_digests"]),
        environment={name: tuple(map(str, allowed)) for name, allowed in asked["environment"].items()},
        without_environment=asked["without_environment"],
        routes_command=asked["routes_command"],
        routes_required=tuple(asked["routes_required"]),
        exec_required=asked["exec_required"],
        timeout=asked["timeout"],
        connect_timeout=asked["connect_timeout"],
    )


def names_from(clients: _aws.Clients, container: str | None):
    """The digests of a task definition's image as ECR has them; none where ECR or its registry does not answer."""

    def names_of(task_definition: str) -> frozenset:
        def registry() -> _registry.Registry:
            return _registry.Registry(_registry.ecr_endpoint(clients))

        if _registry.ORAS_IMPORT_ERROR is not None:
            return frozenset()
        try:
            return _binding_image.definition_image(Calls(clients), task_definition, container, registry).names
        except (_aws.AwsFailure, _registry.RegistryFailure):
            return frozenset()

    return names_of


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    private, clients = module.params["private"], _aws.module_clients(module)
    try:
        look = _running.look(
            clients,
            question_of(module.params),
            Path(private) if private else None,
            names_from(clients, module.params["container"]),
            dry=module.check_mode,
        )
    except (_aws.AwsFailure, _ecs_tasks.TaskProblem, ValueError, OSError) as exc:
        module.fail_json(msg=str(exc), step=_running.STEP)
    module.exit_json(
        changed=False,
        tasks=look.tasks,
        images=[sorted(names) for names in look.images.values()],
        rows=[row.as_dict() for row in look.rows],
        table=_rows.table(look.rows),
        failed_rows=_rows.ids_of(look.rows, "ng"),
        evidence=look.evidence,
    )


if __name__ == "__main__":
    main()
