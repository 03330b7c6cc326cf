# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts the checkout's collection on the import path when pytest runs without ansible-test."""

from __future__ import annotations

import sys
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[5]

if COLLECTIONS.joinpath("ansible_collections", "papyrus", "ops", "galaxy.yml").is_file():
    sys.path.insert(0, str(COLLECTIONS))
