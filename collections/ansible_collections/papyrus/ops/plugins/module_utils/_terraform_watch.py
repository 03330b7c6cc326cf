# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Terraform does just now, by the log that it writes meanwhile: for who looks on."""

from __future__ import annotations

import re
from pathlib import Path

from ._rows import listing

_COMMAND = re.compile(r"\$ terraform (?P<command>[a-z-]+)")
_PLAN = re.compile(r"Plan: (?:\d+ to import, )?(\d+) to add, (\d+) to change, (\d+) to destroy\.")
_BEGUN = re.compile(r"(?P<address>\S+): (?P<verb>Creating|Destroying|Modifying)\.\.\.")
_ENDED = re.compile(r"(?P<address>\S+): (?:Creation|Destruction|Modifications) complete")
_EXIT = "# exit code "
_MOST = 1024 * 1024


class TerraformWatch:
    """`look()` reads what is new of the log, which need not be there yet, and says what is under way.

    `then` is what is under way when a command has ended.
    """

    def __init__(self, log: Path, then: str) -> None:
        self._log = log
        self._then = then
        self._offset = 0
        self._command = ""
        self._under_way: dict[str, str] = {}
        self._done = self._total = 0

    def look(self) -> str:
        """One line, "" while nothing is known. OSError when the log cannot be read."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._offset)
                whole, newline, _rest = file.read(_MOST).rpartition(b"\n")
        except FileNotFoundError:
            return ""
        self._offset += len(whole) + len(newline)
        for line in whole.decode("utf-8", "replace").splitlines():
            self._read(line)
        return self._text()

    def _read(self, line: str) -> None:
        if command := _COMMAND.match(line):
            self._command, self._done, self._total = f"terraform {command['command']}", 0, 0
        elif line.startswith(_EXIT):
            self._command, self._under_way = f"{self._command} has ended, {self._then}", {}
        elif plan := _PLAN.match(line):
            self._total = sum(map(int, plan.groups()))
        elif begun := _BEGUN.match(line):
            self._under_way[begun["address"]] = begun["verb"].lower()
        elif ended := _ENDED.match(line):
            self._done += 1
            self._under_way.pop(ended["address"], None)

    def _text(self) -> str:
        done = f"{self._done} of {self._total} done" if self._total else ""
        by_verb: dict[str, list[str]] = {}
        for address, verb in self._under_way.items():
            by_verb.setdefault(verb, []).append(address)
        doing = [f"{verb} {listing(addresses, 3)}" for verb, addresses in by_verb.items()]
        return ", ".join([*(doing or filter(None, [self._command])), *filter(None, [done])])
