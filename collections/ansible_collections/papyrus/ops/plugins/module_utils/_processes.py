# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one place where processes are started: apart from the terminal, without input, with the environment given.

`AnsibleModule.run_command` needs a module and waits for the end. The guard of a run has no module, and Terraform has
to be watched and interrupted while it works.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PIPE = subprocess.PIPE
TOGETHER = subprocess.STDOUT
"""For `errors`: standard error goes where standard output goes."""

KILL_SECONDS = 10.0
"""How long a killed process may take to end: it may be inside an uninterruptible read of a disk."""


PRIVATE_UMASK = 0o077
"""Of a child whose files nobody else may read."""

_BARE = r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH"


def bare_environment(environ: Mapping[str, str], more: str = "") -> dict[str, str]:
    """What every program needs of `environ`: where programs and files are, and the language. No credentials.

    `more` is a regular expression for the names of what one program needs besides.
    """
    wanted = re.compile(f"{_BARE}|{more}" if more else _BARE)
    return {name: value for name, value in environ.items() if wanted.fullmatch(name)}


class Child(subprocess.Popen[bytes]):
    """A process at the head of a process group of its own, so that a Ctrl-C in the terminal never reaches it.

    With `session` it has a session too: no terminal at all, and it outlives the one who started it. `env` is its whole
    environment, `umask` what the files lack that it makes (-1: as here). OSError when it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        output: int | IO[bytes],
        errors: int | IO[bytes] = TOGETHER,
        cwd: str | Path | None = None,
        session: bool = False,
        umask: int = -1,
    ) -> None:
        super().__init__(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=session,
            process_group=None if session else 0,
            umask=umask,
        )

    def ended(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """SIGKILL for it and for what it started; returns when it is gone. TimeoutError when it does not go."""
        with contextlib.suppress(ProcessLookupError):  # nothing of the group is left
            os.killpg(self.pid, signal.SIGKILL)
        if not self.ended(KILL_SECONDS):
            raise TimeoutError(f"process {self.pid} is still there {KILL_SECONDS:g} s after SIGKILL")


@dataclass(frozen=True)
class Answer:
    """What a command said. `returncode` is negative when a signal ended it."""

    returncode: int
    output: bytes
    errors: bytes

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """Standard error, or standard output where that is empty, as text."""
        return (self.errors.strip() or self.output.strip()).decode("utf-8", "replace")


def ask(argv: Sequence[str], *, env: Mapping[str, str], cwd: str | Path | None = None, timeout: float) -> Answer:
    """Runs a short command that only answers. OSError when it cannot be started, TimeoutError (also one) when late."""
    with Child(argv, env=env, cwd=cwd, output=PIPE, errors=PIPE) as child:
        try:
            output, errors = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as exc:
            child.kill_group()
            raise TimeoutError(f"no answer within {timeout:g} s") from exc
        except BaseException:
            child.kill_group()
            raise
    return Answer(child.returncode, output, errors)
