# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many examples hypothesis makes up for the costly tests."""

from __future__ import annotations

import os


def examples(most: int) -> int:
    """All of them where PAPYRUS_ALL_EXAMPLES is set, as the soak does; else a third."""
    return most if os.environ.get("PAPYRUS_ALL_EXAMPLES") else most // 3
