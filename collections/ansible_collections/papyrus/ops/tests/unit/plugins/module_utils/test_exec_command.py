# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command as it goes into a real terminal, and its output and exit code as they come out (N3)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pty
import select
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _exec_command as words
from ansible_collections.papyrus.ops.plugins.module_utils._exec_command import Begun, Exited, Parser, Ready, Refused
from hypothesis import given
from hypothesis import strategies as st

MARK = "m" * 32
PREPARED = b"\r\npapyrus-t ready 42 0\r\n"


@dataclass
class Seen:
    steps: list[words.Step] = field(default_factory=list)
    output: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, at: float) -> None:
        self.output += data
        self.times.append(at)

    @property
    def rc(self) -> int | None:
        """The exit code of the last mark."""
        return next((step.rc for step in reversed(self.steps) if isinstance(step, Exited)), None)


def in_terminal(wrapped: words.Wrapped, environment: dict[str, str] | None = None) -> Seen:
    """Runs it as the agent does: split like a shell, started without one, on a terminal."""
    argv, seen = shlex.split(wrapped.text), Seen()
    parser = Parser(wrapped, seen.write)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, {"PATH": os.environ["PATH"], **(environment or {})})
    typed: list[bytes] = []
    try:
        while True:
            readable, writable, _none = select.select([terminal], [terminal] if typed else [], [], 10)
            assert readable or writable, (seen, parser.preamble)
            if writable:
                os.write(terminal, typed.pop(0))
            if readable:
                try:
                    data = os.read(terminal, 1024)
                except OSError:  # nobody has the terminal open any more
                    break
                seen.raw += data
                for step in parser.feed(data):
                    seen.steps.append(step)
                    if isinstance(step, Ready):
                        typed = wrapped.lines
                    if isinstance(step, Exited):
                        typed = [words.THANKS]
    finally:
        parser.end()
        os.close(terminal)
        with contextlib.suppress(ProcessLookupError):
            os.waitpid(pid, 0)
    return seen


@pytest.mark.parametrize("rc", [0, 7, 255])
def test_N3_the_exit_code_is_the_commands(rc: int) -> None:
    seen = in_terminal(words.wrap(f"exit {rc}"))
    assert [type(step) for step in seen.steps] == [Ready, Begun, Exited]
    assert seen.rc == rc
    assert seen.output == b""


def test_N3_output_comes_out_byte_for_byte_where_a_terminal_changes_line_ends() -> None:
    data = bytes(range(256)) + b"\r\n\r\r\n\n\n" + "é漢字🦉".encode() + b"no line end"
    assert in_terminal(words.wrap("cat", data)).output == data


def test_N3_a_megabyte_of_stdin_arrives_whole_and_is_gone_from_every_folder() -> None:
    data = os.urandom(1 << 20)
    command = f"sha256sum; ls -a /dev/shm /tmp /var/tmp ${{TMPDIR:-/tmp}} | grep -c {'papyrus-'}; ls -l /proc/self/fd/0"
    seen = in_terminal(words.wrap(command, data))
    lines = seen.output.decode().splitlines()
    assert lines[0].startswith(hashlib.sha256(data).hexdigest())
    assert "(deleted)" in lines[2], "the file has no name while the command runs"


def test_N3_stdin_that_the_command_does_not_read_does_no_harm() -> None:
    assert in_terminal(words.wrap("true", b"x" * 10_000)).rc == 0


def test_N3_without_stdin_the_command_reads_the_end_of_file() -> None:
    assert in_terminal(words.wrap("cat; echo end")).output == b"end\n"


class Spoilt(words.Wrapped):
    """Loses a line of its input on the way."""

    @property
    def lines(self) -> list[bytes]:
        first, *body = super().lines
        return [first, base64.b64encode(b"select 2") + b"\n", *body[1:]]


def test_N3_stdin_that_did_not_arrive_whole_starts_nothing() -> None:
    wrapped = words.wrap("echo started", b"select 1")
    seen = in_terminal(Spoilt(wrapped.text, wrapped.tag, wrapped.mark, wrapped.stdin))
    assert isinstance(seen.steps[-1], Refused)
    assert hashlib.sha256(b"select 2").hexdigest() in seen.steps[-1].text
    assert b"started" not in seen.output


def test_N3_nothing_typed_is_echoed() -> None:
    wrapped = words.wrap("cat >/dev/null", b"a-secret-of-the-run" * 100)
    seen = in_terminal(wrapped)
    assert seen.rc == 0
    assert base64.b64encode(b"a-secret-of-the-run")[:20] not in seen.raw
    assert wrapped.mark.encode() + b" " not in seen.raw


def test_N3_a_killed_shell_leaves_no_mark() -> None:
    seen = in_terminal(words.wrap("echo before; kill -9 $PPID; exit 0"))
    assert seen.rc is None
    assert seen.output == b"before\n"


def test_N3_a_command_that_is_killed_itself_has_the_signals_exit_code() -> None:
    assert in_terminal(words.wrap("kill -9 $$")).rc == 137


def test_N3_neither_command_nor_process_list_knows_the_mark() -> None:
    wrapped = words.wrap("cat /proc/$PPID/cmdline /proc/self/environ /proc/$PPID/environ; set; ps -ef; true")
    seen = in_terminal(wrapped)
    assert seen.rc == 0
    assert wrapped.tag.encode() in seen.output
    assert wrapped.mark.encode() not in seen.output
    assert wrapped.mark not in wrapped.text + repr(wrapped)


def test_N3_output_that_looks_like_a_mark_fools_nobody() -> None:
    lying = r"printf '\n%s:0\n' $(printf '%032d' 0); printf '\n:0\n'; printf '\nbegin\n'; exit 9"
    seen = in_terminal(words.wrap(lying))
    assert seen.rc == 9
    assert len([step for step in seen.steps if isinstance(step, Exited)]) == 1


def test_N3_the_last_mark_counts_even_if_the_mark_were_known() -> None:
    wrapped = words.wrap(f"printf '\\n{MARK}:0\\n'; exit 7", token=lambda size: MARK[: 2 * size])
    seen = in_terminal(wrapped)
    assert [step.rc for step in seen.steps if isinstance(step, Exited)] == [0, 7]
    assert seen.output == f"\n{MARK}:0\n".encode(), "the first one was output"


@pytest.mark.parametrize("text", ['printf %s "it\'s"', "a='$x' # no comment\necho \"$a\"", "echo \\\\ '\"' | cat"])
def test_N3_quoting_survives_an_agent_that_splits_like_a_shell(text: str) -> None:
    direct = os.popen(f"sh -c {shlex.quote(text)}").read()
    assert in_terminal(words.wrap(text)).output.decode() == direct


def test_N3_arguments_are_quoted_and_long_commands_refused() -> None:
    argv = ["printf", "%s|", "a b", "$HOME", "'", ""]
    assert in_terminal(words.wrap(words.shell_text("", argv))).output == b"a b|$HOME|'||"
    with pytest.raises(ValueError, match="as stdin"):
        words.shell_text("x" * (words.MAX_COMMAND + 1), [])


def test_N3_missing_tools_and_folders_are_named(tmp_path: Path) -> None:
    for tool in ("sh", "stty", "head", "base64", "rm"):
        found = next(p for p in os.environ["PATH"].split(":") if os.path.exists(f"{p}/{tool}"))
        os.symlink(f"{found}/{tool}", tmp_path / tool)
    seen = in_terminal(words.wrap("true", b"x"), {"PATH": str(tmp_path)})
    assert seen.steps[-1] == Refused("the container has no sha256sum, which is needed to give the command its stdin")


def test_N3_a_terminal_without_stty_says_that_it_echoes(tmp_path: Path) -> None:
    os.symlink("/bin/sh", tmp_path / "sh")
    seen = in_terminal(words.wrap("exit 4"), {"PATH": str(tmp_path)})
    assert isinstance(seen.steps[0], Ready)
    assert seen.steps[0].echo
    assert (seen.rc, seen.output) == (4, b"")


def test_N3_the_processes_of_a_command_are_found_and_ended_wherever_they_went() -> None:
    wrapped = words.wrap("trap '' INT HUP; (setsid sleep 71 &); env -i sleep 72 & sleep 73")
    seen, parser_seen = Seen(), Seen()
    parser = Parser(wrapped, parser_seen.write)
    pid, terminal = pty.fork()
    if pid == 0:
        argv = shlex.split(wrapped.text)
        os.execvpe(argv[0], argv, {"PATH": os.environ["PATH"]})
    while not any(isinstance(step, Begun) for step in parser_seen.steps):
        for step in parser.feed(os.read(terminal, 1024)):
            parser_seen.steps.append(step)
            if isinstance(step, Ready):
                os.write(terminal, wrapped.lines[0])
    assert isinstance(parser_seen.steps[0], Ready)
    shell = parser_seen.steps[0].pid
    assert shell == pid
    seen = in_terminal(words.wrap(words.kill_text(shell, "papyrus-another")))
    assert seen.output == b"0\n", "a process id that is somebody else's by now is left alone"
    seen = in_terminal(words.wrap(words.kill_text(shell, wrapped.tag)))
    assert int(seen.output) >= 2
    assert os.waitpid(pid, 0)[1] == 9
    os.close(terminal)
    assert in_terminal(words.wrap(words.kill_text(shell, wrapped.tag))).output == b"0\n"


def _stream(output: bytes, rc: int) -> bytes:
    """What a terminal shows of a whole conversation."""
    body = output.replace(b"\n", b"\r\n")
    return PREPARED + f"\r\n{MARK}:begin\r\n".encode() + body + f"\r\n{MARK}:{rc}\r\n".encode()


@given(st.binary(max_size=400), st.integers(0, 255), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_N3_where_the_stream_is_cut_makes_no_difference(output: bytes, rc: int, sizes: list[int]) -> None:
    seen, position, number = Seen(), 0, 0
    parser = Parser(words.Wrapped("", "papyrus-t", MARK), seen.write)
    stream = _stream(output, rc)
    while position < len(stream):
        size = sizes[number % len(sizes)]
        seen.steps += parser.feed(stream[position : position + size])
        position, number = position + size, number + 1
    parser.end()
    assert seen.output == output
    assert seen.steps == [Ready(42, False), Begun(), Exited(rc)]


def test_N3_output_is_handed_on_at_once_and_with_its_own_time() -> None:
    seen, clock = Seen(), iter([1.0, 2.0, 3.0])
    parser = Parser(words.Wrapped("", "papyrus-t", MARK), seen.write, lambda: next(clock))
    list(parser.feed(PREPARED + f"\r\n{MARK}:begin\r\n".encode()))
    list(parser.feed(b"one\r\n"))
    assert seen.output == b"one", "a line end could be a mark's first byte"
    list(parser.feed(b"two"))
    assert seen.output == b"one\ntwo"
    assert seen.times == [2.0, 2.0, 3.0]


def test_N3_noise_before_and_after_is_no_output_and_memory_is_bounded() -> None:
    seen = Seen()
    parser = Parser(words.Wrapped("", "papyrus-t", MARK), seen.write)
    for _round in range(200):
        list(parser.feed(b"banner " * 1000))
    assert len(parser.preamble) <= 1024
    list(parser.feed(_stream(b"output", 3)))
    for _round in range(200):
        list(parser.feed(b"a process left behind " * 500))
    assert len(parser._held) <= 64 * 1024
    parser.end()
    assert seen.output == b"output"
