# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transcript and recording of a command in a container."""

from __future__ import annotations

import os
from pathlib import Path

from . import _cast
from ._exec_command import COLUMNS, ROWS
from ._exec_output import Final
from ._exec_types import ExecResult, Files
from ._locks import write_durable
from ._names import parse_rfc3339
from ._redaction import Redactor


def check(files: Files) -> None:
    """OSError when log or recording could not be written, before anything is run."""
    for path in (files.log, files.cast):
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise OSError(f"{path} cannot be written: its folder is missing or not writable")


def write(files: Files, command: str, result: ExecResult, final: Final, redactor: Redactor | None) -> None:
    """Writes what is asked for. OSError names the file and how the command ended, as that would be lost else."""
    shown = redactor.redact_text(command) if redactor else command
    for path, make in ((files.log, _transcript), (files.cast, _recording)):
        if path is None:
            continue
        try:
            write_durable(Path(path), make(shown, result, final), mode=0o600, replace=True)
        except OSError as exc:
            raise OSError(f"{path} cannot be written: {exc}. The command: {result.outcome}, {result.reason}") from exc


def _transcript(command: str, result: ExecResult, final: Final) -> bytes:
    """The head for people and grep, an empty line, then the output byte for byte."""
    head = {
        "command": command.replace("\n", "\n" + " " * 12),
        "task": result.task_arn,
        "container": result.container,
        "session": result.session_id,
        "sessions": result.exec_logging,
        "stdin": f"sha256 {result.stdin_sha256}" if result.stdin_sha256 else "none",
        "started": result.started_at,
        "ended": result.ended_at,
        "outcome": f"{result.outcome}: {result.reason}",
        "exit code": "none" if result.rc is None else str(result.rc),
        "output": f"{final.total} bytes",
    }
    lines = "".join(f"{name + ':':<12}{value}\n" for name, value in head.items())
    cut = f"\n{final.cut_note}\n" if final.truncated else ""
    return lines.encode() + b"\n" + final.data + cut.encode()


def _recording(command: str, result: ExecResult, final: Final) -> bytes:
    pieces = [(piece.at, piece.data) for piece in final.pieces]
    if final.truncated:
        pieces.append((final.duration, f"\n{final.cut_note}\n".encode()))
    lines = _cast.lines(
        pieces,
        columns=COLUMNS,
        rows=ROWS,
        timestamp=int(parse_rfc3339(result.started_at).timestamp()),
        command=command,
        title=f"{result.container} of {result.task_arn}: {result.reason}",
    )
    return "".join(lines).encode()
