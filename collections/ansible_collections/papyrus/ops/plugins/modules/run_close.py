#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ends a run: its verdict as the last item, the seal, the ledger entry, the guard and the private folder."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_close
short_description: End a run with its verdict and its seal
version_added: 0.1.0
description:
  - Writes C(verdict.json) as the last item of the bundle, seals the bundle by the signer that M(papyrus.ops.run_open)
    was given, closes the run in the ledger with the hash of the attestation, ends the guard and removes the
    run-private folder. A FAILED run is sealed as well.
  - Sealing writes C(junit.xml), C(report.html), C(SHA256SUMS) and, last, C(attestation.dsse.json). Without a signer
    the first three are written and nothing is signed.
  - The verdict is PASSED when every check is C(ok), everything is proved gone, the working tree is clean and there is
    a signer; WARNED when it is passed with a skip that O(allowed_skips) has, with a tree that is not clean or
    without a signer; FAILED otherwise.
  - A FAILED verdict does not fail this module. Assert RV(verdict) afterwards, so that the text is printed.
  - When the bundle cannot be sealed, or the run not be closed in the ledger, the module fails with the verdict's text,
    the cause and the command that seals later. Where the run has a guard, that tries once more when the playbook ends.
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
    description: Verdict and seal are made once; a second call returns them.
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
  - module: papyrus.ops.evidence_seal
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
  returned: success, and when only the seal or the ledger failed
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
sealed:
  description: How the bundle is sealed. Empty for a run without signer, or when sealing failed.
  returned: success, and when only the seal or the ledger failed
  type: dict
  sample: {}
  contains:
    attestation:
      description: The signed statement.
      type: str
      sample: /srv/checkout/docs/evidence/runs/20260131T120000Z-abc234/attestation.dsse.json
    sha256:
      description: Its SHA-256, as in the ledger.
      type: str
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    keyid:
      description: SHA-256 of the public key (DER, SubjectPublicKeyInfo).
      type: str
      sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    trust:
      description:
        - How far the signature reaches. V(self-asserted) is a key file of the runner, V(kms) a key that only those may
          use whom its policy names, V(keyless) the workflow's OIDC identity.
      type: str
      sample: kms
    identity:
      description: ARN of the KMS key, or the OIDC identity as far as it is known; empty for a key file.
      type: str
      sample: arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
trace:
  description: Where the trace of the run was written, or why it was not. Empty for a run without one.
  returned: success
  type: str
  sample: "Trace: /srv/traces/first.jsonl (163 calls, 0 lost)"
text:
  description: The checks by step, status and reason, first failure, seal and result, for a terminal.
  returned: success, and when only the seal or the ledger failed
  type: str
  sample: "D1  NG  dbcheck.log  /dbcheck answered 503\nFAILED  evidence: docs/evidence/runs/20260131T120000Z-abc234"
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._run_close import CloseError, NotSealed, close_run


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "dict", "required": True},
            "failure": {"type": "dict", "default": {}},
            "allowed_skips": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    if module.check_mode:
        module.exit_json(
            changed=False, verdict={"result": "CHECK MODE"}, sealed={}, trace="", text="check mode: no run, no verdict"
        )
    try:
        module.exit_json(**close_run(given["run"], given["failure"], given["allowed_skips"]))
    except NotSealed as exc:
        module.fail_json(msg=str(exc), **exc.end)
    except CloseError as exc:
        module.fail_json(msg=str(exc))


if __name__ == "__main__":
    main()
