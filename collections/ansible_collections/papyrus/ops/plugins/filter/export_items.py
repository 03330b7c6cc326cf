# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter plugin: items of evidence from the result of an export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._export_items import export_items

DOCUMENTATION = r"""
name: export_items
author: papyrus.ops contributors (@papyrus-ops)
version_added: 0.1.0
short_description: Turn the result of an export into items of evidence
description:
  - Makes items for M(papyrus.ops.evidence_capture) from the result of M(papyrus.ops.cloudtrail_export),
    M(papyrus.ops.config_export) or M(papyrus.ops.logs_export), a failed one's as well.
  - The files become items C(<name>.jsonl.gz) and C(<name>.<derived>.jsonl.gz). C(completeness.json) has a check row
    that is NG unless the export is complete, and one that is SKIP when it was read before everything had to be there.
options:
  _input:
    description: Result of the module.
    type: dict
    required: true
  name:
    description: Begin of the items' names.
    type: str
    required: true
  things:
    description: What was counted, for people.
    type: str
    required: true
  step:
    description: Id of what the items show.
    type: str
    required: true
  derived:
    description: Name of the filter, for the item of the derivative.
    type: str
    default: ''
  only_derived:
    description: Keep the derivative alone.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep an export as evidence
  papyrus.ops.evidence_capture:
    run: "{{ opened.run }}"
    items: "{{ exported | papyrus.ops.export_items(name='cloudtrail_24h', things='events', step='K2') }}"
"""

RETURN = r"""
_value:
  description: The items.
  type: list
  elements: dict
"""


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., list[dict[str, Any]]]]:
        return {"export_items": export_items}
