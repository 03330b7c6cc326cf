# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Option of the modules that look for what drills of alarms have left."""

from __future__ import annotations


class ModuleDocFragment:
    """`papyrus.ops.drill_place`: where drills make things."""

    DOCUMENTATION = r"""
options:
  drill:
    description: Where drills of alarms make things. They are not looked for without it.
    type: dict
    suboptions:
      cluster:
        description: ECS cluster.
        type: str
        required: true
      task_family:
        description: Family of the service's task definitions.
        type: str
        required: true
      alarm_name:
        description: What the names of the permanent alarms begin with.
        type: str
        required: true
      topic_arn:
        description: Topic of the alarms.
        type: str
        required: true
"""
