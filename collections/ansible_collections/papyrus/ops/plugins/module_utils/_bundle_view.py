# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle as its readers see it: run.json, manifest lines and the beginnings of items, in bounded memory."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._evidence import RUN_FILE, VERDICT, Bundle

MAX_READ = 4 * 1024 * 1024
"""Bytes of one item that are read at most; larger ones are cut, and `Content.cut` says so."""


@dataclass(frozen=True)
class Content:
    """The beginning of an item. `size` is that of the file, `cut` whether `data` is less than that."""

    data: bytes
    size: int

    @property
    def cut(self) -> bool:
        return len(self.data) < self.size

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class BundleView:
    """`run` is run.json, `verdict` verdict.json ({} when not there), `lines` the manifest, the verdict's included.

    Nothing is followed out of `folder`: an item that is a link, or no plain file, reads as missing (None).
    """

    folder: Path
    run: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    verdict: Mapping[str, Any]

    @classmethod
    def of(cls, bundle: Bundle) -> BundleView:
        return cls.over(bundle.folder, bundle.lines())

    @classmethod
    def over(cls, folder: Path, lines: Sequence[Mapping[str, Any]]) -> BundleView:
        """For whoever has read the manifest already, and holds its lock."""
        empty = cls(folder, {}, lines, {})
        return cls(folder, empty.json(RUN_FILE) or {}, lines, empty.json(VERDICT) or {})

    def named(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Lines of the items with this name, oldest first."""
        return (line for line in self.lines if line["name"] == name)

    def last(self, name: str) -> Mapping[str, Any] | None:
        """The newest line of this name."""
        return next((line for line in reversed(self.lines) if line["name"] == name), None)

    def read(self, line: Mapping[str, Any], limit: int = MAX_READ) -> Content | None:
        """Up to `limit` bytes of an item; None when there is no plain file of this name in the bundle."""
        ends = self.ends(line, limit, 0)
        return None if ends is None else ends[0]

    def ends(self, line: Mapping[str, Any], head: int, tail: int) -> tuple[Content, bytes] | None:
        """Beginning and, apart from it, end of an item; None as for `read`. Memory goes by `head` + `tail` alone."""
        path = str(line.get("path") or "")
        if path in ("", ".", "..") or "/" in path or "\0" in path:
            return None
        try:
            fd = os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return None
            content = Content(file.read(head), found.st_size)
            file.seek(max(len(content.data), found.st_size - tail))
            return content, file.read(tail)

    def json(self, name: str, limit: int = MAX_READ) -> dict[str, Any] | None:
        """The newest item of this name, when it is a JSON object of at most `limit` bytes; else None."""
        line = self.last(name)
        return None if line is None else self.json_of(line, limit)

    def json_of(self, line: Mapping[str, Any], limit: int = MAX_READ) -> dict[str, Any] | None:
        """This item, on the same terms."""
        content = self.read(line, limit)
        if content is None or content.cut:
            return None
        try:
            value = json.loads(content.data)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None
