# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module of this collection says about check mode, diff, repetition and its action group."""

from __future__ import annotations


class ModuleDocFragment:
    """`papyrus.ops.attributes` has the descriptions; `.info` for modules that only read, `.actiongroup_aws` for AWS."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts in check mode what it would do, without doing it.
  diff_mode:
    description: Shows in diff mode what changes, or what would change in check mode.
  idempotent:
    description: A second call with the same arguments changes nothing, unless the world has changed between.
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Reads only, so check mode makes no difference.
  diff_mode:
    support: N/A
    details:
      - Reads only, there is nothing to compare.
  idempotent:
    support: full
    details:
      - Reads only.
"""

    ACTIONGROUP_AWS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/papyrus.ops.aws) in C(module_defaults) to set the options of AWS for this module.
    support: full
    membership:
      - papyrus.ops.aws
"""
