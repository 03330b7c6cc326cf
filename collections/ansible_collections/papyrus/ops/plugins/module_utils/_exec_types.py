# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a command in a container is asked for and what it answered."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ExecOutcome = Literal["exited", "timed_out", "indeterminate", "not_run"]

MAX_OUTPUT = 1024 * 1024
"""Bytes of output that a result keeps unless said otherwise."""


@dataclass(frozen=True)
class Target:
    """Where a command runs: a task by ARN or id, or a running task of the service's primary deployment."""

    cluster: str
    service: str = ""
    task: str = ""
    container: str = ""

    def __post_init__(self) -> None:
        if bool(self.service) == bool(self.task):
            raise ValueError("a command needs either a task or a service, not both")


@dataclass(frozen=True)
class Command:
    """`command` is run by `sh -c` in the container, `argv` is quoted and run by it as well; one of the two.

    `stdin` reaches the command byte for byte (None: it reads the end of file at once). Times in seconds: `timeout` is
    the command's, `connect_timeout` that of the agent until the session stands. `max_output` bytes of output are kept.
    """

    command: str = ""
    argv: Sequence[str] = ()
    stdin: bytes | None = field(default=None, repr=False)
    timeout: float = 60.0
    connect_timeout: float = 60.0
    max_output: int = MAX_OUTPUT

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.argv):
            raise ValueError("a command is either text for the shell or a list of arguments")
        if "\0" in self.command or any("\0" in item for item in self.argv):
            raise ValueError("a command cannot have NUL characters in it")
        if self.timeout <= 0 or self.connect_timeout <= 0:
            raise ValueError("timeout and connect_timeout must be more than 0 seconds")
        if self.max_output < 0:
            raise ValueError("max_output cannot be negative")


@dataclass(frozen=True)
class Files:
    """What is written beside the result: `log` the transcript, `cast` the recording (asciicast v2).

    `private` is the run's private folder: secrets that the run knows are redacted in log, recording and result.
    """

    log: Path | None = None
    cast: Path | None = None
    private: Path | None = None


@dataclass
class ExecResult:
    """How it went. `rc` is an int only when `outcome` is `exited`; every other outcome is no success.

    `not_run`: the command was never started (`reason` says why and what to do). `timed_out`: it ran longer than allowed
    and was ended. `indeterminate`: it may have run, in whole or in part, and nobody knows how it ended.
    `output` has the bytes of the command, standard output and errors together, at most `max_output` of them.
    """

    outcome: ExecOutcome
    reason: str
    rc: int | None = None
    output: bytes = b""
    truncated: bool = False
    output_bytes: int = 0
    stdin_sha256: str = ""
    task_arn: str = ""
    container: str = ""
    session_id: str = ""
    started_at: str = ""
    ended_at: str = ""
    duration: float = 0.0
    exec_logging: str = ""
    request_ids: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """The command ran to its end and said 0."""
        return self.outcome == "exited" and self.rc == 0

    @property
    def stdout(self) -> str:
        """The output as text; bytes that are no UTF-8 become U+FFFD (`output` has them as they were)."""
        return self.output.decode("utf-8", "replace")

    def as_dict(self) -> dict[str, Any]:
        """For a module's result; `stdout_base64` only where text would lose bytes."""
        text = self.stdout
        lossless = text.encode("utf-8") == self.output
        return {
            "outcome": self.outcome,
            "rc": self.rc,
            "reason": self.reason,
            "stdout": text,
            "stdout_base64": None if lossless else base64.b64encode(self.output).decode(),
            "truncated": self.truncated,
            "output_bytes": self.output_bytes,
            "stdin_sha256": self.stdin_sha256,
            "task_arn": self.task_arn,
            "container": self.container,
            "session_id": self.session_id,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "duration": self.duration,
            "exec_logging": self.exec_logging,
            "request_ids": list(self.request_ids),
        }
