# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module tells while it runs, for the callback papyrus.ops.live: lines of JSON in a file which that has made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from ._printable import printable

VARIABLE = "PAPYRUS_OPS_LIVE"
"""Names the file of the task under way, for its worker and all that this starts on the same machine."""

LONGEST = 2000
"""Characters of one text; the rest is cut off."""


class Progress:
    """Tells nothing until it is opened, and nothing when nobody looks; no error of it ever reaches the module.

    Nobody looks without the callback, on another machine, as another user, and when the file cannot be written any
    more.
    """

    def __init__(self) -> None:
        self._clean: Callable[[str], str] = str
        self._path = ""
        self._waits = ""

    def open(self, clean: Callable[[str], str]) -> None:
        """From here on it tells, `clean` having taken the secrets out of each text."""
        self._clean, self._path, self._waits = clean, os.environ.get(VARIABLE, ""), ""

    def now(self, text: str) -> None:
        """What is waited for, until something else is told; the same again is nothing new."""
        if text and text != self._waits:
            self._waits = text
            self._tell("now", text)

    def line(self, text: str) -> None:
        """Something that happened: a line that stays, or several, told at once."""
        self._waits = ""
        self._tell("line", text)

    def _tell(self, kind: str, text: str) -> None:
        if not self._path:
            return
        try:
            told = json.dumps({kind: printable(self._clean(text))[:LONGEST]}) + "\n"
            # Never made here: it is gone when nobody looks any more.
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, told.encode("ascii"))
            finally:
                os.close(fd)
        except Exception:  # the module is not about that
            self._path = ""


PROGRESS = Progress()
"""That of this module. `_results.redact_results` opens it, and `_poller.poll` tells it why each wait goes on."""
