# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command as it goes into a container's terminal, and what comes back taken apart: marks, output, exit code.

A terminal has one stream each way and no exit code, so a small shell program stands around the command:

- it turns the echo off and says `ready` with its process id; nothing has been run until then;
- it reads one line: a secret mark, and length and SHA-256 of the standard input that follows as base64 lines. The mark
  comes this way and not as an argument, so that neither the command nor a list of processes knows it;
- it keeps standard input in a file that has no name any more, and runs the command only if its SHA-256 is right;
- it says `begin`, runs the command, and says its exit code, each behind the mark;
- it waits for a line, at most 25 seconds: the agent gives up output that has not arrived two seconds after the end of
  its process, so the end has to wait for the client.

Everything between `begin` and the last mark with an exit code is the command's output.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MAX_COMMAND = 32 * 1024
"""Characters of a command. It goes through APIs and into argv, whose limits AWS does not state; stdin has none."""

INPUT_LINE = 720
"""Bytes of standard input in one line: 960 characters of base64. A terminal cuts lines near 4,096 bytes, and one
message of the channel, encrypted as well, holds a line of this length."""

COLUMNS, ROWS = 120, 40
"""What the terminal is said to be; programs that ask for its size get an answer that suits a log."""

VARIABLE = "PAPYRUS_EXEC"
"""In the command's environment, with the tag: by this its processes are found when they must be ended."""

INTERRUPT, END_OF_INPUT, THANKS = b"\x03", b"\x04", b"\n"

# In the order of the conversation; one line, as nobody says what AWS does to line ends in a command. `trap :` keeps the
# shell alive when the command is interrupted by Ctrl-C; unlike `trap ''` it is not inherited. $0 is the tag by which
# the process can be found, $1 the command.
_PROGRAM = " ".join(
    (
        "trap : INT;",
        "stty -echo icanon isig opost onlcr 2>/dev/null; e=$?;",
        r'printf "\n%s ready %d %d\n" "$0" "$$" "$e";',
        "unset m n h f; read -r m n h || exit 125;",
        r'say() { printf "\n%s:%s\n" "$m" "$1"; };',
        'if [ "$n" = - ]; then exec 5</dev/null; else',
        'for t in base64 sha256sum head; do command -v $t >/dev/null 2>&1 || { say "tool $t"; exit 125; }; done;',
        'for d in /dev/shm "${TMPDIR:-/tmp}" /tmp /var/tmp; do f=$d/.$0;',
        'if (umask 077; set -C; : >"$f") 2>/dev/null; then exec 3>"$f" 4<"$f" 5<"$f"; rm -f "$f"; break; fi; f=; done;',
        '[ "$f" ] || { say space; exit 125; };',
        'head -n "$n" | base64 -d >&3; exec 3>&-; s=$(sha256sum <&4); exec 4<&-;',
        '[ "${s%% *}" = "$h" ] || { say "hash ${s%% *}"; exit 125; }; fi;',
        f'say begin; {VARIABLE}=$0 sh -c "$1" <&5 5<&-; say $?;',
        "stty -icanon min 0 time 250 2>/dev/null; read -r m",
    )
)

_PREAMBLE_LIMIT = 64 * 1024
_TRAILER_LIMIT = 64 * 1024


def shell_text(command: str, argv: Sequence[str]) -> str:
    """What `sh -c` runs. ValueError when it is too long."""
    text = command or shlex.join(argv)
    if len(text) > MAX_COMMAND:
        raise ValueError(
            f"the command has {len(text)} characters, at most {MAX_COMMAND} can be sent: give the program as stdin"
        )
    return text


@dataclass(frozen=True)
class Wrapped:
    """A command for ExecuteCommand. `tag` may be seen by anyone, `mark` is secret until the command has ended."""

    text: str
    tag: str
    mark: str = field(repr=False)
    stdin: bytes | None = field(repr=False, default=None)

    @property
    def stdin_sha256(self) -> str:
        return "" if self.stdin is None else hashlib.sha256(self.stdin).hexdigest()

    @property
    def lines(self) -> list[bytes]:
        """What is typed when the shell is ready: the line with the mark, then standard input."""
        if self.stdin is None:
            return [f"{self.mark} - -\n".encode()]
        body = [
            base64.b64encode(self.stdin[start : start + INPUT_LINE]) + b"\n"
            for start in range(0, len(self.stdin), INPUT_LINE)
        ] or [b"\n"]
        return [f"{self.mark} {len(body)} {self.stdin_sha256}\n".encode(), *body]


def wrap(command: str, stdin: bytes | None = None, token: Callable[[int], str] = secrets.token_hex) -> Wrapped:
    """The program around the command, quoted for an agent that splits it like a shell and starts it without one."""
    tag = f"papyrus-{token(8)}"
    return Wrapped(shlex.join(["sh", "-c", _PROGRAM, tag, command]), tag, token(16), stdin)


def kill_text(pid: int, tag: str) -> str:
    """Ends every process of an earlier command and prints how many.

    Those that have its variable in their environment, wherever they went, and those of its terminal's session while
    the shell around it is still there: the process id alone could be somebody else's by now.
    """
    return (
        f"n=0; w=$(grep -ls {tag} /proc/{pid}/cmdline); for d in /proc/[0-9]*; do p=${{d#/proc/}}; "
        f"if grep -qs {VARIABLE}={tag} $d/environ; then :; "
        f'elif [ "$w" ] && read -r l <$d/stat; then set -- ${{l##*) }}; [ "$4" = {pid} ] || continue; '
        "else continue; fi 2>/dev/null; kill -KILL $p 2>/dev/null && n=$((n+1)); done; echo $n"
    )


@dataclass(frozen=True)
class Ready:
    """The shell waits for its line. `echo` when the echo could not be turned off."""

    pid: int
    echo: bool


@dataclass(frozen=True)
class Begun:
    """The command has been started."""


@dataclass(frozen=True)
class Refused:
    """The command was not started; the text says why."""

    text: str


@dataclass(frozen=True)
class Exited:
    """A mark with the command's exit code. Another one may follow: the last counts."""

    rc: int


Step: TypeAlias = "Ready | Begun | Refused | Exited"
_Stage = Literal["preamble", "prepared", "running", "ended"]


class Lines:
    """Undoes what a terminal does to line ends: it writes each LF as CR LF (termios ONLCR), so one CR goes.

    Exactly the inverse: a program's own CR LF arrives as CR CR LF and becomes CR LF again.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        return data[: len(data) - len(self._held)].replace(b"\r\n", b"\n")

    def end(self) -> bytes:
        held, self._held = self._held, b""
        return held


class Parser:
    """Takes the terminal's bytes as they come, hands the command's output to `write`, and returns what happened.

    Holds back no more than could still become a mark, and after an exit code at most 64 KiB in case that a later mark
    follows.
    """

    def __init__(
        self, wrapped: Wrapped, write: Callable[[bytes, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`write` gets output with the time at which it came."""
        self._write = write
        self._clock = clock
        self._now = 0.0
        self._late, self._late_at = 0, 0.0
        self._lines = Lines()
        self._stage: _Stage = "preamble"
        self._held = b""
        self._ready = re.compile(rb"(?:\A|\n)" + re.escape(wrapped.tag.encode()) + rb" ready (\d{1,10}) (\d{1,3})\n")
        self._start = b"\n" + wrapped.mark.encode() + b":"
        mark = re.escape(self._start)
        self._said = re.compile(mark + rb"(begin|space|tool [a-z0-9]+|hash [0-9a-f]*)\n")
        self._exit = re.compile(mark + rb"(\d{1,3})\n")
        self.preamble = b""
        """What the session said before the shell was ready, shortened: the agent's complaint when it never is."""

    def feed(self, data: bytes) -> Iterator[Step]:
        """What happened, one by one: output that follows a step is only written when the next one is asked for."""
        self._late, self._late_at = len(self._held), self._now
        self._now = self._clock()
        self._held += self._lines.feed(data)
        while (step := self._next()) is not None:
            yield step

    def end(self) -> None:
        """No more will come: what was held back is output after all, unless a mark has been seen."""
        self._held += self._lines.end()
        if self._stage == "running":
            self._output(len(self._held))

    def _output(self, length: int) -> None:
        """Hands the first bytes on; those that were held back came when they came."""
        late = min(self._late, length)
        if late:
            self._write(self._held[:late], self._late_at)
            self._late -= late
        if length > late:
            self._write(self._held[late:length], self._now)
        self._held = self._held[length:]

    def _next(self) -> Step | None:
        if self._stage == "preamble":
            return self._until_ready()
        if self._stage == "prepared":
            return self._until_begun()
        return self._until_exit()

    def _until_ready(self) -> Step | None:
        match = self._ready.search(self._held)
        self.preamble = (self.preamble + self._held)[:1024] if match is None else b""
        if match is None:
            self._held = self._held[-_PREAMBLE_LIMIT:]
            return None
        self._held = self._held[match.end() - 1 :]  # the line end stays: a mark begins with one
        self._stage = "prepared"
        return Ready(int(match.group(1)), match.group(2) != b"0")

    def _until_begun(self) -> Step | None:
        match = self._said.search(self._held)
        if match is None:
            self._held = self._held[-_PREAMBLE_LIMIT:]
            return None
        self._held = self._held[match.end() :]
        word = match.group(1).decode()
        if word == "begin":
            self._stage = "running"
            return Begun()
        return Refused(_refusal(word))

    def _until_exit(self) -> Step | None:
        ended = self._stage == "ended"
        match = self._exit.search(self._held, 1 if ended else 0)
        if match is not None:  # and what an earlier mark looked like was output
            self._output(match.start())
            self._stage = "ended"
            return Exited(int(match.group(1)))
        if ended:
            self._held = self._held[:_TRAILER_LIMIT]
        else:
            self._output(len(self._held) - self._possible_mark())
        return None

    def _possible_mark(self) -> int:
        """How many bytes at the end could be the beginning of a mark."""
        position = self._held.rfind(b"\n")
        tail = self._held[position:] if position >= 0 else b""
        length = len(self._start)
        if self._start.startswith(tail[:length]) and re.fullmatch(rb"\d{0,3}", tail[length:]):
            return len(tail)
        return 0


def _refusal(word: str) -> str:
    if word == "space":
        return "no folder of the container can be written to (/dev/shm, $TMPDIR, /tmp, /var/tmp): stdin has no place"
    if word.startswith("tool "):
        return f"the container has no {word.removeprefix('tool ')}, which is needed to give the command its stdin"
    return f"stdin did not arrive whole: its SHA-256 in the container is {word.removeprefix('hash ') or 'unknown'}"
