# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of a bundle, read in pieces; those that no manifest line lists: of killed writers, and what is none of ours."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from ._locks import TEMPORARY_PREFIX

_PIECE = 1024 * 1024


def find_strays(
    folder: Path, known: Set[str], item_name: Callable[[str], str]
) -> tuple[list[tuple[str, str]], list[dict[str, str]]]:
    """Path and name of the files that are items by `item_name`, oldest first; `path`, `sha256`, `what` of the others.

    Links are not followed, and only plain files are opened. Temporary files are those of writers that are at work.
    """
    items: list[tuple[str, str]] = []
    foreign: list[dict[str, str]] = []
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.name in known:
            continue
        plain = entry.is_file(follow_symlinks=False)
        name = item_name(entry.name) if plain else ""
        if name:
            items.append((entry.name, name))
        elif not (plain and entry.name.startswith(TEMPORARY_PREFIX)):
            shown = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            foreign.append({"path": shown, "sha256": _try_hash(Path(entry)) if plain else "", "what": _what(entry)})
    return items, foreign


def _what(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "folder"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def read_plain(path: Path, *, follow: bool = True) -> Iterator[bytes]:
    """A plain file in pieces. OSError as of open(2), ValueError for a folder, FIFO or device, which is not read."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{path} is no plain file")
        while piece := os.read(fd, _PIECE):
            yield piece
    finally:
        os.close(fd)


def hash_of_file(path: Path) -> str:
    """SHA-256 of a plain file of the bundle."""
    digest = hashlib.sha256()
    for piece in read_plain(path, follow=False):
        digest.update(piece)
    return digest.hexdigest()


def _try_hash(path: Path) -> str:
    """Empty when the file cannot be read: that it is there is said all the same."""
    try:
        return hash_of_file(path)
    except (OSError, ValueError):
        return ""
