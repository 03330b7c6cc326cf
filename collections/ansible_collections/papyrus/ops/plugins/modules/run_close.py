#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ends a run: its verdict as the last item, the ledger entry, the guard and the private folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_close
short_description: End a run with its verdict
version_added: 0.1.0
description:
  - Writes C(verdict.json) as the last item of the bundle, closes the run in the ledger, ends the guard and removes
    the run-private
    folder.
  - The verdict is PASSED when every check is C(ok), everything is proved gone and the working tree is clean; WARNED
    when it is passed
    with a skip that O(allowed_skips) has, or with a tree that is not clean; FAILED otherwise.
  - A FAILED verdict does not fail this module. Assert RV(verdict) afterwards, so that the text is printed.
  - It refuses to close a run whose temporary ALB may still be there. The guard stays then and takes it down when the
    playbook ends.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Does nothing, as nothing was opened in check mode.
  diff_mode:
    support: none
    description: The verdict is returned.
  idempotent:
    support: full
    description: A verdict is written once; a second call returns it.
options:
  run:
    description: The run as M(papyrus.ops.run_open) returned it.
    type: dict
    required: true
  failure:
    description: What ended the run, as step, task and cause. Empty when nothing did.
    type: dict
    default: {}
  allowed_skips:
    description: Ids of checks that may be skipped.
    type: list
    elements: str
    default: []
seealso:
  - module: papyrus.ops.run_open
"""

EXAMPLES = r"""
- name: Close the run with its verdict
  papyrus.ops.run_close:
    run: "{{ opened.run }}"
    failure: "{{ first_failure | default({}) }}"
    allowed_skips: [B2]
  register: closed

- name: Say the verdict
  ansible.builtin.assert:
    that: closed.verdict.result in ['PASSED', 'WARNED']
    success_msg: "{{ closed.text | split('\n') }}"
    fail_msg: "{{ closed.text | split('\n') }}"
"""

RETURN = r"""
verdict:
  description: Content of C(verdict.json).
  returned: success
  type: dict
  contains:
    result:
      description: PASSED, WARNED or FAILED.
      type: str
      sample: FAILED
    first_failure:
      description: What failed first, or nothing.
      type: dict
      sample: {step: D1, name: dbcheck.log, task: Ask every path, cause: "/dbcheck answered 503"}
    failed_destroy:
      description: The failure of the destroy or of the gone-check, or nothing.
      type: dict
      sample:
    release:
      description:
        - What became of the rollout, as the last item that speaks of it says. Nothing when the run released nothing.
        - C(proven) is true only when the new revision serves and everything else of the run passed as well.
      type: dict
      sample:
        result: rolled_back
        by: deployment circuit breaker
        task_definition: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:8
        serving: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
        previous: arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7
        cause: container app ended with exit code 3
        proven: false
    gone:
      description: Result of the gone-check, V(missing), or V(not needed) when the run could create nothing.
      type: str
      sample: ok
    counts:
      description: Number of checks by status.
      type: dict
      sample: {ok: 31, ng: 1, skip: 0, info: 12}
    warnings:
      description: Why a run is not PASSED although nothing failed.
      type: list
      elements: str
      sample: []
text:
  description: The checks by step, status and reason, first failure and result, for a terminal.
  returned: success
  type: str
  sample: "D1  NG  dbcheck.log  /dbcheck answered 503\nFAILED  evidence: docs/evidence/runs/20260131T120000Z-abc234"
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._run_close import CloseError, close_run


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "dict", "required": True},
            "failure": {"type": "dict", "default": {}},
            "allowed_skips": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=False, verdict={"result": "CHECK MODE"}, text="check mode: no run, no verdict")
    try:
        module.exit_json(**close_run(given["run"], given["failure"], given["allowed_skips"]))
    except CloseError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
