# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ties image, task definition, task, network interface, target and answers of a service together."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_binding
short_description: Prove that what answers behind a load balancer is the image that was released
version_added: 0.1.0
description:
  - Builds one chain for each running task of an Amazon ECS service and compares it link by link.
  - The digest in ECR (index and platform) is the one in the task definition that the service serves, that is the
    C(imageDigest) of the running task's container, that task has the network interface and address that EC2
    describes, this address is a healthy target of the target group, and that target answers with the task's ARN and
    the image's digest in its headers.
  - Asks O(url) through fresh connections until every registered target has answered, at most O(most) times a target and
    O(timeout) seconds.
  - Fails when a link does not hold and names both values, among others when an old task still answers, when two images
    answer behind one load balancer, when a target never answers, when headers are missing or wrong, and when a task was
    replaced since O(registered).
requirements:
  - oras
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
      - Nothing is asked in check mode, as the load balancer is not there; the result says what is left out.
  diff_mode:
    support: N/A
    details:
      - Changes nothing, there is nothing to compare.
  idempotent:
    support: full
options:
  cluster:
    description: Name or ARN of the ECS cluster.
    type: str
    required: true
  service:
    description: Name or ARN of the ECS service.
    type: str
    required: true
  container:
    description: Name of the container that serves requests. May be left out when the task has only one.
    type: str
  port:
    description: Port of the targets.
    type: int
    required: true
  target_group_arn:
    description: Target group before the tasks. Required outside check mode.
    type: str
  registered:
    description:
      - Tasks that were registered, as M(papyrus.ops.ecs_task_ip) returned them. One that runs no more has been replaced
        in the middle.
    type: list
    elements: dict
    default: []
  answers:
    description:
      - Results of M(papyrus.ops.http_probe) through the same load balancer. Their answers must fit as well.
    type: list
    elements: dict
    default: []
  released:
    description: What a release has brought about, and must be what serves. Empty values are not compared.
    type: dict
    suboptions:
      digest:
        description: Digest of the released image, of the platform or of its index.
        type: str
      index_digest:
        description: Digest of the index that holds the released image.
        type: str
      task_definition:
        description: ARN of the released revision.
        type: str
  identity_headers:
    description:
      - Names of the headers by which an answer says which task and which image it comes from.
      - Without them nothing is asked and the result is V(skip).
    type: dict
    suboptions:
      task:
        description: Header with the task's ARN.
        type: str
      image:
        description: Header with the image's digest.
        type: str
  url:
    description: URL behind the load balancer that is asked with C(GET). Required outside check mode.
    type: str
  secret_headers:
    description: Headers to send. Their values are never shown in results.
    type: dict
    default: {}
  connect_to:
    description: As in M(papyrus.ops.http_probe).
    type: list
    elements: str
    default: []
  proxy:
    description: As in M(papyrus.ops.http_probe).
    type: str
  ca_file:
    description: CA certificates for TLS. Those of the system when left out.
    type: path
  request_timeout:
    description: Seconds for one request.
    type: float
    default: 10
  least:
    description: Requests a target at least, so that whatever else is behind the load balancer can show itself.
    type: int
    default: 4
  most:
    description: Requests a target at most.
    type: int
    default: 40
  timeout:
    description: Seconds for all requests.
    type: float
    default: 60
  private:
    description: The run's private folder. Secrets that the run knows are taken out of the result.
    type: path
  fail:
    description: Whether a link that does not hold fails the task.
    type: bool
    default: true
seealso:
  - module: papyrus.ops.ecs_task_ip
  - module: papyrus.ops.http_probe
"""

EXAMPLES = r"""
- name: Tie image, task and answers together
  papyrus.ops.run_binding:
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    port: 5000
    target_group_arn: "{{ target_group_arn }}"
    registered: "{{ running.tasks }}"
    url: "http://{{ alb_dns_name }}/healthz"
    secret_headers:
      X-Papyrus-Run: "{{ header_value }}"
    identity_headers:
      task: X-Papyrus-Task
      image: X-Papyrus-Image
    released:
      digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

RETURN = r"""
status:
  description: V(ok), V(ng), or V(skip) when a link could not be compared.
  returned: success or when a link does not hold
  type: str
  sample: ok
reason:
  description: What is tied together, or which links do not hold with both values.
  returned: always
  type: str
  sample: 1 of 1 running tasks tied to sha256:9f86d081884c; 1 targets gave 6 answers
binding:
  description: The chains with every value, for the evidence file C(binding.json).
  returned: success or when a link does not hold
  type: dict
  sample:
    status: ok
    reason: 1 of 1 running tasks tied to sha256:9f86d081884c; 1 targets gave 6 answers
    task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
    asked: every target has answered (6 answers)
    chains:
      - task_arn: arn:aws:ecs:us-west-2:123456789012:task/papyrus-ecs-prd/0f6a2c5d8b7e4c0f9a1b2c3d4e5f6a7b
        status: ok
        links:
          - link: interface
            status: ok
            expected: eni-0a1b2c3d4e5f60718 10.20.1.17
            found: eni-0a1b2c3d4e5f60718 10.20.1.17 in-use
            text: EC2 says eni-0a1b2c3d4e5f60718 has 10.20.1.17
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

import traceback

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _binding,
    _binding_image,
    _binding_look,
    _ecs_tasks,
    _probe_request,
    _probe_run,
    _registry,
)
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str"},
    "port": {"type": "int", "required": True},
    "target_group_arn": {"type": "str"},
    "registered": {"type": "list", "elements": "dict", "default": []},
    "answers": {"type": "list", "elements": "dict", "default": []},
    "released": {
        "type": "dict",
        "options": {"digest": {"type": "str"}, "index_digest": {"type": "str"}, "task_definition": {"type": "str"}},
    },
    "identity_headers": {
        "type": "dict",
        "options": {"task": {"type": "str"}, "image": {"type": "str"}},
        "required_together": [("task", "image")],
    },
    "url": {"type": "str"},
    "secret_headers": {"type": "dict", "default": {}, "no_log": True},
    "connect_to": {"type": "list", "elements": "str", "default": []},
    "proxy": {"type": "str"},
    "ca_file": {"type": "path"},
    "request_timeout": {"type": "float", "default": 10},
    "least": {"type": "int", "default": 4},
    "most": {"type": "int", "default": 40},
    "timeout": {"type": "float", "default": 60},
    "private": {"type": "path"},
    "fail": {"type": "bool", "default": True},
}

ERRORS = (_aws.AwsFailure, _registry.RegistryFailure, _ecs_tasks.TaskProblem, _probe_request.BadRequest)


def subject_of(asked: dict) -> _binding_look.Subject:
    names = asked["identity_headers"] or {}
    headers = (names["task"], names["image"]) if names.get("task") else None
    kept = {key: asked[key] for key in ("cluster", "service", "container", "port", "target_group_arn")}
    return _binding_look.Subject(headers=headers, **kept)


def prober_of(asked: dict, clean: _probe_run.Clean) -> _probe_run.Prober:
    request = _probe_request.build(
        asked["url"],
        secret_headers=asked["secret_headers"],
        connect_to=asked["connect_to"],
        proxy=asked["proxy"],
    )
    settings = _probe_run.Settings(timeout=asked["request_timeout"], every_address=True, ca_file=asked["ca_file"])
    return _probe_run.Prober(request, _probe_run.Expect(status=()), settings, clean=clean)


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redactor = redact_results(module)
    asked = module.params
    if module.check_mode:
        reason = f"check mode: the identity chain of {asked['service']} is left out"
        module.exit_json(changed=False, skipped=True, msg=reason, reason=reason, request_ids=[])
    if _registry.ORAS_IMPORT_ERROR is not None:
        trace = "".join(traceback.format_exception(_registry.ORAS_IMPORT_ERROR))
        module.fail_json(msg=missing_required_lib("oras"), exception=trace)
    missing = [name for name in ("target_group_arn", "url") if not asked[name]]
    if missing:
        module.fail_json(msg=f"missing required arguments: {', '.join(missing)}", step="N2")
    released = _binding.Released(**{key: value or "" for key, value in (asked["released"] or {}).items()})
    calls = Calls(_aws.module_clients(module))

    def image_of(task_definition: str) -> _binding.Image:
        def registry() -> _registry.Registry:
            return _registry.Registry(_registry.ecr_endpoint(calls.clients))

        named = (asked["container"], registry, released.index_digest)
        return _binding_image.definition_image(calls, task_definition, *named)

    try:
        facts, ended = _binding_look.gather(
            calls,
            subject_of(asked),
            image_of,
            prober_of(asked, redactor.redact_text).run,
            asked["url"],
            asked["registered"],
            asked["answers"],
            released,
            _binding_look.Limits(timeout=asked["timeout"], least=asked["least"], most=asked["most"]),
        )
    except ERRORS as exc:
        module.fail_json(msg=str(exc), step="N2", reason=str(exc), request_ids=calls.request_ids)
    made = _binding.compare(facts)
    result = {
        "status": made.status,
        "reason": made.reason,
        "binding": {**_binding_look.shown(facts), "asked": ended, **made.as_dict()},
        "request_ids": calls.request_ids,
    }
    if made.status == "ng" and asked["fail"]:
        module.fail_json(msg=f"the identity chain does not hold: {made.reason}", step="N2", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
