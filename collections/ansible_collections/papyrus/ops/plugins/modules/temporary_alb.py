#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Creates and removes the temporary ALB of a run through its guard."""

from __future__ import annotations

DOCUMENTATION = r"""
module: temporary_alb
short_description: Create and remove the temporary ALB of a run
version_added: 0.1.0
description:
  - Asks the guard of the run to apply or to destroy the Terraform stack that M(papyrus.ops.run_open) was given.
    Terraform is a child
    of the guard, so neither the end of this module nor that of C(ansible-playbook) tears it apart.
  - Evidence is written by the guard as things happen. After an apply these are C(terraform_apply.log),
    C(terraform_outputs.json) and C(terraform.tfstate), after a destroy C(terraform_destroy.log),
    C(alb_sg_leftover.json),
    C(alb_sg_delete.log) and C(alb_sg_verify_gone.json). Do not capture them again.
  - O(state=absent) destroys with bounded retries, then asks AWS by tags, rule descriptions and ids whether everything
    is gone. When the
    guard is dead, it does so in this process. It creates nothing without a guard.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description:
      - O(state=started) runs C(terraform plan) of O(stack) in a folder that is removed afterwards and shows it as
        the diff. It reads from AWS and writes nothing. The other states say which names would come or go.
  diff_mode:
    support: full
    description: Shows the AWS names that come or go.
  idempotent:
    support: full
    description: Each run applies once and destroys once; a failed destroy is tried again.
options:
  run:
    description: The run as M(papyrus.ops.run_open) returned it.
    type: dict
    required: true
  state:
    description:
      - V(started) begins C(terraform apply) and returns at once.
      - V(present) begins it where it has not begun, and waits for its end.
      - V(absent) interrupts an apply under way once, destroys, and proves that everything is gone.
    type: str
    choices: [started, present, absent]
    default: present
  stack:
    description: The stack as M(papyrus.ops.run_open) takes it. Only check mode needs it, a real run's guard has it.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds to wait. Default is 1200 for V(present) and 3600 for V(absent). The guard goes on when they are over.
    type: int
seealso:
  - module: papyrus.ops.run_open
  - module: papyrus.ops.run_leftovers_info
"""

EXAMPLES = r"""
- name: Start the temporary ALB, and do other things meanwhile
  papyrus.ops.temporary_alb:
    run: "{{ opened.run }}"
    state: started

- name: Wait for the temporary ALB
  papyrus.ops.temporary_alb:
    run: "{{ opened.run }}"
    state: present
  register: alb

- name: Remove it, whatever has happened, and prove that it is gone
  papyrus.ops.temporary_alb:
    run: "{{ opened.run }}"
    state: absent
"""

RETURN = r"""
plan:
  description: What Terraform would create.
  returned: when O(state=started) in check mode
  type: str
  sample: "Terraform will perform the following actions:\n\n  # aws_lb.this will be created\n"
outputs:
  description: Outputs of the stack without sensitive ones.
  returned: when O(state=present)
  type: dict
  sample:
    alb_arn: arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/50dc6c495c0c9188
    alb_dns_name: papyrus-smoke-abc234-1234567890.us-west-2.elb.amazonaws.com
    alb_sg_id: sg-0fedcba9876543210
    url: http://papyrus-smoke-abc234-1234567890.us-west-2.elb.amazonaws.com
attempts:
  description: Each attempt to destroy, and why it failed.
  returned: when O(state=absent)
  type: list
  elements: dict
  sample:
    - {number: 1, ok: true, error: "", seconds: 14.2, exit_code: 0}
gone:
  description: Whether Describe calls show that nothing of the run is there. A call that fails is never V(true).
  returned: when O(state=absent)
  type: bool
  sample: true
swept:
  description:
    - Whether Terraform did not take everything, so that the rest was deleted by its tags. Then the module fails, also
      when everything is gone.
  returned: when O(state=absent)
  type: bool
  sample: false
left:
  description: What is left in AWS.
  returned: when O(state=absent)
  type: list
  elements: dict
  sample: []
by_hand:
  description: AWS CLI commands that delete what is left, in order.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: []
seconds:
  description: Duration of the apply, or of the destroy with its proof.
  returned: when O(state=present) or O(state=absent)
  type: float
  sample: 61.4
log:
  description: Last lines of what Terraform said.
  returned: when O(state=present) or O(state=absent)
  type: list
  elements: str
  sample: ["Apply complete! Resources: 8 added, 0 changed, 0 destroyed."]
guard:
  description: Whether the guard did it (V(alive)) or this process, because the guard was V(dead).
  returned: when O(state=absent)
  type: str
  sample: alive
cause:
  description: What failed, in one line that names resource and AWS error.
  returned: failure
  type: str
  sample: "terraform apply ended with exit code 1: aws_lb.this: error creating ELBv2 Load Balancer: AccessDenied: no"
step:
  description: Id of the step that failed.
  returned: failure
  type: str
  sample: C1
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._run_alb import AlbFailure, predict, remove, start, wait_present


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["started", "present", "absent"], "default": "present"},
            "stack": {"type": "dict", "default": {}},
            "timeout": {"type": "int"},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    run, state, timeout = module.params["run"], module.params["state"], module.params["timeout"]
    try:
        if module.check_mode:
            module.exit_json(**predict(run, state, {"stack": module.params.pop("stack")}))
        module.params.pop("stack")
        if state == "started":
            module.exit_json(**start(run))
        if state == "present":
            module.exit_json(**wait_present(run, timeout or 1200))
        module.exit_json(**remove(run, timeout or 3600))
    except AlbFailure as exc:
        module.fail_json(msg=str(exc), **exc.result)


if __name__ == "__main__":
    main()
