#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports CloudTrail's event history, all of it, and says what is in the export and what is not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudtrail_export
short_description: Export CloudTrail's event history, complete and with proof of it
version_added: 0.1.0
description:
  - Reads the event history (C(LookupEvents)) of any time within the last 90 days, one window of time after the other,
    and writes each event as CloudTrail's own record, one on a line, into C(cloudtrail_events_<UTC>.jsonl.gz).
  - Each event is written once, also when windows overlap, a page token is lost, or the export was killed and gone on
    with.
  - What O(filter) selects is written beside it in the same pass. RV(exports[].filter_jq) is a program for C(jq) that
    selects the same lines of the full file.
  - C(completeness.json) has every window with its number of events (0 is a fact as well), gaps, requests, throttling,
    and the files' digests.
  - An entry that is no record (no JSON, no object, no event id) is kept in C({"malformed":true,"entry":{…}}).
  - How long it will take is said before the bulk of it is read, from the first pages of five windows.
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
  filter:
    description:
      - What the derivative C(cloudtrail_events_<UTC>.<name>.jsonl.gz) has. All conditions that are given must be met,
        each by one of its values. Upper and lower case are different.
      - No derivative is written when left out.
    type: dict
    suboptions:
      name:
        description: Part of the derivative's file name. Lower-case letters, digits, C(-) and C(_).
        type: str
        default: papyrus
      resource_names:
        description:
          - Resources in C(requestParameters), C(responseElements) or C(resources). A text counts that is the name, or
            has it as one or more whole parts between C(:) and C(/), as ARNs have.
        type: list
        elements: str
        default: []
      users:
        description:
          - Users, roles or sessions in C(userIdentity), found as O(filter.resource_names) are. A name, an id or an ARN.
        type: list
        elements: str
        default: []
      sources:
        description: Event sources, as V(ecs) or V(ecs.amazonaws.com).
        type: list
        elements: str
        default: []
      text:
        description: Texts that stand somewhere in a value of the record.
        type: list
        elements: str
        default: []
  attribute:
    description:
      - A lookup attribute. AWS then gives only events that have it, and this is an export of these events alone.
    type: dict
    suboptions:
      key:
        description: Name of the attribute.
        type: str
        required: true
        choices:
          - AccessKeyId
          - EventId
          - EventName
          - EventSource
          - ReadOnly
          - ResourceName
          - ResourceType
          - Username
      value:
        description: Its value, exactly.
        type: str
        required: true
notes:
  - Needs the permission C(cloudtrail:LookupEvents).
  - AWS takes two look-ups a second, for each account and region, from all who ask together.
  - Lines stand in the order in which they came. Windows are read from the oldest to the newest, within a window the
    newest event comes first; the first page of some windows comes before all.
seealso:
  - module: papyrus.ops.config_export
  - module: papyrus.ops.logs_export
  - name: LookupEvents
    description: What AWS says about the call.
    link: https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

EXAMPLES = r"""
- name: Export the last 90 days, with what concerns the service beside it
  papyrus.ops.cloudtrail_export:
    path: docs/evidence/cloudtrail
    days: 90
    filter:
      resource_names: [papyrus-ecs-prd, papyrus-task-service, papyrus-task]

- name: Export what one role did in two regions, and wait for what comes late
  papyrus.ops.cloudtrail_export:
    path: docs/evidence/cloudtrail
    start: "2026-01-31T12:00:00Z"
    end: "2026-01-31T13:00:00Z"
    regions: [us-west-2, us-east-1]
    settle: true
    filter:
      name: release
      users: [papyrus-release]
"""

RETURN = r"""
complete:
  description: Whether every export has all that was asked for.
  returned: always
  type: bool
  sample: true
settled:
  description: Whether everything that belongs to the time asked for must have been in the history when it was read.
  returned: always
  type: bool
  sample: false
written:
  description: Events written.
  returned: always
  type: int
  sample: 48211
requests:
  description: Calls of C(LookupEvents), retries included.
  returned: always
  type: int
  sample: 1004
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
      description: The full file, then the derivative. Name, path, size, lines and SHA-256. Empty before the end.
      type: list
      elements: dict
    filter_jq:
      description: Program for C(jq) that makes the lines of the derivative out of the full file. Empty without filter.
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
      description: Events written.
      type: int
    requests:
      description: Calls, retries included.
      type: int
    report:
      description: What C(completeness.json) has, or would have.
      type: dict
  sample:
    - region: us-west-2
      folder: docs/evidence/cloudtrail/20260131T120000Z
      completeness: docs/evidence/cloudtrail/20260131T120000Z/completeness.json
      files:
        - name: cloudtrail_events_20260131T120000Z.jsonl.gz
          path: docs/evidence/cloudtrail/20260131T120000Z/cloudtrail_events_20260131T120000Z.jsonl.gz
          bytes: 9310442
          lines: 48211
          sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      filter_jq: ''
      complete: true
      settled: false
      resumed: false
      reason: ''
      written: 48211
      requests: 1004
      report:
        schema: papyrus.ops/export/1
        start: "2025-11-02T12:00:00Z"
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
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import (
    ATTRIBUTES,
    CloudTrailSource,
    cloudtrail_filter,
)
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.plugins.module_utils._export_job import Job, prepare
from ansible_collections.papyrus.ops.plugins.module_utils._export_module import (
    ARGUMENTS,
    EXCLUSIVE,
    ONE_OF,
    told,
    why_not,
)
from ansible_collections.papyrus.ops.plugins.module_utils._results import redact_results, redacted_failure
from ansible_collections.papyrus.ops.plugins.module_utils._trail import MOST_A_SECOND

FILTER = {
    "name": {"type": "str", "default": "papyrus"},
    "resource_names": {"type": "list", "elements": "str", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "sources": {"type": "list", "elements": "str", "default": []},
    "text": {"type": "list", "elements": "str", "default": []},
}
ATTRIBUTE = {
    "key": {"type": "str", "required": True, "choices": list(ATTRIBUTES), "no_log": False},
    "value": {"type": "str", "required": True},
}


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            **ARGUMENTS,
            "filter": {"type": "dict", "options": FILTER},
            "attribute": {"type": "dict", "options": ATTRIBUTE},
        },
        mutually_exclusive=EXCLUSIVE,
        required_one_of=ONE_OF,
        supports_check_mode=True,
    )
    redact_results(module)
    asked = module.params
    try:
        job = Job(
            "cloudtrail",
            "cloudtrail_events",
            MOST_A_SECOND,
            {"attribute": asked["attribute"]} if asked["attribute"] else {},
            functools.partial(CloudTrailSource, attribute=asked["attribute"]),
            criterion=cloudtrail_filter(**asked["filter"]) if asked["filter"] else None,
            retention=CloudTrailSource.retention,
        )
        ready = prepare(job, asked, module.region, functools.partial(_aws.module_clients, module))
    except (ExportRefused, _aws.AwsFailure) as exc:
        module.fail_json(msg=f"nothing was exported: {exc}", step="K1")
    if module.check_mode:
        module.exit_json(changed=True, plan=ready.plan())
    found = ready.export()
    if why := why_not(found):
        module.fail_json(msg=why, step="K1", **told(found))
    module.exit_json(changed=True, **told(found))


if __name__ == "__main__":
    main()
