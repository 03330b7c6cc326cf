#!/usr/bin/python
# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exports what AWS Config has recorded of every resource within a span of time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_export
short_description: Export what AWS Config has recorded of every resource, complete and with proof of it
version_added: 0.1.0
description:
  - Lists the resources of every type that AWS Config knows, deleted ones too, and writes each of their configuration
    items of the time asked for, one on a line, into C(config_items_<UTC>.jsonl.gz).
  - Types are those that the SDK knows, and those that Config has counted in the region.
  - Each item is written once, with all its fields, those included that the SDK does not know. Its times are written as
    in the files that Config delivers (RFC 3339).
  - C(completeness.json) has the recorder and, for every type, how many resources were listed, deleted and without any
    item in the time asked for, besides what it has of every export.
  - A type that AWS does not list in the region, and a resource whose history it refuses, are told there and no failure,
    unless no type is listed.
  - Fails before anything is asked when the region has no configuration recorder.
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
  resource_types:
    description:
      - Resource types to export, as V(AWS::ECS::Service). All when empty.
      - In their place the region is asked for some 530 types, a request for each.
    type: list
    elements: str
    default: []
  all_deleted:
    description:
      - Whether to ask for items of resources that were deleted more than a day before the time asked for as well.
      - None of them can have an item in it, but for one that was made again under the same id and that Config still
        lists as deleted.
    type: bool
    default: false
  rate:
    description:
      - Requests a second for each account and region. No second has more.
      - AWS does not say how many it takes. V(0) for as fast as it goes, and more than V(10), are refused unless the
        endpoint is on this machine.
    type: float
    default: 4.0
notes:
  - Needs the permissions C(config:DescribeConfigurationRecorderStatus), C(config:GetDiscoveredResourceCounts),
    C(config:ListDiscoveredResources) and C(config:GetResourceConfigHistory).
  - Needs a request for each resource, as Config can only be asked for one resource's items.
  - Lines stand in the order in which they came, those of a resource together and the oldest first.
  - Config records resource types such as IAM's in one region only.
seealso:
  - module: papyrus.ops.cloudtrail_export
  - module: papyrus.ops.logs_export
  - name: GetResourceConfigHistory
    description: What AWS says about the call.
    link: https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
"""

EXAMPLES = r"""
- name: Export what changed within the last 24 hours
  papyrus.ops.config_export:
    path: docs/evidence/config
    hours: 24

- name: Export what became of security groups and services in January
  papyrus.ops.config_export:
    path: docs/evidence/config
    start: "2026-01-01T00:00:00Z"
    end: "2026-02-01T00:00:00Z"
    resource_types: [AWS::EC2::SecurityGroup, AWS::ECS::Service]
"""

RETURN = r"""
complete:
  description: Whether every export has all that was asked for.
  returned: always
  type: bool
  sample: true
settled:
  description: Whether everything that belongs to the time asked for must have been recorded when it was read.
  returned: always
  type: bool
  sample: false
written:
  description: Configuration items written.
  returned: always
  type: int
  sample: 412
requests:
  description: Calls, retries included.
  returned: always
  type: int
  sample: 1874
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
      folder: docs/evidence/config/20260131T120000Z
      completeness: docs/evidence/config/20260131T120000Z/completeness.json
      files:
        - name: config_items_20260131T120000Z.jsonl.gz
          path: docs/evidence/config/20260131T120000Z/config_items_20260131T120000Z.jsonl.gz
          bytes: 48213
          lines: 412
          sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      filter_jq: ''
      complete: true
      settled: false
      resumed: false
      reason: ''
      written: 412
      requests: 1874
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
from ansible_collections.papyrus.ops.plugins.module_utils._config_source import MOST_A_SECOND, ConfigSource, none_listed
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


@redacted_failure
def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            **ARGUMENTS,
            "resource_types": {"type": "list", "elements": "str", "default": []},
            "all_deleted": {"type": "bool", "default": False},
            "rate": {"type": "float", "default": 4.0},
        },
        mutually_exclusive=EXCLUSIVE,
        required_one_of=ONE_OF,
        supports_check_mode=True,
    )
    redact_results(module)
    given = {name: module.params[name] for name in ("resource_types", "all_deleted") if module.params[name]}
    options = {"types": module.params["resource_types"], "all_deleted": module.params["all_deleted"]}
    job = Job("config", "config_items", MOST_A_SECOND, given, functools.partial(ConfigSource, **options))
    try:
        ready = prepare(job, module.params, module.region, functools.partial(_aws.module_clients, module))
    except (ExportRefused, _aws.AwsFailure) as exc:
        module.fail_json(msg=f"nothing was exported: {exc}", step="K2")
    if module.check_mode:
        module.exit_json(changed=True, plan=ready.plan())
    found = ready.export()
    if why := why_not(found) or none_listed(found):
        module.fail_json(msg=why, step="K2", **told(found))
    module.exit_json(changed=True, **told(found))


if __name__ == "__main__":
    main()
