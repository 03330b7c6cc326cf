# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugin: shows the progress of a sweep while its module runs."""

from __future__ import annotations

from ansible_collections.papyrus.ops.plugins.plugin_utils.progress import ShownModule


class ActionModule(ShownModule):
    what = "sweep"
