#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Appends items to the evidence bundle of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence_capture
short_description: Append items to the evidence bundle of a run
version_added: 0.1.0
description:
  - Writes each item to the bundle and appends its line to the hash-chained C(manifest.jsonl). The bytes of an item
    are on disk before its line is. A crash leaves at most one file without its line, which is listed when the run
    ends, and one torn last line, which the next append moves into an item C(continued.json).
  - Any number of processes may append at the same time. Items may have the same name, each is a file of its own.
  - Secrets are taken out before bytes reach the disk. These are the values that the run has registered in its private
    folder, also percent-encoded, JSON-escaped and base64-encoded, and shapes such as C(Authorization) headers
    and private keys.
  - The contents of items are repeated neither in the result, at C(-vvv) neither, nor in the log of the system.
author:
  - papyrus.ops contributors (@papyrus-ops)
attributes:
  check_mode:
    support: full
    description: Says which items would be appended; writes nothing.
  diff_mode:
    support: full
    description: Shows status, step and name of each new item.
  idempotent:
    support: none
    description: Evidence is a record of what happened when; each call appends.
options:
  run:
    description: The run as M(papyrus.ops.run_open) returned it; gives O(bundle) and O(private).
    type: dict
  bundle:
    description: Folder of the bundle.
    type: path
  private:
    description: Run-private folder with the values to redact. Without it only shapes of secrets are taken out.
    type: path
  phase:
    description: Records the start or the end of a phase, for the timeline of the report. A start comes before the
      items, an end after them.
    type: dict
    suboptions:
      name:
        description: Name of the phase.
        type: str
        required: true
      event:
        description: What happened.
        type: str
        choices: [start, end]
        required: true
  items:
    description: What to append, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the item, such as C(healthz.log). The file becomes C(<UTC>_<name>).
        type: str
        required: true
      content:
        description: Text as it is, anything else as JSON. A list becomes one line each in a C(.jsonl) item.
        type: raw
      src:
        description: File with the content, on the host of the module. It may be of any size.
        type: path
      status:
        description: Result of the check that the item shows. By default that of O(items[].rows), else C(info).
        type: str
        choices: [ok, ng, skip, info]
      step:
        description: Id of what the item shows, such as C(D1).
        type: str
        required: true
      reason:
        description: Why it is not C(ok), in one line. Required for C(skip).
        type: str
      rows:
        description: Check rows (C(id), C(status), C(reason)) inside the item; each counts in the verdict.
        type: list
        elements: dict
      media_type:
        description: Media type. By default from the end of the name.
        type: str
      meta:
        description: A small object for the manifest line, such as AWS request ids.
        type: dict
"""

EXAMPLES = r"""
- name: Keep the answers of the probes
  papyrus.ops.evidence_capture:
    run: "{{ opened.run }}"
    phase: {name: probes, event: end}
    items:
      - name: healthz.log
        step: D1
        status: ok
        content: "{{ healthz.responses[0].transcript }}"
      - name: dbcheck.log
        step: D1
        status: ng
        reason: /dbcheck answered 503
        content: "{{ dbcheck.responses[0].transcript }}"
      - name: target_health.jsonl
        step: C5
        status: ok
        content: "{{ targets.polls }}"
"""

RETURN = r"""
captured:
  description: The manifest lines of the new items. In check mode without C(seq), C(prev), C(at), C(path) and C(meta).
    When the module fails, those that were appended before it did.
  returned: always
  type: list
  elements: dict
  sample:
    - seq: 12
      prev: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
      at: "2026-01-31T12:01:07.102941Z"
      name: healthz.log
      path: 20260131T120107Z_healthz.log
      media_type: text/plain
      bytes: 211
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      status: ok
      step: D1
      meta: {}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._evidence import Bundle, BundleError
from ..module_utils._evidence_items import capture, explained, item, phase_item, predicted
from ..module_utils._locks import LockTimeout
from ..module_utils._redaction import Redactor
from ..module_utils._results import redact_results, redacted_failure, run_redactor

ITEM = {
    "name": {"type": "str", "required": True},
    "content": {"type": "raw"},
    "src": {"type": "path"},
    "status": {"type": "str", "choices": ["ok", "ng", "skip", "info"]},
    "step": {"type": "str", "required": True},
    "reason": {"type": "str"},
    "rows": {"type": "list", "elements": "dict"},
    "media_type": {"type": "str"},
    "meta": {"type": "dict"},
}
PHASE = {
    "name": {"type": "str", "required": True},
    "event": {"type": "str", "choices": ["start", "end"], "required": True},
}


class QuietModule(AnsibleModule):
    """Shows name and step of each item instead of its contents, which belong into the bundle, redacted, alone."""

    def _log_invocation(self) -> None:
        self.log("Invoked with " + ", ".join(f"{each['name']} ({each['step']})" for each in self._named()))

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        self.params["items"] = self._named()
        super()._return_formatted(kwargs)

    def _named(self) -> list[dict[str, Any]]:
        given = self.params.get("items")
        named = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
        shown = [{key: each.get(key) for key in ("name", "step")} for each in named]
        return list(run_redactor(self.params).redact_object(shown))


@redacted_failure
def main() -> None:
    module = QuietModule(
        argument_spec={
            "run": {"type": "dict"},
            "bundle": {"type": "path"},
            "private": {"type": "path"},
            "phase": {"type": "dict", "options": PHASE},
            "items": {"type": "list", "elements": "dict", "default": [], "options": ITEM},
        },
        required_one_of=[("run", "bundle")],
        mutually_exclusive=[("run", "bundle"), ("run", "private")],
        supports_check_mode=True,
    )
    redact_results(module, unseen=("items",))
    given = module.params
    folder = given["bundle"] or given["run"]["folder"]
    private = given["private"] or (given["run"] or {}).get("private")
    lines: list[dict[str, Any]] = []
    try:
        items = [item(spec) for spec in given["items"]]
        if given["phase"]:
            items.insert(0 if given["phase"]["event"] == "start" else len(items), phase_item(given["phase"]))
        if module.check_mode:
            lines = predicted(items)
        else:
            capture(Bundle(folder, Redactor(private) if private else Redactor()), items, lines)
    except (OSError, ValueError, BundleError, LockTimeout) as exc:
        module.fail_json(msg=f"evidence for {folder}: {explained(exc)}", captured=lines)
    after = "".join(f"{line['status']:<4}  {line['step']:<4}  {line['name']}\n" for line in lines)
    module.exit_json(changed=bool(lines), captured=lines, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
