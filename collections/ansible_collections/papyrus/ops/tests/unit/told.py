# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module tells while it runs, as the callback papyrus.ops.live would read it."""

from __future__ import annotations

import json
from pathlib import Path


class Told:
    """The file of one task. `all` is everything in its order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.path.write_bytes(b"")

    @property
    def all(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.path.read_text("ascii").splitlines()]

    @property
    def lines(self) -> list[str]:
        return [each["line"] for each in self.all if "line" in each]

    @property
    def text(self) -> str:
        return "\n".join(text for each in self.all for text in each.values())
