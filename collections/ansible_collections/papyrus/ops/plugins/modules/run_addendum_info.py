#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says what can be added to a sealed bundle: CloudTrail's records of its run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_addendum_info
short_description: Say what to add to a sealed bundle from CloudTrail
version_added: 0.1.0
description:
  - Verifies the bundle first, with public keys from elsewhere. Nothing is added to one that is not as it was sealed.
  - Returns the time of its run and the words that only this run has in its calls, for M(papyrus.ops.cloudtrail_export).
  - With O(records) it also says what these records say of the run, and returns C(addendum.json), which names the bundle
    by the hashes of its parts. M(papyrus.ops.evidence_verify) checks that link when both bundles are given.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - rfc8785
  - cryptography
  - sigstore, for O(identity)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  bundle:
    description: Folder of the bundle.
    type: path
    required: true
  keys:
    description: Files with public keys (PEM) to trust. They must not come from the bundle.
    type: list
    elements: path
  identity:
    description: For a keyless signature, the OIDC identity of the workflow that may sign. Needs O(issuer).
    type: str
    default: ''
  issuer:
    description: For a keyless signature, who issued that identity.
    type: str
    default: ''
  records:
    description: Files of an export (gzip, one record of CloudTrail a line) that hold the run's records.
    type: list
    elements: path
notes:
  - Needs the permission C(sts:GetCallerIdentity) with O(records), and none without them.
seealso:
  - module: papyrus.ops.cloudtrail_export
  - module: papyrus.ops.evidence_verify
"""

EXAMPLES = r"""
- name: Ask what to export for a run
  papyrus.ops.run_addendum_info:
    bundle: docs/evidence/runs/20260131T120000Z-abc234
    keys: [/etc/papyrus/evidence-key.pub.pem]
  register: first

- name: Say what the records say
  papyrus.ops.run_addendum_info:
    bundle: docs/evidence/runs/20260131T120000Z-abc234
    keys: [/etc/papyrus/evidence-key.pub.pem]
    records: [docs/evidence/cloudtrail/20260131T130000Z/cloudtrail_events_20260131T130000Z.run.jsonl.gz]
"""

RETURN = r"""
first:
  description: The bundle that is added to, by run id, facts and hashes.
  returned: success
  type: dict
  sample:
    run_id: 20260131T120000Z-abc234
    verdict: PASSED
    service: papyrus-task-service
    account_id: '123456789012'
    region: us-west-2
    playbook: alb_smoke
    started_at: '2026-01-31T12:00:00.000000Z'
    run_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    manifest_sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
    attestation_sha256: a4e624d686e03ed2767c0abd85c14426b0b1157d2ce81d27bb4fe4f6f01d688a
start:
  description: Begin of the run (RFC 3339), less five minutes.
  returned: success
  type: str
  sample: '2026-01-31T11:55:00Z'
end:
  description: End of the run, and five minutes; now, while that is still to come.
  returned: success
  type: str
  sample: '2026-01-31T12:08:41Z'
settled_at:
  description: When CloudTrail shows all of it, 15 minutes after O(ignore:end).
  returned: success
  type: str
  sample: '2026-01-31T12:23:41Z'
text:
  description: Words that only this run has in its calls.
  returned: success
  type: list
  elements: str
  sample: [20260131T120000Z-abc234, papyrus-smoke-abc234, c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
addendum:
  description: Content of C(addendum.json), with its check rows.
  returned: when O(records) are given
  type: dict
  sample:
    records: 148
    request_ids: {asked: 61, found: 61, not_logged: {}}
    rows:
      - id: K1
        title: CloudTrail's records of the run
        status: ok
        reason: 61 of 61 requests of the bundle are in CloudTrail; 8 creations, 8 of them with their deletion
        data: {}
        request_ids: []
"""

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _addendum, _aws
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import CRYPTOGRAPHY_IMPORT_ERROR
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import RFC8785_IMPORT_ERROR
from ansible_collections.papyrus.ops.plugins.module_utils._names import rfc3339, utc_now
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure

PATHS = {"type": "list", "elements": "path"}
ARGUMENTS = {
    "bundle": {"type": "path", "required": True},
    "keys": {**PATHS, "no_log": False},
    "identity": {"type": "str", "default": ""},
    "issuer": {"type": "str", "default": ""},
    "records": PATHS,
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    for package, error in (("rfc8785", RFC8785_IMPORT_ERROR), ("cryptography", CRYPTOGRAPHY_IMPORT_ERROR)):
        if error is not None:
            module.fail_json(msg=missing_required_lib(package), exception=error, step="N4")
    asked, now, judged = module.params, utc_now(), {}
    try:
        first = _addendum.first_of(asked["bundle"], asked["keys"] or [], asked["identity"], asked["issuer"])
    except _addendum.AddendumRefused as exc:
        module.fail_json(msg=str(exc), step="N4")
    try:
        if asked["records"] is not None:
            clients = _aws.module_clients(module)
            judged["addendum"] = _addendum.judge(first, asked["records"], clients, now=now)
    except (_aws.AwsFailure, OSError, EOFError) as exc:
        module.fail_json(msg=f"the records cannot be judged: {exc}", step="K1")
    module.exit_json(
        changed=False,
        first=first.as_dict(),
        start=rfc3339(first.start),
        end=rfc3339(min(first.end, now)),
        settled_at=rfc3339(first.settled_at),
        text=first.text,
        **judged,
    )


if __name__ == "__main__":
    main()
