#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make a new revision of a task definition from the one that a service runs, when anything has to change."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_taskdef_revision
short_description: Make a new revision of an ECS task definition from the one that runs
version_added: 0.1.0
description:
  - Takes the revision that a service runs (or a named one), forces image, variables and health check on one container,
    and registers the result. Everything else stays as it is, sidecars and tags of the definition included.
  - Nothing is registered when nothing changes. Two definitions are compared by what they mean. The order of lists that
    have none and defaults that ECS fills in do not count; each value of each variable does.
  - When a newer ACTIVE revision of the family is what is wanted already, it is used. A release that failed and is tried
    again makes no further revision. The 20 newest revisions are compared.
  - Settings that are newer than the installed botocore are kept. botocore drops members that it does not know, so
    they are read from the body of ECS' answer and put into the body of the request. They are named in
    RV(unknown_members). What ECS registered is compared with what was asked; a member of a container or a known member
    of the task that got lost is an error.
  - Secrets are never touched. A variable that would be both a plain variable and a secret is refused.
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
      - Reads only, and says what would be registered. The ARN of a revision that does not exist yet is not known.
  diff_mode:
    support: full
    details:
      - Shows what differs, variables by name. Values of variables whose name looks like one of a secret, and what has
        the shape of a secret, are masked; equal values have equal masks.
  idempotent:
    support: full
options:
  cluster:
    description: Cluster of O(service).
    type: str
  service:
    description: Service whose revision is the source.
    type: str
  task_definition:
    description: Revision that is the source instead, as family, C(family:revision) or ARN. It may be INACTIVE.
    type: str
  container:
    description: Container that is changed. May be left out when the definition has only one.
    type: str
  image:
    description:
      - Image by digest, such as C(repository-uri@sha256:…). A tag is refused, and so is the digest of an index, as
        M(papyrus.ops.ecr_image_info) resolves both.
      - When left out, the image stays.
    type: str
  verify_image:
    description:
      - Whether ECR is asked if it has the image and if it is the image of one platform.
      - Images outside of ECR and in other regions are not asked for.
    type: bool
    default: true
  platform:
    description:
      - Platform of O(image), as C(os/architecture). A definition whose C(runtimePlatform) is for another one is
        refused, as no task could start. On Fargate, a definition that names none is for C(linux/amd64).
      - When left out, nothing is compared.
    type: str
  environment:
    description:
      - Variables that the container must have, with these values. A value of null removes the variable. Others stay.
      - The value of C(PGSSLMODE) is the least. A stricter one that is there stays, in libpq's order C(disable),
        C(allow), C(prefer), C(require), C(verify-ca), C(verify-full); RV(kept) says so. Removing it first is the only
        way to a weaker one.
      - A name that stands twice in the definition stands once afterwards.
      - These values are plain text for everybody who may read task definitions. Secrets belong into the definition's
        C(secrets), which this module does not change.
    type: dict
    default: {}
  health_check:
    description: Health check of the container. When left out, the one that is there stays.
    type: dict
    suboptions:
      command:
        description: Command, beginning with C(CMD) or C(CMD-SHELL).
        type: list
        elements: str
        required: true
      interval:
        description: Seconds between two checks. ECS' default is 30.
        type: int
      timeout:
        description: Seconds that a check may take. ECS' default is 5.
        type: int
      retries:
        description: Failures in a row until the container is unhealthy. ECS' default is 3.
        type: int
      start_period:
        description: Seconds after the start in which failures do not count.
        type: int
  private:
    description: Run-private folder with the values to redact and the key of the masks.
    type: path
seealso:
  - module: papyrus.ops.ecr_image_info
  - module: papyrus.ops.ecs_rollout
  - module: community.aws.ecs_taskdefinition
"""

EXAMPLES = r"""
- name: Make a revision with the new image and verified TLS
  papyrus.ops.ecs_taskdef_revision:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    image: "{{ released.image }}"
    environment:
      PGSSLMODE: verify-full
      PGSSLROOTCERT: /app/rds-ca.pem
      OLD_SWITCH: null
    health_check:
      command: [CMD, python, -m, papyrus.healthcheck]
      interval: 10
  register: made
"""

RETURN = r"""
task_definition_arn:
  description: ARN of the revision that is what is wanted; empty in check mode when it would have to be registered.
  returned: success
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
previous:
  description: ARN of the revision that it was made from.
  returned: success
  type: str
  sample: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
previous_status:
  description: Status of that revision.
  returned: success
  type: str
  sample: ACTIVE
family:
  description: Family.
  returned: success
  type: str
  sample: papyrus-task
revision:
  description: Number of the revision; null in check mode when it would have to be registered.
  returned: success
  type: int
  sample: 8
registered:
  description: Whether a revision was registered (in check mode, would be). The same as RV(ignore:changed).
  returned: success
  type: bool
  sample: true
reason:
  description: Why this revision, in one line.
  returned: success
  type: str
  sample: 2 differences from papyrus-task:7
container:
  description: The container that was looked at.
  returned: success
  type: str
  sample: app
image:
  description: Its image in the revision.
  returned: success
  type: str
  sample:
    123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
differences:
  description:
    - What the revision means otherwise than RV(previous). An empty C(container) is the task itself; C(name) is the
      variable. Null is not there; a list of values is a name that stands more than once.
  returned: success
  type: list
  elements: dict
  sample:
    - container: app
      member: environment
      name: PGSSLMODE
      before: require
      after: verify-full
kept:
  description: Variables that stay stricter than asked.
  returned: success
  type: dict
  sample: {PGSSLMODE: {asked: require, kept: verify-full}}
unknown_members:
  description: Members of the definition that the installed botocore does not know, and that were kept.
  returned: success
  type: list
  elements: str
  sample: ["containerDefinitions[0].newSetting"]
notes:
  description: What an operator should know; also given as warnings.
  returned: success
  type: list
  elements: str
  sample: []
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _ecr_lookup,
    _ecs_tasks,
    _oci_image,
    _taskdef,
    _taskdef_diff,
    _taskdef_revision,
)
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

HEALTH_CHECK = {
    "command": {"type": "list", "elements": "str", "required": True},
    "interval": {"type": "int"},
    "timeout": {"type": "int"},
    "retries": {"type": "int"},
    "start_period": {"type": "int"},
}


def _wanted(asked: dict[str, Any]) -> _taskdef.Wanted:
    check = asked["health_check"]
    if check is not None:
        check = {"startPeriod" if name == "start_period" else name: value for name, value in check.items()}
    environment = _taskdef.checked_environment(asked["environment"])
    return _taskdef.Wanted(asked["container"], asked["image"] or "", environment, check, asked["platform"] or "")


def _make(asked: dict[str, Any], calls: Calls, check_mode: bool) -> _taskdef_revision.Made:
    wanted = _wanted(asked)
    if wanted.image:
        asked_id = _ecr_lookup.check_pinned(calls.clients, wanted.image, look=asked["verify_image"])
        calls.request_ids.extend([asked_id] if asked_id else [])
    source = asked["task_definition"] or _taskdef_revision.source_of(calls, asked["cluster"], asked["service"])
    return _taskdef_revision.make(calls, source, wanted, check=check_mode)


def _result(made: _taskdef_revision.Made, redactor: Redactor) -> dict[str, Any]:
    rows = _taskdef_diff.shown(made.differences, redactor)
    container = _ecs_tasks.container_definition(made.revised.definition, made.revised.container)
    target = made.target
    title = target.name if target else f"{made.source.family}:(new)"
    return {
        "changed": made.registered,
        "registered": made.registered,
        "task_definition_arn": target.arn if target else "",
        "revision": target.revision if target else None,
        "family": made.source.family,
        "previous": made.source.arn,
        "previous_status": made.source.status,
        "reason": made.reason,
        "container": made.revised.container,
        "image": container.get("image", ""),
        "differences": rows,
        "kept": made.revised.kept,
        "unknown_members": list(made.unknown),
        "notes": made.warnings,
        "diff": _taskdef_diff.as_diff(rows, made.source.name, title),
    }


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"type": "str"},
            "service": {"type": "str"},
            "task_definition": {"type": "str"},
            "container": {"type": "str"},
            "image": {"type": "str"},
            "verify_image": {"type": "bool", "default": True},
            "platform": {"type": "str"},
            "environment": {"type": "dict", "default": {}},
            "health_check": {"type": "dict", "options": HEALTH_CHECK},
            "private": {"type": "path"},
        },
        required_one_of=[("service", "task_definition")],
        mutually_exclusive=[("service", "task_definition")],
        required_by={"service": ("cluster",)},
        supports_check_mode=True,
    )
    redact_results(module)
    asked = dict(module.params)
    redactor = Redactor(asked["private"]) if asked["private"] else Redactor()
    # The result repeats the arguments at -vvv.
    module.params["environment"] = _taskdef_diff.masked(asked["environment"], redactor)
    calls = Calls(_aws.module_clients(module))
    try:
        made = _make(asked, calls, module.check_mode)
    except (
        _aws.AwsFailure,
        _ecs_tasks.TaskProblem,
        _oci_image.ImageError,
        _taskdef.DefinitionRefused,
    ) as exc:
        module.fail_json(msg=str(exc), step="F2", request_ids=calls.request_ids)
    for note in made.warnings:
        module.warn(note)
    module.exit_json(**_result(made, redactor), request_ids=calls.request_ids)


if __name__ == "__main__":
    main()
