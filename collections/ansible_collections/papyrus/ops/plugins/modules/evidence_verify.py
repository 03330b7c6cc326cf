#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies evidence bundles: whether anything was changed since they were sealed, and what is not proved."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence_verify
short_description: Verify evidence bundles
version_added: 0.1.0
description:
  - Verifies sealed bundles offline, with public keys from elsewhere. Every byte of every file is compared with what was
    signed. Nothing in a bundle is followed out of its folder, so it may come from anybody.
  - With O(ledger), bundles are held against the runs that were announced there, and runs of which no bundle is shown
    are named. With O(online), requests, principal, creations and deletions are looked up in AWS CloudTrail, with the
    auditor's own credentials.
  - An addendum names the bundle that it adds to by its hashes. Given both, it is checked that this is the very bundle;
    one that was changed, written anew or sealed again since then makes the answer V(tampered).
  - V(ok) says that nothing was changed, not that the run went well. An intact bundle of a run that FAILED is V(ok),
    unless O(require_results) says otherwise.
  - V(tampered) is another bundle than was sealed. V(incomplete) lacks what would prove it, such as its seal after a
    crash. V(mismatch) is intact, but about another image or with another verdict than asked for. V(unknown) could not
    be looked at.
author:
  - papyrus.ops contributors (@papyrus-ops)
requirements:
  - rfc8785
  - cryptography
  - rfc3161-client, for O(timestamp_roots)
  - sigstore, for O(identity)
  - boto3, for O(online) and a ledger in Amazon S3
extends_documentation_fragment:
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  bundles:
    description: Folders of bundles.
    type: list
    elements: path
    default: []
  root:
    description: A folder; all bundles in it are verified.
    type: path
  keys:
    description:
      - Files with public keys (PEM) to trust. They have to come from whoever answers for the releases, never with the
        bundle.
    type: list
    elements: path
    default: []
  identity:
    description: For keyless signatures, the OIDC identity of the workflow that may sign. Needs O(issuer).
    type: str
  issuer:
    description: For keyless signatures, who issued that identity.
    type: str
  image:
    description: Digest of the image that each bundle has to be about, V(sha256:…) or a reference that ends in it.
    type: str
  require_results:
    description: Verdicts that a bundle may have. Any by default.
    type: list
    elements: str
    choices: [PASSED, WARNED, FAILED]
    default: []
  timestamp_roots:
    description: File with root certificates (PEM) of the RFC 3161 authorities to trust.
    type: path
  ledger:
    description: Ledger to hold the bundles against, a folder or an C(s3://) address.
    type: str
  service:
    description: Of the ledger, only runs of this service.
    type: str
  since:
    description: Of the ledger, only runs that began at this time (RFC 3339) or later.
    type: str
  until:
    description: Of the ledger, only runs that began at this time (RFC 3339) or earlier.
    type: str
  only_shown:
    description: Of the ledger, only the given bundles; does not ask for runs that are not shown.
    type: bool
    default: false
  online:
    description: Look the runs up in AWS CloudTrail, with the credentials of the environment.
    type: bool
    default: false
  region:
    description: AWS region of ledger and CloudTrail, where it is not that of the environment and of the run.
    type: str
  accept:
    description: Results with which the task does not fail.
    type: list
    elements: str
    choices: [ok, mismatch, incomplete, tampered, unknown]
    default: [ok]
seealso:
  - module: papyrus.ops.evidence_seal
"""

EXAMPLES = r"""
- name: The evidence of a release is intact, of this image, and passed
  papyrus.ops.evidence_verify:
    bundles: [docs/evidence/runs/20260131T120000Z-abc234]
    keys: [/etc/papyrus/evidence-key.pub.pem]
    image: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    require_results: [PASSED, WARNED]

- name: All runs of January are there, and AWS saw them
  papyrus.ops.evidence_verify:
    root: docs/evidence/runs
    keys: [/etc/papyrus/evidence-key.pub.pem]
    ledger: s3://papyrus-evidence-ledger/prd
    since: "2026-01-01T00:00:00Z"
    until: "2026-01-31T23:59:59Z"
    online: true
    region: us-west-2
"""

RETURN = r"""
result:
  description: V(ok), V(mismatch), V(incomplete), V(tampered) or V(unknown), the worst of all parts.
  returned: when the question was right
  type: str
  sample: tampered
exit_code:
  description: The same for a shell, V(0) ok, V(2) tampered, V(3) incomplete, V(4) mismatch, V(1) unknown.
  returned: when the question was right
  type: int
  sample: 2
bundles:
  description: One entry a bundle.
  returned: when the question was right
  type: list
  elements: dict
  contains:
    bundle:
      description: Its folder.
      type: str
      sample: docs/evidence/runs/20260131T120000Z-abc234
    run_id:
      description: The run, empty when that is not known.
      type: str
      sample: 20260131T120000Z-abc234
    result:
      description: V(ok), V(mismatch), V(incomplete) or V(tampered), addendum, ledger and CloudTrail included.
      type: str
      sample: tampered
    exit_code:
      description: The same for a shell.
      type: int
      sample: 2
    findings:
      description: What is wrong. The class is one of missing, invalid, unlisted, gap, reordered, truncated, torn,
        unsealed, bad-signature, wrong-key and wrong-subject.
      type: list
      elements: dict
      sample:
        - class: invalid
          path: 20260131T120105Z_healthz.log
          seq: 7
          reason: has other bytes
    files:
      description: Every item with its class.
      type: list
      elements: dict
      sample:
        - seq: 0
          name: run.json
          path: run.json
          class: ok
    counts:
      description: Number of items that are ok, and of findings by class.
      type: dict
      sample: {ok: 33, invalid: 1}
    signature:
      description: Class of the signature, key id, trust (V(self-asserted), V(kms) or V(keyless)), identity, and reason
        when it is not good.
      type: dict
      sample:
        class: ok
        keyid: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
        trust: kms
        identity: arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
        reason: ""
    verdict:
      description: Verdict of the run, empty when it is not there as it was written.
      type: str
      sample: PASSED
    image:
      description: Digest of the image that the signed statement is about; empty for none.
      type: str
      sample: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    sealed:
      description: The seal's own words, empty unless its signature is good.
      type: dict
      sample: {by: run, afterCrash: false, sealedAt: "2026-01-31T12:03:41.000000Z", trust: kms}
    timestamps:
      description: RFC 3161 time stamps. They are checked with O(timestamp_roots) only.
      type: list
      elements: dict
      sample:
        - of: opening
          path: 20260131T120001Z_run_timestamp.tsr
          checked: true
          time: "2026-01-31T12:00:01Z"
          note: ""
    sha256:
      description: Hashes of run.json, of the manifest, of its last line (head) and of the attestation.
      type: dict
      sample:
        run: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        manifest: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
        head: fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13
        attestation: a4e624d686e03ed2767c0abd85c14426b0b1157d2ce81d27bb4fe4f6f01d688a
    addendum:
      description: Of an addendum, the run that it adds to, the hashes by which it names that run's bundle, whether it
        was shown, and what was found; none for a bundle that is no addendum.
      type: dict
      sample:
        run_id: 20260131T120000Z-abc234
        sha256:
          run: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
          manifest: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
          attestation: a4e624d686e03ed2767c0abd85c14426b0b1157d2ce81d27bb4fe4f6f01d688a
        shown: true
        result: ok
        findings: []
    ledger:
      description: Result and findings of the ledger about this bundle; none when it was not asked.
      type: dict
      sample: {result: ok, findings: []}
    online:
      description: Result and findings of CloudTrail; none when it was not asked.
      type: dict
      sample:
        result: ok
        findings: []
        looked_up: 12
        request_ids: {asked: 61, found: 61, not_logged: {}}
ledger:
  description: Result, findings, and the runs that were opened and are not shown; none when no ledger was asked.
  returned: when the question was right
  type: dict
  sample:
    result: ok
    findings: []
    opened: 4
    shown: 4
    never_shown: []
    unclosed: []
    where: s3://papyrus-evidence-ledger/prd
    protection: COMPLIANCE for 365 days
errors:
  description: What could not be looked at, and why.
  returned: when the question was right
  type: list
  elements: dict
  sample: []
text:
  description: The answer for a terminal.
  returned: when the question was right
  type: str
  sample: OK  20260131T120000Z-abc234 is as it was sealed. The run PASSED.
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..module_utils._dsse import CRYPTOGRAPHY_IMPORT_ERROR
from ..module_utils._evidence import RFC8785_IMPORT_ERROR
from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._verdict import RESULTS
from ..module_utils._verify_request import Request, RequestError, examine
from ..module_utils._verify_text import summary, text

ARGUMENTS = {
    "bundles": {"type": "list", "elements": "path", "default": []},
    "root": {"type": "path"},
    "keys": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "identity": {"type": "str"},
    "issuer": {"type": "str"},
    "image": {"type": "str"},
    "require_results": {"type": "list", "elements": "str", "choices": list(RESULTS), "default": []},
    "timestamp_roots": {"type": "path"},
    "ledger": {"type": "str"},
    "service": {"type": "str"},
    "since": {"type": "str"},
    "until": {"type": "str"},
    "only_shown": {"type": "bool", "default": False},
    "online": {"type": "bool", "default": False},
    "region": {"type": "str"},
    "accept": {
        "type": "list",
        "elements": "str",
        "choices": ["ok", "mismatch", "incomplete", "tampered", "unknown"],
        "default": ["ok"],
    },
}


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_one_of=[("bundles", "root")],
        required_together=[("identity", "issuer")],
        supports_check_mode=True,
    )
    redact_results(module)
    for package, error in (("rfc8785", RFC8785_IMPORT_ERROR), ("cryptography", CRYPTOGRAPHY_IMPORT_ERROR)):
        if error is not None:
            module.fail_json(msg=missing_required_lib(package), exception=error, step="J1")
    options = dict(module.params)
    accepted = options.pop("accept")
    options["results"] = options.pop("require_results")
    try:
        answer = examine(Request.of(options))
    except RequestError as exc:
        module.fail_json(msg=f"Nothing was verified: {exc}", step="J1")
    answer["text"] = text(answer)
    if answer["result"] not in accepted:
        module.fail_json(msg=summary(answer), step="J1", **answer)
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
