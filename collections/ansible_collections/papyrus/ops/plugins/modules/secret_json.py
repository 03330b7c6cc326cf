#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a JSON secret of Secrets Manager; passwords are made once and never returned."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_json
short_description: Keep a JSON secret with values that are generated once
version_added: 0.1.0
description:
  - Brings the keys of a JSON secret in AWS Secrets Manager to given values, and generates a password for each key in
    O(generate) that has none yet. Keys that are not mentioned stay as they are.
  - No value of the secret is returned, shown by C(--diff) or passed by argument. Whoever needs one gets it through the
    file of O(export).
  - C(community.aws.secretsmanager_secret) needs the whole value as argument, and lookups do not see the C(environment)
    of a play, so that they could ask another account than the tasks beside them.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    details:
      - Says what would change; neither the secret nor the file is written.
  diff_mode:
    support: full
    details:
      - Shows the names of the keys and why each would change, never a value.
  idempotent:
    support: full
options:
  secret_id:
    description: Name or ARN of the secret.
    type: str
    required: true
  values:
    description: Keys and their values. Not for secret ones.
    type: dict
    default: {}
  generate:
    description: Keys whose value is generated when they have none.
    type: list
    elements: str
    default: []
  create:
    description: Make the secret when it does not exist; otherwise that is an error.
    type: bool
    default: false
  description:
    description: Description of a secret that is made.
    type: str
    default: ""
  export:
    description: A private copy of some keys, for a program that takes them from a file.
    type: dict
    suboptions:
      path:
        description: File of mode 0600 with a JSON object. Its folder must exist.
        type: path
        required: true
      keys:
        description: Key of the secret, and the name that it gets in the file.
        type: dict
        required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
"""

EXAMPLES = r"""
- name: Keep the master password, and give it to Terraform
  papyrus.ops.secret_json:
    secret_id: papyrus/prd/db-master
    create: true
    values: {username: papyrus_admin}
    generate: [password]
    export:
      path: /var/lib/papyrus/10-rds/work/master.auto.tfvars.json
      keys: {password: master_password}

- name: Tell the app where its database is
  papyrus.ops.secret_json:
    secret_id: papyrus/prd/db
    values:
      host: papyrus-prd.abc123.us-west-2.rds.amazonaws.com
      port: "5432"
      dbname: papyrus
      username: papyrus_app
    generate: [password]
"""

RETURN = r"""
key_names:
  description: Names of all keys that the secret has now.
  returned: success
  type: list
  elements: str
  sample: [dbname, host, password, port, username]
changes:
  description: Keys that changed, and why.
  returned: success
  type: dict
  sample: {host: changed, password: generated}
created:
  description: Whether the secret did not exist before.
  returned: success
  type: bool
  sample: false
exported:
  description: Whether the private copy was written anew.
  returned: success
  type: bool
  sample: true
version_id:
  description: Version that was written, or nothing.
  returned: success
  type: str
  sample: 3f0c9a52-4d0e-4b6b-8a57-b0f6d1a3d2c1
request_ids:
  description: AWS request ids of the calls.
  returned: success
  type: list
  elements: str
  sample: [7a1b2c3d-0000-4000-8000-9e8d7c6b5a40]
"""

from pathlib import Path

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

from ..module_utils._aws import AwsFailure, module_clients
from ..module_utils._calls import Calls
from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._secret_json import SecretUnusable, Wanted, export, keep


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "secret_id": {"type": "str", "required": True, "no_log": False},
            "values": {"type": "dict", "default": {}},
            "generate": {"type": "list", "elements": "str", "default": []},
            "create": {"type": "bool", "default": False},
            "description": {"type": "str", "default": ""},
            "export": {
                "type": "dict",
                "options": {
                    "path": {"type": "path", "required": True},
                    "keys": {"type": "dict", "required": True, "no_log": False},
                },
            },
        },
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    wanted = Wanted(given["secret_id"], given["values"], given["generate"], given["create"], given["description"])
    calls = Calls(module_clients(module))
    exported = False
    try:
        kept = keep(calls, wanted, check=module.check_mode)
        if given["export"]:
            target = Path(given["export"]["path"])
            exported = export(kept.document, target, given["export"]["keys"], check=module.check_mode)
    except KeyError as exc:
        module.fail_json(msg=f"secret {wanted.secret_id} has no key {exc} to export; name it in values or generate")
    except (AwsFailure, SecretUnusable, OSError) as exc:
        module.fail_json(msg=str(exc), request_ids=calls.request_ids)
    module.exit_json(
        changed=bool(kept.changes or kept.created),
        key_names=sorted(kept.document),
        changes=kept.changes,
        created=kept.created,
        exported=exported,
        version_id=kept.version_id,
        request_ids=calls.request_ids,
        diff={"before": "", "after": "".join(f"{key}: {why}\n" for key, why in sorted(kept.changes.items()))},
    )


if __name__ == "__main__":
    main()
