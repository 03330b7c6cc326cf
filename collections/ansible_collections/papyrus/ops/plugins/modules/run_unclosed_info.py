#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names runs that were opened and never closed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_unclosed_info
short_description: Name runs that were opened in a ledger and never closed
version_added: 0.1.0
description:
  - Reads the ledger for runs of O(service) that were opened and not closed although their lease is over. Nobody is left
    to close them, as everything of them was killed.
  - Where the bundle of such a run is in O(evidence_root), it says the command that completes, seals and closes it. The
    bundle says then that it was sealed after a crash.
  - Runs whose guard or C(ansible-playbook) lives on this machine are left out.
  - Reads the ledger with the credentials of the task's environment when it is in S3.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Reads only, so check mode makes no difference.
  diff_mode:
    support: N/A
    description: Reads only.
  idempotent:
    support: full
    description: Reads only.
options:
  ledger:
    description: Folder of the ledger, or C(s3://bucket/prefix).
    type: str
    required: true
  account_id:
    description: Account that owns the bucket of an C(s3://) ledger.
    type: str
    default: ''
  region:
    description: Region of the bucket.
    type: str
    default: ''
  evidence_root:
    description: Folder with the bundles of this machine.
    type: path
    required: true
  service:
    description: Only runs of this service.
    type: str
    required: true
  days:
    description: How far back the ledger is read. Each run in it costs a read.
    type: float
    default: 31
  signer:
    description: Signer for the command, as O(papyrus.ops.run_open#module:signer).
    type: dict
    default: {}
  timestamp_url:
    description: Time stamping authority for the command.
    type: str
    default: ''
seealso:
  - module: papyrus.ops.evidence_seal
  - module: papyrus.ops.run_leftovers
"""

EXAMPLES = r"""
- name: Name the runs that nobody closed
  papyrus.ops.run_unclosed_info:
    ledger: docs/evidence/ledger
    evidence_root: docs/evidence/runs
    service: papyrus-task-service
"""

RETURN = r"""
unclosed:
  description: Those runs, oldest first.
  returned: always
  type: list
  elements: dict
  contains:
    run_id:
      description: Run id.
      type: str
      sample: 20260131T120000Z-abc234
    opened_at:
      description: When it was opened.
      type: str
      sample: "2026-01-31T12:00:00.104533Z"
    expires_at:
      description: End of its lease. That of the longest one, when its bundle is not here.
      type: str
      sample: "2026-01-31T13:00:00Z"
    bundle:
      description: Its bundle on this machine, or empty.
      type: str
      sample: /srv/checkout/docs/evidence/runs/20260131T120000Z-abc234
    command:
      description: The command that completes, seals and closes it. Empty without its bundle.
      type: str
      sample: ansible localhost -m papyrus.ops.evidence_seal -a '{"bundle":"/srv/runs/20260131T120000Z-abc234"}'
text:
  description: The same in one line.
  returned: always
  type: str
  sample: every run of the last 31 days that was opened is closed, or its lease is not over
evidence:
  description: An item for M(papyrus.ops.evidence_capture).
  returned: always
  type: list
  elements: dict
  sample:
    - name: unclosed_runs.json
      status: info
      step: N4
      reason: every run of the last 31 days that was opened is closed, or its lease is not over
      content: []
"""

import datetime as dt
import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ledger import LedgerError, ledger_place, open_ledger
from ..module_utils._names import utc_now
from ..module_utils._results import redact_results, redacted_failure
from ..module_utils._run_end import alive_runs
from ..module_utils._run_settings import Signing
from ..module_utils._unclosed import sentence, unclosed


@redacted_failure
def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ledger": {"type": "str", "required": True},
            "account_id": {"type": "str", "default": ""},
            "region": {"type": "str", "default": ""},
            "evidence_root": {"type": "path", "required": True},
            "service": {"type": "str", "required": True},
            "days": {"type": "float", "default": 31},
            "signer": {"type": "dict", "default": {}},
            "timestamp_url": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    redact_results(module)
    given = module.params
    now = utc_now()
    try:
        ledger = open_ledger(ledger_place(given["ledger"], given["account_id"]), region=given["region"])
        found = list(
            unclosed(
                ledger,
                given["evidence_root"],
                service=given["service"],
                alive=alive_runs(os.environ),
                now=now,
                since=now - dt.timedelta(days=given["days"]),
                signing=Signing.of(given),
            )
        )
    except (LedgerError, OSError, ValueError) as exc:
        module.fail_json(msg=f"the ledger {given['ledger']} cannot be read: {exc}", step="N4")
    text = sentence(found, given["days"])
    item = {"name": "unclosed_runs.json", "status": "info", "step": "N4", "reason": text, "content": found}
    module.exit_json(changed=False, unclosed=found, text=text, evidence=[item])


if __name__ == "__main__":
    main()
