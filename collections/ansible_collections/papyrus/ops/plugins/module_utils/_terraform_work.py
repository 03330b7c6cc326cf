# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private copy of a Terraform stack to work in: its files, variables, backend, and a state that nobody else reads."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLES = "stack.auto.tfvars.json"
BACKEND = "backend.tf.json"


class StackUnusable(Exception):
    """The copy cannot be made; the text says what is missing."""


@dataclass(frozen=True)
class Work:
    """`source` is never written to. `files` are laid beside its copy in `folder` (endpoints of a proxy, for example).

    `backend` is `{type: arguments}`; empty means a local state in `state`.
    """

    source: Path
    folder: Path
    state: Path
    files: Sequence[Path] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    backend: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """Name → bytes of every file that Terraform shall find in the folder."""
        sources = sorted([*self.source.glob("*.tf"), *self.source.glob("*.tf.json")])
        if not sources:
            raise StackUnusable(f"{self.source} is no Terraform stack: there is no *.tf file in it")
        contents = {path.name: path.read_bytes() for path in [*sources, *self.files]}
        backend = dict(self.backend) or {"local": {"path": str(self.state)}}
        if len(backend) != 1:
            raise StackUnusable(f"a state has one backend, not {', '.join(sorted(backend)) or 'none'}")
        contents[BACKEND] = _json({"terraform": {"backend": backend}})
        contents[VARIABLES] = _json(dict(self.variables))
        return contents

    def differences(self) -> list[str]:
        """Names of files in the folder that are not as they should be."""
        contents = self.contents()
        present = [*self.folder.glob("*.tf"), *self.folder.glob("*.tf.json")]
        stale = {path.name for path in present} - set(contents)
        return sorted(stale | {name for name, content in contents.items() if not _holds(self.folder / name, content)})

    def make(self) -> list[str]:
        """Bring the folder to that; names of what was written or removed. Other `*.auto.tfvars.json` stay."""
        contents = self.contents()
        different = self.differences()
        _private_folder(self.folder)
        for name in different:
            if name in contents:
                _write(self.folder / name, contents[name])
            else:
                (self.folder / name).unlink()
        if not self.backend:
            # Terraform writes into files that exist and keeps their mode; made by itself they would be readable to all.
            _private_folder(self.state.parent)
            for path in (self.state, self.state.with_name(f"{self.state.name}.backup")):
                path.touch(mode=0o600)
                path.chmod(0o600)
        return different


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_bytes() == content


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    temporary.replace(path)
