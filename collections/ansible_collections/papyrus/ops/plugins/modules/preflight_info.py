# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers every question of the preflight at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_info
short_description: Check an ECS service, its database, its network and the runner before a temporary ALB is made
version_added: 0.1.0
description:
  - Evaluates all rows of the preflight side by side and returns them with reasons, request ids and items of evidence.
  - Row B10 (caller, account, region) comes first and alone. When it is NG, no other call is made.
  - A row that cannot be answered is NG with its cause and does not end the others.
  - The module does not fail on NG rows, so that the caller can keep the evidence first; see RV(failed_rows).
  - B(Row B1 runs the application's code), see M(papyrus.ops.flask_routes_info).
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - psycopg >= 3.1 (for O(db_login=direct))
  - websockets >= 13 (for O(db_login=exec))
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.preflight
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  before:
    description:
      - What the questions are asked before. What a release itself changes does not refuse it. It may begin with Exec
        off or without a running agent, with a weak C(PGSSLMODE), and with tasks that die. A rollout in flight, a
        desired count of 0 and a read-only root filesystem refuse both.
    type: str
    choices: [smoke, release]
    default: smoke
  rows:
    description: Ids of the rows to evaluate. All when empty. B10 is always evaluated.
    type: list
    elements: str
    default: []
  run_id:
    description: Id of this run, for the names that it is about to take.
    type: str
  private:
    description: The run's private folder, where the database's password is made known for redaction.
    type: path
"""

EXAMPLES = r"""
- name: Compare the service with what a release needs
  papyrus.ops.preflight_info:
    account_id: "123456789012"
    expected_region: us-west-2
    cluster: papyrus-ecs-prd
    service: papyrus-task-service
    container: app
    port: 5000
    secret_id: papyrus/prd/db
    db_instance: papyrus-prd
    db_username_rule: papyrus_app
    db_ca_file: /etc/ssl/rds-ca.pem
    vpc_id: vpc-0a1b2c3d4e5f60718
    tasks_sg_id: sg-0a1b2c3d4e5f60718
    alb_subnet_ids: [subnet-0a1b2c3d4e5f60718, subnet-0b1b2c3d4e5f60718]
    alb_ingress_cidrs: [203.0.113.7/32]
    app_source: app
    app_factory: papyrus:create_app
    routes_required: [/healthz, /dbcheck]
  register: preflight

- name: Every row is OK, or skipped for a reason
  ansible.builtin.assert:
    that: preflight.failed_rows | length == 0
    fail_msg: "{{ preflight.table | split('\n') }}"
"""

RETURN = r"""
rows:
  description: The rows in reading order. Only B10 when that is NG.
  returned: always
  type: list
  elements: dict
  sample:
    - id: B12
      title: Database is available
      status: ok
      reason: papyrus-prd is available, postgres 16.4
      data: {status: available, engine: postgres 16.4, ca: rds-ca-rsa2048-g1, publicly_accessible: false}
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
table:
  description: The rows as text, one a line.
  returned: always
  type: str
  sample: "OK    B12  Database is available  papyrus-prd is available, postgres 16.4"
ok:
  description: Whether no row is NG.
  returned: always
  type: bool
  sample: true
failed_rows:
  description: Ids of the NG rows.
  returned: always
  type: list
  elements: str
  sample: []
skipped_rows:
  description: Ids of the skipped rows.
  returned: always
  type: list
  elements: str
  sample: [B14]
facts:
  description:
    - What later steps use, each V(null) when it has no answer. Keys are C(tasks), C(left_out), C(targets), C(service),
      C(task_definition), C(routes), C(drift), C(sg_inbound) and C(parameters).
  returned: always
  type: dict
  sample:
    targets: [{Id: 10.20.1.17, Port: 5000, AvailabilityZone: us-west-2a}]
evidence:
  description: Items for M(papyrus.ops.evidence_capture).
  returned: always
  type: list
  elements: dict
  sample:
    - name: preflight.json
      status: ok
      step: B
      media_type: application/json
      content: {rows: [], table: []}
      meta: {rows: [], request_ids: []}
elapsed:
  description: Seconds that all rows together took.
  returned: always
  type: float
  sample: 1.9
"""

import time

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _aws,
    _preflight,
    _preflight_options,
    _preflight_report,
    _rows,
)
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

ARGUMENTS = {
    **_preflight_options.ARGUMENTS,
    "before": {"type": "str", "choices": ["smoke", "release"], "default": "smoke"},
    "rows": {"type": "list", "elements": "str", "default": []},
    "run_id": {"type": "str"},
    "private": {"type": "path"},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    started = time.monotonic()
    try:
        settings = _preflight_options.settings_of(_preflight.Settings, asked, dry=module.check_mode)
        checks = _preflight_report.chosen(asked["rows"])
    except Exception as exc:  # a profile that does not exist, an unreadable role: botocore's own words
        module.fail_json(msg=f"the preflight cannot begin: {exc}", step="B10")

    def register(password: str) -> None:
        module.no_log_values.add(password)  # a last net: what leaves this module cannot contain it
        if asked["private"]:
            Redactor.register(asked["private"], "db-password", password)

    facts = _preflight.Facts(_aws.module_clients(module, retries=_preflight.RETRIES), settings)
    facts.register = register
    rows = _preflight.run(_preflight_report.IDENTITY, checks, facts)
    module.exit_json(
        changed=False,
        rows=[row.as_dict() for row in rows],
        table=_rows.table(rows),
        ok=not _rows.ids_of(rows, "ng"),
        failed_rows=_rows.ids_of(rows, "ng"),
        skipped_rows=_rows.ids_of(rows, "skip"),
        facts=_preflight_report.facts_for_later(facts),
        evidence=_preflight_report.evidence(rows, facts, settings.app_factory),
        elapsed=round(time.monotonic() - started, 3),
    )


if __name__ == "__main__":
    main()
