# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others wrote cannot steer the terminal that the verdict is read on."""

from __future__ import annotations

import json
import shlex

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.papyrus.ops.plugins.module_utils._printable import extra_variable, printable
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


@pytest.mark.parametrize("value", ["runs/x", "/home/a b/it's", 'x"y', "run; curl evil", "$(id)", "証跡/一"])
def test_a_variable_of_a_printed_command_reaches_ansible_as_it_is(value: str) -> None:
    option, given = shlex.split(extra_variable("papyrus_verify_bundle", value))
    read = json.loads(given) if given.startswith("{") else parse_kv(given)
    assert (option, read) == ("-e", {"papyrus_verify_bundle": value})


def test_the_table_of_the_preflight_is_printable() -> None:
    assert "\x1b" not in table([Row("B7", "Service is steady", "ng", "(service x) \x1b[31m event")])


def test_the_verdict_is_printable() -> None:
    reason = "the target says \x1b[1A\x1b[2KPASSED"
    lines = [{"seq": 0, "name": "healthz.log", "status": "ng", "step": "D1", "meta": {"reason": reason}}]
    text = verdict_text(verdict(lines, None, [], False), lines, "runs/x")
    assert "\x1b" not in text and "PASSED" in text and text.splitlines()[-1].startswith("FAILED")
