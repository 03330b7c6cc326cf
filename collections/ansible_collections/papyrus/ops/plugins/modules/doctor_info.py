# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks everything that a first run on an account could fail on, and changes nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_info
short_description: Look at an AWS account before the first run, without changing anything
version_added: 0.1.0
description:
  - Evaluates the rows of M(papyrus.ops.preflight_info), and those that matter before a first run. These are
    permissions by policy simulation, clock, deployment type, platform, way out of the tasks, quotas, what a smoke
    would create, and what it would cost by list prices.
  - Every call reads. No ECS Exec session is opened, also with O(db_login=exec); row B2 is then skipped.
  - Row B10 (caller, account, region) comes first and alone. When it is NG, no other call is made.
  - A row that cannot be answered is NG with its cause and does not end the others. Where doctor alone is not allowed
    to ask, the row is WARN with the statement to add.
  - The module does not fail on NG rows, so that the caller can write its report first; see RV(failed_rows).
  - Policy simulation knows neither session policies nor policies of resources and VPC endpoints.
  - B(Row B1 runs the application's code), see M(papyrus.ops.flask_routes_info).
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - psycopg >= 3.1 (for O(db_login=direct))
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.preflight
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  must:
    description:
      - Playbooks that these credentials have to be able to run. What is refused to them is NG.
      - The other playbooks of a runner are asked for as well, and are WARN.
    type: list
    elements: str
    choices: [alb_smoke, release, schema, audit_export, sweep]
    default: [alb_smoke]
  drills:
    description: Whether alarm drills are run, so that a sweep needs what takes away what they leave.
    type: bool
    default: false
  repository:
    description: ECR repository of the image.
    type: str
  base_image:
    description: Base image of a release, for its repository where that is one of this account.
    type: str
  image_platform:
    description: Platform of the image that a release would make.
    type: str
    default: linux/amd64
  log_group:
    description: Log group of the app. That of the task definition when left out.
    type: str
  audit_log_groups:
    description: Log groups that C(audit_export.yml) reads. That of the app when empty.
    type: list
    elements: str
    default: []
  db_master_secret_id:
    description: Secret of the owner's login.
    type: str
  fresh_login:
    description: Whether a run starts a task of its own for a fresh login.
    type: bool
    default: false
  rollout_timeout:
    description: Seconds after which a release takes a rollout back, where the service has no circuit breaker.
    type: float
  ledger:
    description: Folder or C(s3://) address of the ledger.
    type: str
  signing_key:
    description: KMS key of the signer. Its permissions are asked for by id or ARN, not by alias.
    type: str
  alarm_name:
    description: What the names of the permanent alarms begin with. O(service) when left out.
    type: str
  certificate_arn:
    description: Certificate of the temporary ALB.
    type: str
  trace_file:
    description:
      - File that gets a trace of what was asked - operations, names and types of parameters and answers, codes and
        times, no values. It is made with mode 0600 and must not exist.
    type: path
  next_command:
    description: What the last line of the table tells to do when nothing is NG.
    type: str
    default: ansible-playbook playbooks/alb_smoke.yml --check
"""

EXAMPLES = r"""
- name: Look at the account of a new inventory
  papyrus.ops.doctor_info:
    account_id: "123456789012"
    expected_region: us-west-2
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    port: 5000
    secret_id: papyrus/prd/db
    db_instance: papyrus-prd
    vpc_id: vpc-0a1b2c3d4e5f60718
    tasks_sg_id: sg-0a1b2c3d4e5f60718
    alb_subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0b1b2c3d4e5f60718]
    alb_ingress_cidrs: [203.0.113.7/32]
    repository: papyrus
  register: doctor

- name: Show what it found
  ansible.builtin.debug:
    msg: "{{ doctor.table.splitlines() }}"
"""

RETURN = r"""
rows:
  description: The rows in reading order. Only B10 when that is NG.
  returned: always
  type: list
  elements: dict
  sample:
    - id: balancers
      title: "Quota: Load balancers"
      section: 7. Quotas
      status: warn
      reason: "45 of 50 application load balancers: room for 5 runs at once, not for 10"
      do: "ask for more before many run at once: aws service-quotas request-service-quota-increase
        --service-code elasticloadbalancing --quota-code L-53DA6B97"
      data: {used: 45, limit: 50.0, each: 1}
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
table:
  description: The rows as text, section by section. The last line says what to do next.
  returned: always
  type: str
  sample: "7. Quotas\n   OK    groups  Quota: Security groups  12 of 2500 security groups: room for 10 runs at once"
markdown:
  description: The same as Markdown.
  returned: always
  type: str
  sample: "# doctor\n\n## 7. Quotas\n"
next:
  description: The last line of the table.
  returned: always
  type: str
  sample: "ready: ansible-playbook playbooks/alb_smoke.yml --check"
ok:
  description: Whether no row is NG.
  returned: always
  type: bool
  sample: true
counts:
  description: How many rows are C(ok), C(warn), C(ng) and C(skip).
  returned: always
  type: dict
  sample: {ok: 35, warn: 2, ng: 0, skip: 1}
failed_rows:
  description: Ids of the NG rows.
  returned: always
  type: list
  elements: str
  sample: []
warned_rows:
  description: Ids of the WARN rows.
  returned: always
  type: list
  elements: str
  sample: [balancers]
elapsed:
  description: Seconds that all rows together took.
  returned: always
  type: float
  sample: 3.2
trace:
  description: Where the trace was written, or why it was not. Empty when none was asked for.
  returned: always
  type: str
  sample: "Trace: /home/me/doctor-trace.jsonl (97 calls, 0 lost)"
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _doctor,
    _doctor_needs,
    _doctor_settings,
    _preflight,
    _preflight_options,
    _rows,
    _trace_file,
)
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    **_preflight_options.ARGUMENTS,
    "must": {"type": "list", "elements": "str", "choices": list(_doctor_needs.PLAYBOOKS), "default": ["alb_smoke"]},
    "drills": {"type": "bool", "default": False},
    "repository": {"type": "str"},
    "base_image": {"type": "str"},
    "image_platform": {"type": "str", "default": "linux/amd64"},
    "log_group": {"type": "str"},
    "audit_log_groups": {"type": "list", "elements": "str", "default": []},
    "db_master_secret_id": {"type": "str", "no_log": False},
    "fresh_login": {"type": "bool", "default": False},
    "rollout_timeout": {"type": "float"},
    "ledger": {"type": "str"},
    "signing_key": {"type": "str", "no_log": False},
    "alarm_name": {"type": "str"},
    "certificate_arn": {"type": "str"},
    "trace_file": {"type": "path"},
    "next_command": {"type": "str", "default": "ansible-playbook playbooks/alb_smoke.yml --check"},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    started = time.monotonic()
    try:
        traced = _trace_file.record_alone(module.tmpdir, asked["trace_file"], "doctor_info")
        settings = _preflight_options.settings_of(_doctor_settings.DoctorSettings, asked, dry=True)
    except Exception as exc:  # a profile that does not exist, an unreadable role: botocore's own words
        module.fail_json(msg=f"doctor cannot begin: {exc}", step="B10")
    facts = _preflight.Facts(_aws.module_clients(module, retries=_preflight.RETRIES), settings)
    facts.register = module.no_log_values.add  # a last net: what leaves this module cannot contain the password
    rows = _doctor.run(facts)
    trace = traced("FAILED" if _rows.ids_of(rows, "ng") else "PASSED")
    module.exit_json(
        changed=False,
        rows=_doctor.as_dicts(rows),
        table=_doctor.text(rows, asked["next_command"]),
        markdown=_doctor.markdown(rows, asked["next_command"]),
        next=_doctor.last_line(rows, asked["next_command"]),
        ok=not _rows.ids_of(rows, "ng"),
        counts=_doctor.counts(rows),
        failed_rows=_rows.ids_of(rows, "ng"),
        warned_rows=_rows.ids_of(rows, "warn"),
        elapsed=round(time.monotonic() - started, 3),
        trace=trace,
    )


if __name__ == "__main__":
    main()
