#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges the proofs of a database write."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_proof_info
short_description: Judge the proofs of a database write by two paths, from the answers of other modules
version_added: 0.1.0
description:
  - Judges registered results of M(papyrus.ops.ecs_exec), M(papyrus.ops.ecs_postgresql), M(papyrus.ops.ecs_task_run) and
    M(papyrus.ops.http_probe), and returns rows and items of evidence. Asks nobody.
  - What is not known is never a success. A command without exit code, a login that failed for another reason than the
    server's refusal of plaintext, and a missing word about TLS are NG.
  - The module does not fail on NG rows, so that the caller can keep the evidence first; see RV(failed_rows).
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - papyrus.ops.attributes
  - papyrus.ops.attributes.info
options:
  run_id:
    description: Id of the run.
    type: str
    required: true
  paths:
    description: Ways by which the run writes. Rows, marks and words about TLS of others are not asked for.
    type: list
    elements: str
    choices: [cli, app]
    default: [cli, app]
  tasks:
    description: The running tasks, as M(papyrus.ops.ecs_task_ip) returns them.
    type: list
    elements: dict
    default: []
  images:
    description: Groups of digests that are one image each, as M(papyrus.ops.ecs_running_info) returns them.
    type: list
    elements: list
    default: []
  behind:
    description: ARNs of the tasks behind the load balancer. The mark of the path V(app) has to be by one of them.
    type: list
    elements: str
    default: []
  skip:
    description: Why nothing can be proved. What is asked is then skipped with this reason.
    type: str
    default: ''
  cli:
    description: The command that writes from inside the task. Beside O(read_back) it is not judged again.
    type: dict
    suboptions:
      result:
        description: Result of M(papyrus.ops.ecs_exec).
        type: dict
        default: {}
      expect:
        description: Regular expressions that the output must match. C({run_id}) stands for the run's.
        type: list
        elements: str
        default: []
      tls:
        description: Regular expression with one group, the server's word about TLS in the output.
        type: str
        default: ''
      log:
        description: Transcript.
        type: path
      cast:
        description: Recording.
        type: path
  plaintext:
    description: The login without encryption, which has to be refused.
    type: dict
    suboptions:
      result:
        description: Result of M(papyrus.ops.ecs_postgresql).
        type: dict
        default: {}
      log:
        description: Transcript.
        type: path
  fresh_login:
    description: The login of a freshly started task.
    type: dict
    suboptions:
      result:
        description: Result of M(papyrus.ops.ecs_task_run).
        type: dict
        default: {}
  private:
    description: The run's private folder. Secrets that the run knows are taken out of the result.
    type: path
  read_back:
    description: Rows and marks, read after both writes.
    type: dict
    suboptions:
      result:
        description: Result of M(papyrus.ops.ecs_postgresql) with the queries C(rows) and C(marks).
        type: dict
        default: {}
      rows:
        description: The row that each path must have left.
        type: dict
        default: {}
      app_answer:
        description: Result of M(papyrus.ops.http_probe) for the path V(app).
        type: dict
        default: {}
      app_tls_header:
        description: Header in which the app hands on the server's word about its own session.
        type: str
        default: ''
"""

EXAMPLES = r"""
- name: Judge what was written from inside the task
  papyrus.ops.database_proof_info:
    run_id: "{{ run_opened.run.id }}"
    tasks: "{{ running_seen.tasks }}"
    cli:
      result: "{{ inserted }}"
      expect: ['^INSERT 0 \d+$', '^MARK: {run_id} cli committed$']
      tls: '^TLS: (\S+)$'
      log: "{{ run_opened.run.private }}/papyrus_psql_insert_cli.log"
    plaintext:
      result: "{{ login_without_encryption }}"
"""

RETURN = r"""
rows:
  description: One row for each proof that was asked for.
  returned: always
  type: list
  elements: dict
  sample:
    - id: E3
      title: Rows and this run's marks read back
      status: ok
      reason: "ROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]"
      data: {}
      request_ids: [c1b5d6a0-7c3e-4a53-9d6d-1f5b1c0d2e3f]
table:
  description: The rows as text, one a line.
  returned: always
  type: str
  sample: "OK    E1  Plaintext is refused by the server  the server refused a session without encryption"
failed_rows:
  description: Ids of the NG rows.
  returned: always
  type: list
  elements: str
  sample: []
evidence:
  description: Items for M(papyrus.ops.evidence_capture).
  returned: always
  type: list
  elements: dict
  sample:
    - name: papyrus_sku_check.log
      step: E3
      rows: [{id: E3, status: ok, reason: "ROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]"}]
      meta: {request_ids: []}
      content: "ROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]\n"
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import _database_proof as proof
from ..module_utils import _rows
from ..module_utils._results import redact_results, redacted_failure

RESULT = {"type": "dict", "default": {}}
ARGUMENTS = {
    "run_id": {"type": "str", "required": True},
    "paths": {"type": "list", "elements": "str", "choices": ["cli", "app"], "default": ["cli", "app"]},
    "tasks": {"type": "list", "elements": "dict", "default": []},
    "images": {"type": "list", "elements": "list", "default": []},
    "behind": {"type": "list", "elements": "str", "default": []},
    "skip": {"type": "str", "default": ""},
    "private": {"type": "path"},
    "cli": {
        "type": "dict",
        "options": {
            "result": RESULT,
            "expect": {"type": "list", "elements": "str", "default": []},
            "tls": {"type": "str", "default": ""},
            "log": {"type": "path"},
            "cast": {"type": "path"},
        },
    },
    "plaintext": {"type": "dict", "options": {"result": RESULT, "log": {"type": "path"}}},
    "fresh_login": {"type": "dict", "options": {"result": RESULT}},
    "read_back": {
        "type": "dict",
        "options": {
            "result": RESULT,
            "rows": {"type": "dict", "default": {}},
            "app_answer": {"type": "dict", "default": {}},
            "app_tls_header": {"type": "str", "default": ""},
        },
    },
}
NAMES = {
    "cli": (proof.CLI, "E1"),
    "plaintext": (proof.PLAINTEXT, "E1"),
    "fresh_login": (proof.FRESH, "E1"),
    "read_back": (proof.READ_BACK, "E3"),
}


def judged(asked: dict, expected: proof.Expected) -> list:
    """Rows with their items, in the order in which the proofs are made. Beside a read-back the command only informs."""
    cli, plaintext, fresh = ((asked[name] or {}) for name in ("cli", "plaintext", "fresh_login"))
    wanted = [name for name in NAMES if asked[name] is not None and (name != "cli" or asked["read_back"] is None)]
    made = []
    if asked["skip"]:
        return [proof.skipped(*NAMES[name], asked["skip"]) for name in wanted]
    if "cli" in wanted:
        row = proof.judge_cli(cli["result"], expected)
        made.append((row, proof.item(proof.CLI, row, row.reason + "\n", cli["log"] or "", os.path.exists)))
    if "plaintext" in wanted:
        row = proof.judge_plaintext(plaintext["result"])
        made.append((row, proof.item(proof.PLAINTEXT, row, row.reason + "\n", plaintext["log"] or "", os.path.exists)))
    if "fresh_login" in wanted:
        row = proof.judge_fresh_login(fresh["result"])
        made.append((row, proof.item(proof.FRESH, row, fresh["result"].get("transcript") or row.reason + "\n")))
    if "read_back" in wanted:
        made.append(read_back(asked["read_back"], cli.get("result") or {}, expected))
    return made


def read_back(asked: dict, cli: dict, expected: proof.Expected) -> tuple:
    rows = asked["result"].get("rows") or {}
    words = {
        "cli": proof.tls_word(cli, expected),
        "app": proof.header_tls(asked["app_answer"], asked["app_tls_header"]),
    }
    seen = proof.ReadBack(rows=rows.get("rows") or [], marks=rows.get("marks") or [], tls=words)
    row, text = proof.judge_read_back(asked["result"], seen, expected, str(cli.get("task_arn") or ""))
    return row, proof.item(proof.READ_BACK, row, text)


@redacted_failure
def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    redact_results(module)
    asked = module.params
    cli = asked["cli"] or {}
    try:
        expected = proof.Expected(
            run_id=asked["run_id"],
            paths=tuple(asked["paths"]),
            tasks=asked["tasks"],
            images=asked["images"],
            behind=asked["behind"],
            output=tuple(cli.get("expect") or ()),
            tls=cli.get("tls") or "",
            rows=(asked["read_back"] or {}).get("rows") or {},
        )
    except ValueError as exc:
        module.fail_json(msg=f"the proofs cannot be judged: {exc}", step="E1")
    made = judged(asked, expected)
    rows = [row for row, dummy in made]
    evidence = [item for dummy, item in made]
    if cli.get("cast") and os.path.exists(cli["cast"]) and asked["read_back"] is None:
        evidence.append({"name": proof.CAST, "step": "J2", "status": "info", "src": cli["cast"]})
    module.exit_json(
        changed=False,
        rows=[row.as_dict() for row in rows],
        table=_rows.table(rows),
        failed_rows=_rows.ids_of(rows, "ng"),
        evidence=evidence,
    )


if __name__ == "__main__":
    main()
