# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts the checkout's collection on the import path when pytest runs without ansible-test; fixtures of many tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

COLLECTIONS = Path(__file__).resolve().parents[5]

if COLLECTIONS.joinpath("ansible_collections", "papyrus", "ops", "galaxy.yml").is_file():
    sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.papyrus.ops.plugins.module_utils._progress import VARIABLE
from ansible_collections.papyrus.ops.tests.unit.told import Told


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the module under test tells."""
    found = Told(tmp_path / "told")
    monkeypatch.setenv(VARIABLE, str(found.path))
    return found
