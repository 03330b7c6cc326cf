#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports the events of a log group of CloudWatch Logs within a span of time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: logs_export
short_description: Export the JSON lines of a log group, complete and with proof of it
version_added: 0.1.0
description:
  - Reads the events of a log group (C(FilterLogEvents)) hour by hour and writes each into C(log_events_<UTC>.jsonl.gz).
  - A message that is a JSON object is written as it came, on one line. Any other is kept with all that CloudWatch Logs
    tells of it as C({"malformed":true,"entry":{…}}), and counted.
  - Each event is written once, whatever its time and message, also when many have the same.
  - C(completeness.json) has every hour with its number of events (0 is a fact as well), besides what it has of every
    export. What the group's retention has taken already is a gap.
  - Fails before anything is asked when the log group does not exist or is of a class that cannot be searched.
  - Secrets are taken out of each line before it is written.
author:
  - papyrus.ops contributors (@papyrus-ops)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - papyrus.ops.attributes.actiongroup_aws
  - papyrus.ops.attributes
  - papyrus.ops.export
options:
  log_group:
    description: Name of the log group, or ARN of one in another account that shares it.
    type: str
    required: true
  pattern:
    description:
      - Filter pattern of CloudWatch Logs, as V({ $.status >= 500 }). AWS then gives only events that match, and this is
        an export of these events alone.
    type: str
    default: ''
  log_stream_prefix:
    description: Beginning of the names of the log streams to export. All when empty.
    type: str
    default: ''
  expect:
    description:
      - Texts, as request ids, each of which has to stand in some line of the export.
      - The export is kept in any case, and the module fails when one of them is missing.
    type: list
    elements: str
    default: []
  rate:
    description:
      - Requests a second for each account and region. No second has more.
      - V(0) for as fast as it goes, and more than the V(5) that AWS takes, are refused unless the endpoint is on this
        machine.
    type: float
    default: 2.0
notes:
  - Needs the permission C(logs:FilterLogEvents), and C(logs:DescribeLogGroups) to know what retention has taken.
  - AWS takes five requests a second or more, for each account and region, from all who ask together.
  - Lines stand in the order in which they came. Hours are read from the oldest to the newest and their events likewise;
    the first page of some hours comes before all.
seealso:
  - module: papyrus.ops.cloudtrail_export
  - module: papyrus.ops.config_export
  - module: papyrus.ops.app_log_info
  - name: FilterLogEvents
    description: What AWS says about the call.
    link: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

EXAMPLES = r"""
- name: Export what the app logged within the last 24 hours
  papyrus.ops.logs_export:
    path: docs/evidence/logs
    log_group: /ecs/papyrus-task
    hours: 24

- name: Export the errors of a run, in which two of its requests must be
  papyrus.ops.logs_export:
    path: docs/evidence/logs
    log_group: /ecs/papyrus-task
    pattern: '{ $.status >= 500 }'
    start: "2026-01-31T12:00:00Z"
    end: "2026-01-31T12:20:00Z"
    expect: [6f1ed002ab5595859014ebf0951522d9, 0cc175b9c0f1b6a831c399e269772661]
"""

RETURN = r"""
complete:
  description: Whether every export has all that was asked for.
  returned: always
  type: bool
  sample: true
settled:
  description: Whether everything that belongs to the time asked for must have been in the log group when it was read.
  returned: always
  type: bool
  sample: false
written:
  description: Events written.
  returned: always
  type: int
  sample: 412
requests:
  description: Calls, retries included.
  returned: always
  type: int
  sample: 25
expected:
  description: Those of O(expect) that stand in some line. Empty when an export did not come to its end.
  returned: always
  type: list
  elements: str
  sample: [6f1ed002ab5595859014ebf0951522d9]
missing:
  description: The others.
  returned: always
  type: list
  elements: str
  sample: [0cc175b9c0f1b6a831c399e269772661]
exports:
  description: One for each region.
  returned: always
  type: list
  elements: dict
  contains:
    region:
      description: The region.
      type: str
    folder:
      description: Folder of the export.
      type: str
    completeness:
      description: Path of C(completeness.json). Empty when the export did not come to its end.
      type: str
    files:
      description: The one file. Name, path, size, lines and SHA-256. Empty before the end.
      type: list
      elements: dict
    filter_jq:
      description: Always empty, as nothing is filtered here.
      type: str
    complete:
      description: Whether it has all that was asked for.
      type: bool
    settled:
      description: As RV(settled), of this export.
      type: bool
    resumed:
      description: Whether an export that had been interrupted was gone on with.
      type: bool
    reason:
      description: Why it stopped before its end. Empty when it did not.
      type: str
    written:
      description: Lines written.
      type: int
    requests:
      description: Calls, retries included.
      type: int
    report:
      description: What C(completeness.json) has, or would have.
      type: dict
  sample:
    - region: us-west-2
      folder: docs/evidence/logs/20260131T120000Z
      completeness: docs/evidence/logs/20260131T120000Z/completeness.json
      files:
        - name: log_events_20260131T120000Z.jsonl.gz
          path: docs/evidence/logs/20260131T120000Z/log_events_20260131T120000Z.jsonl.gz
          bytes: 48213
          lines: 412
          sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      filter_jq: ''
      complete: true
      settled: false
      resumed: false
      reason: ''
      written: 412
      requests: 25
      report:
        schema: papyrus.ops/export/1
        start: "2026-01-30T12:00:00Z"
        end: "2026-01-31T12:00:00Z"
        complete: true
        gaps: []
plan:
  description: For each region the folder of the export that would be gone on with. Empty for a new one.
  returned: in check mode
  type: dict
  sample: {us-west-2: ''}
"""

import functools

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.plugins.module_utils._export_job import Job, lines, prepare
from ansible_collections.papyrus.ops.plugins.module_utils._export_module import (
    ARGUMENTS,
    EXCLUSIVE,
    ONE_OF,
    told,
    why_not,
)
from ansible_collections.papyrus.ops.plugins.module_utils._logs_source import MOST_A_SECOND, LogsSource, found_in
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            **ARGUMENTS,
            "log_group": {"type": "str", "required": True},
            "pattern": {"type": "str", "default": ""},
            "log_stream_prefix": {"type": "str", "default": ""},
            "expect": {"type": "list", "elements": "str", "default": []},
            "rate": {"type": "float", "default": 2.0},
        },
        mutually_exclusive=EXCLUSIVE,
        required_one_of=ONE_OF,
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    given = {name: asked[name] for name in ("log_group", "pattern", "log_stream_prefix") if asked[name]}
    options = {"group": asked["log_group"], "pattern": asked["pattern"], "prefix": asked["log_stream_prefix"]}
    job = Job("logs", "log_events", MOST_A_SECOND, given, functools.partial(LogsSource, **options))
    try:
        ready = prepare(job, asked, module.region, functools.partial(_aws.module_clients, module))
    except (ExportRefused, _aws.AwsFailure) as exc:
        module.fail_json(msg=f"nothing was exported: {exc}", step="K3")
    if module.check_mode:
        module.exit_json(changed=True, plan=ready.plan())
    found = ready.export()
    there = found_in(lines(found), asked["expect"])
    missing = [text for text in asked["expect"] if text not in there]
    result = {**told(found), "expected": [text for text in asked["expect"] if text in there], "missing": missing}
    why = why_not(found)
    if not why and missing:
        why = f"no line of {asked['log_group']} within this time has {', '.join(missing)}"
    if why:
        module.fail_json(msg=why, step="K3", **result)
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
