#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a private copy of a Terraform stack to work in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: terraform_work
short_description: Make a private copy of a Terraform stack to work in
version_added: 0.1.0
description:
  - Copies the C(*.tf) and C(*.tf.json) files of a stack into a folder of mode 0700 and lays further files beside them.
  - Writes the variables into C(stack.auto.tfvars.json) and the backend into C(backend.tf.json), both of mode 0600, and
    removes Terraform files in the folder that belong to neither.
  - For a local state, the state file and its backup are made with mode 0600 before Terraform would make them readable.
  - Other C(*.auto.tfvars.json) files in the folder stay, so that a secret variable can be written by who knows it.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - papyrus.ops.attributes
attributes:
  check_mode:
    support: full
    details:
      - Says which files would be written or removed. To plan in check mode, run this task with C(check_mode=false).
  diff_mode:
    support: none
    details:
      - Variables may be private.
  idempotent:
    support: full
options:
  source:
    description: Folder of the stack. It is never written to.
    type: path
    required: true
  folder:
    description: Folder to work in.
    type: path
    required: true
  state:
    description: State file, for the local backend.
    type: path
    required: true
  files:
    description: Further files for the copy, such as C(*_override.tf).
    type: list
    elements: path
    default: []
  variables:
    description: Values of Terraform variables. Not for secret ones.
    type: dict
    default: {}
  backend:
    description: Backend by its type, with its arguments. Empty for a local state.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Stage the network
  papyrus.ops.terraform_work:
    source: infra/00-network
    folder: /var/lib/papyrus/00-network/work
    state: /var/lib/papyrus/00-network/terraform.tfstate
    variables:
      region: us-west-2
      name: papyrus-prd
      vpc_cidr: 10.20.0.0/16
    backend:
      s3:
        bucket: papyrus-terraform-state
        key: papyrus-prd/00-network.tfstate
        region: us-west-2
        use_lockfile: true
        encrypt: true
"""

RETURN = r"""
files:
  description: Files that were written or removed.
  returned: success
  type: list
  elements: str
  sample: [backend.tf.json, main.tf, stack.auto.tfvars.json]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._terraform_work import StackUnusable, Work


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "folder": {"type": "path", "required": True},
            "state": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "variables": {"type": "dict", "default": {}},
            "backend": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    work = Work(
        Path(given["source"]),
        Path(given["folder"]),
        Path(given["state"]),
        [Path(path) for path in given["files"]],
        given["variables"],
        given["backend"],
    )
    try:
        files = work.differences() if module.check_mode else work.make()
    except (StackUnusable, OSError) as exc:
        module.fail_json(msg=f"The copy of the stack {given['source']} could not be made: {exc}")
    module.exit_json(changed=bool(files), files=files)


if __name__ == "__main__":
    main()
