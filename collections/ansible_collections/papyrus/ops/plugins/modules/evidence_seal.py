#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seals an evidence bundle that the end of its run has left unsealed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence_seal
short_description: Seal an evidence bundle that was left unsealed
version_added: 0.1.0
description:
  - Runs are sealed when they end, by M(papyrus.ops.run_close) or by their guard. This module seals what is left
    unsealed after a crash, or when the signer could not be reached, and closes the run in the ledger. The statement
    says that it was sealed afterwards.
  - It writes C(junit.xml), C(report.html), C(SHA256SUMS) and, last, the signed in-toto statement
    C(attestation.dsse.json). Every item is hashed before. An item that is not what its line in the manifest says, a
    file that no line lists, or a chain that does not hold is refused, as nobody should sign what is false.
  - A bundle without a verdict gets one, FAILED, when its lease is over or with O(abandoned). Whether what that run
    has created is gone is not asked here; see M(papyrus.ops.run_leftovers_info).
  - A bundle is sealed once. A second call changes nothing and returns RV(already_sealed); when the run is still
    open in the ledger, it is closed with the seal that is there.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Checks every item, asks for signer and ledger, and predicts; writes and signs nothing.
  diff_mode:
    support: none
    description: There is nothing before a seal to compare with.
  idempotent:
    support: full
    description: A bundle is sealed once.
options:
  bundle:
    description: Folder of the bundle.
    type: path
    required: true
  signer:
    description: Who signs, as in M(papyrus.ops.run_open).
    type: dict
    required: true
    suboptions:
      type:
        description: V(file) is an Ed25519 key, V(kms) a key in AWS KMS, V(sigstore) the workflow's OIDC identity.
        type: str
        choices: [file, kms, sigstore]
        required: true
      private_key:
        description: For V(file), absolute path of the key.
        type: path
      key_id:
        description: For V(kms), id, ARN or alias of the key.
        type: str
  ledger:
    description: Ledger in which the run is closed, a folder or an C(s3://) address. Without it no ledger is touched.
    type: path
  timestamp_url:
    description: RFC 3161 time stamping authority, asked for a stamp over the manifest.
    type: str
    default: ""
  region:
    description: AWS region of key and ledger, where the environment does not say it.
    type: str
    default: ""
  abandoned:
    description:
      - Nobody is at work on the run any more, although its lease is not over or it has none. A run whose guard or
        controller lives on this machine is refused all the same.
    type: bool
    default: false
seealso:
  - module: papyrus.ops.run_close
  - module: papyrus.ops.evidence_verify
"""

EXAMPLES = r"""
- name: Seal what a crash left unsealed
  papyrus.ops.evidence_seal:
    bundle: docs/evidence/runs/20260131T120000Z-abc234
    ledger: docs/evidence/ledger
    signer:
      type: kms
      key_id: alias/papyrus-evidence
    region: us-west-2
  register: sealed
  failed_when: sealed is failed or sealed.already_sealed
"""

RETURN = r"""
already_sealed:
  description: Whether there was a seal before. It is never replaced.
  returned: success
  type: bool
  sample: false
completed:
  description: Whether the bundle had no verdict and got one, FAILED.
  returned: success
  type: bool
  sample: true
sealed:
  description: The seal. Empty in check mode, unless there was one before.
  returned: success
  type: dict
  contains:
    attestation:
      description: The signed statement.
      type: str
      sample: docs/evidence/runs/20260131T120000Z-abc234/attestation.dsse.json
    sha256:
      description: Its SHA-256, as in the ledger.
      type: str
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    keyid:
      description: SHA-256 of the public key (DER, SubjectPublicKeyInfo).
      type: str
      sample: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    trust:
      description: How far the signature reaches, V(self-asserted), V(kms) or V(keyless).
      type: str
      sample: kms
    identity:
      description: ARN of the KMS key, or the OIDC identity as far as it is known; empty for a key file.
      type: str
      sample: arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
verdict:
  description: Content of C(verdict.json).
  returned: success
  type: dict
  sample:
    result: FAILED
    first_failure:
      step: C6
      cause: "run and guard ended without a verdict, during: terraform apply; last item before: phase.json"
      name: ""
      task: ""
text:
  description: What was done, for a terminal.
  returned: success
  type: str
  sample: docs/evidence/runs/20260131T120000Z-abc234 is sealed already; it is not sealed again
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._evidence import BundleError
from ..module_utils._ledger import LedgerError
from ..module_utils._locks import LockTimeout
from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._run_settings import Signing
from ..module_utils._seal import SealError
from ..module_utils._seal_later import Wanted, seal_later
from ..module_utils._signers import SignerError, check_signer

SIGNER = {
    "type": {"type": "str", "choices": ["file", "kms", "sigstore"], "required": True},
    "private_key": {"type": "path"},
    "key_id": {"type": "str"},
}


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "signer": {"type": "dict", "required": True, "options": SIGNER},
            "ledger": {"type": "path"},
            "timestamp_url": {"type": "str", "default": ""},
            "region": {"type": "str", "default": ""},
            "abandoned": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    try:
        signer = check_signer({name: value for name, value in given["signer"].items() if value is not None})
        signing = Signing(signer, given["timestamp_url"], given["region"])
        wanted = Wanted(given["bundle"], signing, given["ledger"] or "", given["abandoned"])
        module.exit_json(**seal_later(wanted, dry=module.check_mode, environ=os.environ))
    except (SealError, SignerError, LedgerError, BundleError, LockTimeout, OSError, ValueError) as exc:
        module.fail_json(msg=f"sealing {given['bundle']}: {exc}")


if __name__ == "__main__":
    main()
