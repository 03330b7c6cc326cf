# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others wrote cannot steer the terminal that the verdict is read on."""

from __future__ import annotations

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._printable import printable
from ansible_collections.papyrus.ops.plugins.module_utils._rows import Row, table
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict, verdict_text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b[2J\x1b]0;PASSED\x07", r"\x1b[2J\x1b]0;PASSED\x07"),
        ("a\rb\x9bc", r"a\rb\x9bc"),
        ("\u202edessap", r"\u202edessap"),
        ("\udcff", r"\udcff"),
        ("Grün {{ 1/0 }}\nnext", "Grün {{ 1/0 }}\nnext"),
    ],
)
def test_what_a_terminal_obeys_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_table_of_the_preflight_is_printable() -> None:
    assert "\x1b" not in table([Row("B7", "Service is steady", "ng", "(service x) \x1b[31m event")])


def test_the_verdict_is_printable() -> None:
    reason = "the target says \x1b[1A\x1b[2KPASSED"
    lines = [{"seq": 0, "name": "healthz.log", "status": "ng", "step": "D1", "meta": {"reason": reason}}]
    text = verdict_text(verdict(lines, None, [], False), lines, "runs/x")
    assert "\x1b" not in text and "PASSED" in text and text.splitlines()[-1].startswith("FAILED")
