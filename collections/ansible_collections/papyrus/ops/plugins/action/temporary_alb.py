# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugin: runs the module of the same name without a new interpreter where that can be."""

from __future__ import annotations

from ansible_collections.papyrus.ops.plugins.modules import temporary_alb
from ansible_collections.papyrus.ops.plugins.plugin_utils.here import HereModule


class ActionModule(HereModule):
    module = temporary_alb
