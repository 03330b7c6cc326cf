# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a database secret with its RDS instance and proves it by a login."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets_rds_drift
short_description: Compare a secret in Secrets Manager with the RDS instance that it is for
version_added: 0.1.0
description:
  - Compares host, port, database (spelled C(dbname) or C(database)) and username of a JSON secret with an RDS for
    PostgreSQL instance, and proves the password by a login with exactly these values over TLS (C(verify-full)).
  - The password is never returned, logged, or part of an argument list. It is not sent anywhere when host, port or
    username differ from the instance's.
  - A key that is absent because RDS manages the secret is skipped.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - psycopg >= 3.1 (for O(login=direct))
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  secret_id:
    description: Name or ARN of the secret.
    type: str
    required: true
  db_instance:
    description: Identifier of the RDS instance.
    type: str
    required: true
  username_rule:
    description:
      - Whom the secret must name. V(master) stands for the instance's master user, anything else is the name of a role.
    type: str
    default: master
  dbname:
    description:
      - The database that the secret must name.
      - RDS' C(DBName) when left out. That is the database made with the instance; when RDS reports none, the login
        proves the secret's.
    type: str
  login:
    description:
      - V(direct) logs in from the host on which the module runs.
      - V(none) leaves the login out; its row is then skipped, with that reason.
    type: str
    choices: [direct, none]
    default: direct
  ca_file:
    description: CA certificates against which the server's certificate is verified. Needed for O(login=direct).
    type: path
  hostaddr:
    description: IP address to connect to. The certificate is still verified against the secret's host.
    type: str
  connect_timeout:
    description: Seconds for the connection.
    type: int
    default: 15
  statement_timeout:
    description: Seconds for a statement.
    type: int
    default: 15
  private:
    description:
      - The run's private folder, see M(papyrus.ops.run_open). The password is made known there, so that no evidence can
        contain it.
    type: path
  fail:
    description: Whether a difference fails the task.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The secret is the database's
  papyrus.ops.secrets_rds_drift:
    secret_id: papyrus/prd/db
    db_instance: papyrus-prd
    username_rule: papyrus_app
    ca_file: /etc/ssl/rds-ca.pem
"""

RETURN = r"""
rows:
  description: One row for each key, for the secret itself and for the login.
  returned: always
  type: list
  elements: dict
  sample:
    - id: host
      title: Secret's host is the instance's endpoint
      status: ok
      reason: papyrus-prd.abcdefghijkl.us-west-2.rds.amazonaws.com
      data:
        secret: papyrus-prd.abcdefghijkl.us-west-2.rds.amazonaws.com
        expected: papyrus-prd.abcdefghijkl.us-west-2.rds.amazonaws.com
        key: host
      request_ids: []
drifted:
  description: Ids of the rows that are NG.
  returned: always
  type: list
  elements: str
  sample: []
facts:
  description: What is known about secret, instance and session, without secrets.
  returned: always
  type: dict
  sample:
    secret_arn: arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf
    secret_keys: [dbname, host, password, port, username]
    managed_by_rds: false
    login: {user: papyrus_app, database: papyrus, ssl: true, tls_version: TLSv1.3, password_asked: true}
table:
  description: The rows as text.
  returned: always
  type: str
  sample: "OK  host  Secret's host is the instance's endpoint  papyrus-prd.abcdefghijkl.us-west-2.rds.amazonaws.com"
request_ids:
  description: Request ids of the AWS calls, in order.
  returned: always
  type: list
  elements: str
  sample: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
"""

from functools import partial

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _db_login, _rows, _secret_drift
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "secret_id": {"type": "str", "required": True, "no_log": False},
            "db_instance": {"type": "str", "required": True},
            "username_rule": {"type": "str", "default": "master"},
            "dbname": {"type": "str"},
            "login": {"type": "str", "choices": ["direct", "none"], "default": "direct"},
            "ca_file": {"type": "path"},
            "hostaddr": {"type": "str"},
            "connect_timeout": {"type": "int", "default": 15},
            "statement_timeout": {"type": "int", "default": 15},
            "private": {"type": "path"},
            "fail": {"type": "bool", "default": True},
        },
        required_if=[("login", "direct", ["ca_file"])],
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    if asked["login"] == "direct" and _db_login.PSYCOPG_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("psycopg[binary]"), exception=_db_login.PSYCOPG_IMPORT_ERROR)
    calls = Calls(_aws.module_clients(module))
    question = _secret_drift.Question(
        secret_id=asked["secret_id"],
        db_instance=asked["db_instance"],
        username_rule=asked["username_rule"],
        dbname=asked["dbname"],
        login=asked["login"],
    )
    transport = _db_login.Transport(
        ca_file=asked["ca_file"],
        hostaddr=asked["hostaddr"],
        connect_timeout=asked["connect_timeout"],
        statement_timeout=asked["statement_timeout"],
    )

    def register(password: str) -> None:
        module.no_log_values.add(password)  # a last net: what leaves this module cannot contain it
        if asked["private"]:
            Redactor.register(asked["private"], "db-password", password)

    try:
        drift = _secret_drift.check(calls, question, partial(_db_login.login, transport=transport), register=register)
    except _aws.AwsFailure as exc:
        module.fail_json(msg=str(exc), step="B2", request_ids=calls.request_ids)
    result = {
        "rows": [row.as_dict() for row in drift.rows],
        "drifted": drift.failed,
        "facts": _rows.json_safe(drift.facts),
        "table": _rows.table(drift.rows),
        "request_ids": calls.request_ids,
    }
    if drift.failed and asked["fail"]:
        reasons = "; ".join(f"{row.id} ({row.reason})" for row in drift.rows if row.status == "ng")
        message = f"secret {asked['secret_id']} does not fit database instance {asked['db_instance']}: {reasons}"
        module.fail_json(msg=message, step="B2", **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
